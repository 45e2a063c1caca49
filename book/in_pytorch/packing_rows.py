import torch

words = torch.nn.functional.embedding(ids, table)  # (N,), (V, d) → (N, d)
output = words + positions[: ids.shape[0]]
# ours: companion.add_positions(companion.embed(ids, table), positions)
