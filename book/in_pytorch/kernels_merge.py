import torch

keys, values = (x.unflatten(-2, (2, -1)) for x in (key, value))  # (..., 2, S/2, d): two blocks
scores = query.unsqueeze(-3) @ keys.mT / query.shape[-1] ** 0.5  # (..., 2, T, S/2)
outputs = scores.softmax(-1) @ values  # (..., 2, T, d_v), each divided by its own total
shares = torch.logsumexp(scores, -1, keepdim=True).softmax(-3)  # (..., 2, T, 1)
output = (shares * outputs).sum(-3)
# ours: companion.online_attention(query, key, value, block_size=key.shape[-2] // 2)
