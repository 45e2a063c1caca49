import torch

scale = 1 / query.shape[-1] ** 0.5
output = torch.matmul(query * scale, key.mT)  # (..., T, d_k) @ (..., d_k, S) → (..., T, S)
# ours: companion.scaled_scores(query, key)
