import torch

kept = states.masked_fill(~token_mask[..., None], 0)  # (B, N, d), whatever the padding holds
mean = kept.sum(-2) / token_mask.sum(-1, keepdim=True)  # states.mean(-2) would count padding
output = torch.nn.functional.normalize(mean, dim=-1)  # (B, d)
# ours: companion.unit_rows(companion.mean_pool(states, token_mask))
