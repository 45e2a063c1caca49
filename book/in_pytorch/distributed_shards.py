import torch

keys, values = key.tensor_split(3, -2), value.tensor_split(3, -2)
scores = [query @ k.mT / query.shape[-1] ** 0.5 for k in keys]  # one entry a machine
top = torch.stack([s.amax(-1, keepdim=True) for s in scores]).amax(0)  # all_reduce, MAX
powers = [torch.exp(s - top) for s in scores]
total = torch.stack([p.sum(-1, keepdim=True) for p in powers]).sum(0)  # all_reduce, SUM
mixed = torch.stack([p @ v for p, v in zip(powers, values, strict=True)]).sum(0)  # all_reduce, SUM
output = mixed / total
# ours: distributed.compute(attend(query, key, value), client), of Dask arrays
