import torch

stacked = torch.cat([w_q.T, w_k.T, w_v.T])  # (2 d_k + d_v, d), like in_proj_weight
packed = torch.nn.functional.linear(x, stacked)  # (N, 2 d_k + d_v)
query, key, value = packed.split([w_q.shape[1], w_k.shape[1], w_v.shape[1]], dim=-1)
# ours: query, key, value = companion.project_qkv(x, w_q, w_k, w_v)
