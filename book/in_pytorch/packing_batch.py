import torch

x = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)  # (B, N, d)
lengths = torch.tensor([len(rows) for rows in sequences])  # (B,)
token_mask = torch.arange(x.shape[1]) < lengths[:, None]  # (B, N), True at a token
src_key_padding_mask = ~token_mask  # True at padding
# ours: x, token_mask = companion.pack_batch(sequences)
