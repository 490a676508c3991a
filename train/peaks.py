"""Peaks of GPUs, dense bf16 matmul in FLOP/s, and how much of one a run came to."""

# vendors' figures but for those measured here (8192 cubed)
MEASURED = ("h200",)
PEAKS = {"h200": 788e12, "h100": 989e12, "a100": 312e12, "b200": 2250e12, "l40s": 362e12}


def utilization(flops: float, seconds: float, device: str, devices: int = 1) -> float | None:
    """Share of a device's peak that a run of so many FLOPs came to; None for one whose full name is not known here."""
    peak = next((peak for name, peak in PEAKS.items() if name in device.lower()), None)
    return None if peak is None else flops / seconds / devices / peak
