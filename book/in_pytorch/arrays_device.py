import torch

n = query.shape[-2]
seen = torch.ones(n, n, dtype=torch.bool, device=query.device).tril()
output = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
if output.is_cuda:
    torch.cuda.synchronize()  # before you read a clock
# ours: companion.scaled_dot_product_attention(query, key, value, is_causal=True)
