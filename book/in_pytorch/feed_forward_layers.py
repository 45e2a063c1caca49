import torch

before = torch.nn.functional.linear(x, w_1.T, b_1)  # a layer of PyTorch holds W transposed
hidden = torch.nn.functional.gelu(before)  # approximate="tanh" is the other form
output = torch.nn.functional.linear(hidden, w_2.T, b_2)
# ours: companion.feed_forward(x, parameters)
