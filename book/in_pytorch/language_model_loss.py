import torch

output = torch.nn.functional.cross_entropy(logits[:-1], ids[1:])  # (N − 1, V), (N − 1,)
# ours: companion.cross_entropy(logits[:-1, :], ids[1:])
