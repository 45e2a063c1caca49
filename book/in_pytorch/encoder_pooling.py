import torch

kept = token_mask[..., None].to(states.dtype)  # (B, N, 1), 1 at a token and 0 at padding
mean = (states * kept).sum(-2) / kept.sum(-2)  # states.mean(-2) would count padding
output = torch.nn.functional.normalize(mean, dim=-1)  # (B, d)
# ours: companion.unit_rows(companion.mean_pool(states, token_mask))
