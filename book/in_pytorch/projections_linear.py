import torch

linear = torch.nn.Linear(*weight.shape, dtype=weight.dtype)
linear.weight.data, linear.bias.data = weight.T, bias  # kept as (d_k, d), and (d_k,)
output = linear(x)
# ours: companion.project(x, weight, bias)
