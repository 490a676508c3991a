"""The oracle of Hyena-SE's operator: short FIRs, a gate, another FIR, a gate."""

from torch import Tensor

from eutectic.kernels.reference.fir import grouped_fir


def gated_fir(qkv: Tensor, fir: Tensor, taps: Tensor) -> Tensor:
    """y = q * (h conv (k * v)), where q, k, v are qkv after its FIRs (Ku et al. 2025, Hyena-SE).

    qkv (batch, length, 3 channels). fir (3 channels, n). taps (groups, n), h of equally many neighbouring channels.
    """
    q, k, v = grouped_fir(qkv, fir).chunk(3, -1)
    return q * grouped_fir(k * v, taps)
