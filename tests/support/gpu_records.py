"""A made-up record of a run on a GPU."""

from benchmarks import gpu_record


def spread(seconds):
    return {"seconds": seconds, "low": seconds, "high": seconds}


def attention_row(length, host, device, moved):
    return {
        "length": length,
        "implementation": "textbook",
        "host": spread(host),
        "device": spread(device),
        "device_and_transfers": spread(moved),
        "unsynchronised": spread(1e-5),
    }


RECORD = {
    "date": "2020-02-01",
    "device": {"name": "Made-up card", "compute_capability": "0.0", "memory_bytes": 1},
    "versions": {"cupy": "0.0", "numpy": "0.0"},
    "sources": gpu_record.source_digests(),
    "agreement": [
        {"function": "softmax", "dtype": "float32", "agrees": True},
        {"function": "gelu", "dtype": "float64", "agrees": False},
    ],
    "attention": [attention_row(64, 1e-3, 2e-3, 3e-3), attention_row(256, 9e-3, 2e-3, 4e-3)],
    "transfers": [
        {"bytes": 2**20, "to_device_bytes_per_second": 1e9, "to_host_bytes_per_second": 1e9},
        {"bytes": 2**22, "to_device_bytes_per_second": 5e9, "to_host_bytes_per_second": 4e9},
    ],
    "precision": [
        {"format": "tf32", "error": 3e-4},
        {"format": "bfloat16", "error": None, "reason": "TypeError: no"},
    ],
    "break_even_length": 256,
}
RECORD["summary"] = gpu_record.summary(RECORD)
