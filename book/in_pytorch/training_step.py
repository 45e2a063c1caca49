import torch

weight = weight.clone().requires_grad_()
optimiser = torch.optim.AdamW([weight], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
loss = torch.nn.functional.cross_entropy(x @ weight, targets, ignore_index=-1)
optimiser.zero_grad()  # or this step's gradients are added to those of the last
loss.backward()
optimiser.step()
output = weight.detach()
# ours: companion.adamw(parameters, gradients, state, learning_rate=0.01)
