"""The oracle of StripedHyena's operator: short FIRs, a gate, the modal convolution and its skip, a gate."""

import torch
from torch import Tensor

from eutectic.kernels.reference.modal_conv import causal_conv, modal_filter


def gated_modal_conv(qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor) -> Tensor:
    """y = q * (h conv u + D u), u = k * v, where q, k, v are qkv after its FIRs (Poli et al. 2023, StripedHyena).

    qkv (batch, length, 3 channels). fir (3 channels, taps). log_poles and residues (channels, n), real or complex, of
    h_t = Re sum_n R_n p_n^t. skip (channels). Returns (batch, length, channels).
    """
    length = qkv.shape[1]
    q, k, v = causal_conv(qkv, torch.nn.functional.pad(fir, (0, max(0, length - fir.shape[1])))).chunk(3, -1)
    u = k * v
    return q * (causal_conv(u, modal_filter(log_poles.exp(), residues, length)) + skip * u)
