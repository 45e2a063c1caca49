import torch

visible = torch.ones(len(query), len(key), dtype=torch.bool).tril()  # True = may attend
output = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
# torch.nn.MultiheadAttention means the opposite: give it ~visible, True = may not attend
# ours: companion.scaled_dot_product_attention(query, key, value, visible)
