import torch

output = torch.softmax(scores, dim=-1)  # dim=0 would normalise the columns
# ours: companion.softmax(scores)
