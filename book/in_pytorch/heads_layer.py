import torch

heads, width, _ = w_q.shape  # (H, d, d_k), with H·d_k = d
layer = torch.nn.MultiheadAttention(width, heads, bias=False, batch_first=True, dtype=x.dtype)
stacked = torch.cat([w_q, w_k, w_v]).mT.flatten(0, 1)  # (3·H·d_k, d): its matrices are transposed
layer.in_proj_weight.data, layer.out_proj.weight.data = stacked, w_o.mT
output, weights = layer(x, x, x, average_attn_weights=False)
# ours: companion.multi_head_attention(x, parameters, return_weights=True)
