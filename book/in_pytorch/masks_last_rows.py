import torch
from torch.nn.attention.bias import causal_lower_right

corner = causal_lower_right(len(query), len(key))  # is_causal=True takes the upper left one
output = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=corner)

# ours: companion.scaled_dot_product_attention(query, key, value, is_causal=True,
#                                              query_offset=len(key) - len(query))
