import torch

keys = torch.cat([past_key, key], dim=-2)  # (H_kv, S, d_k), all turned
values = torch.cat([past_value, value], dim=-2)
seen = torch.ones(query.shape[-2], keys.shape[-2], dtype=torch.bool).tril(past_key.shape[-2])
attend = torch.nn.functional.scaled_dot_product_attention
output = attend(query, keys, values, attn_mask=seen, enable_gqa=True)  # (H, T, d_v)
# ours: companion.scaled_dot_product_attention(…, is_causal=True, query_offset=past length)
