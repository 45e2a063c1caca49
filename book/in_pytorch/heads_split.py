import torch

columns = torch.unflatten(packed, -1, (heads, -1))  # (N, H·d_k) → (N, H, d_k)
output = columns.transpose(-3, -2)  # packed.view(heads, N, -1) has the same shape, and is wrong
# ours: companion.split_heads(packed, heads)
