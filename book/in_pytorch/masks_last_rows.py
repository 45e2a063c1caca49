import torch
import torch.nn.attention.bias

# is_causal=True takes the upper left corner, where ours takes query_offset=0
corner = torch.nn.attention.bias.causal_lower_right(len(query), len(key))
output = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=corner)
# ours: attend(query, key, value, is_causal=True, query_offset=len(key) - len(query))
