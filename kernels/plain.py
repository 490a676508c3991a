"""Ops that have their formula and a form in torch: the latter, unless the environment forces the formula.

kernels/dispatch.py has the ops with more forms. Where a state is taken, None is that before the first token.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from eutectic.kernels import choice, monarch
from eutectic.kernels import delta_rule as torch_delta_rule
from eutectic.kernels import dplr as torch_dplr
from eutectic.kernels import grouped_matmul as torch_grouped_matmul
from eutectic.kernels import modal_conv as torch_modal_conv
from eutectic.kernels import multihead_conv as torch_multihead_conv
from eutectic.kernels import rational as torch_rational
from eutectic.kernels import selective_scan as torch_selective_scan
from eutectic.kernels import vector_decay as torch_vector_decay
from eutectic.kernels.reference import delta_rule as delta_rule_reference
from eutectic.kernels.reference import dplr as dplr_reference
from eutectic.kernels.reference import grouped_matmul as grouped_matmul_reference
from eutectic.kernels.reference import modal_conv as modal_conv_reference
from eutectic.kernels.reference import multihead_conv as multihead_conv_reference
from eutectic.kernels.reference import rational as rational_reference
from eutectic.kernels.reference import selective_scan as selective_scan_reference
from eutectic.kernels.reference import vector_decay as vector_decay_reference

ModalConv = Callable[[Tensor, Tensor, Tensor], Tensor]
Recurrence = Callable[..., tuple[Tensor, Tensor]]  # y and the state after


def exactly(formula: Callable[..., Any], *inputs: Tensor | None) -> Any:
    """A formula of inputs in float32 or wider, as are its matmuls, which autocast would round."""
    wide = [t if t is None else t.to(torch.promote_types(t.dtype, torch.float32)) for t in inputs]
    with torch.autocast(next(t for t in inputs if t is not None).device.type, enabled=False):
        return formula(*wide)


def modal_conv(x: Tensor, log_poles: Tensor, residues: Tensor, form: ModalConv = torch_modal_conv.chunked) -> Tensor:
    """The convolution of x (batch, length, channels) with h_t = Re sum_n R_n p_n^t, by that form of
    kernels/modal_conv.py; log p and R (channels, n), real or complex."""
    if choice.plain("modal convolution") != "reference":
        return form(x, log_poles, residues)
    h = modal_conv_reference.modal_filter(log_poles.exp(), residues, x.shape[1])
    y: Tensor = exactly(modal_conv_reference.causal_conv, x, h)
    return y.to(x.dtype)


def modal_prefill(x: Tensor, log_poles: Tensor, residues: Tensor, initial: Tensor | None) -> tuple[Tensor, Tensor]:
    """modal_conv after a state (batch, channels, n), and the state after x."""

    def formula(x: Tensor, initial: Tensor | None) -> tuple[Tensor, Tensor]:
        return modal_conv_reference.recurrence(x, log_poles.exp(), residues, initial)

    def in_torch(x: Tensor, initial: Tensor | None) -> tuple[Tensor, Tensor]:
        return torch_modal_conv.prefill(x, log_poles, residues, initial)

    return _either("modal convolution", in_torch, formula, x, x, initial)


def multihead_conv(q: Tensor, k: Tensor, v: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor) -> Tensor:
    """As chunked() of kernels/multihead_conv.py."""
    if choice.plain("multi-head convolution") != "reference":
        return torch_multihead_conv.chunked(q, k, v, log_poles, residues, skip)
    h = modal_conv_reference.modal_filter(log_poles.exp(), residues, q.shape[1])
    h = torch.cat([h[:, :1] + skip[:, None], h[:, 1:]], 1)
    y: Tensor = exactly(multihead_conv_reference.outer_product_conv, q, k, v, h)
    return y.to(q.dtype)


def multihead_prefill(
    q: Tensor, k: Tensor, v: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor, initial: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As prefill() of kernels/multihead_conv.py."""

    def formula(q: Tensor, k: Tensor, v: Tensor, initial: Tensor | None) -> tuple[Tensor, Tensor]:
        if initial is not None and residues.is_complex():
            initial = torch.complex(*initial.chunk(2, 2))
        y, state = multihead_conv_reference.recurrence(q, k, v, log_poles.exp(), residues, skip, initial)
        return y, torch.cat(torch_modal_conv.parts(state), 2)

    def in_torch(q: Tensor, k: Tensor, v: Tensor, initial: Tensor | None) -> tuple[Tensor, Tensor]:
        return torch_multihead_conv.prefill(q, k, v, log_poles, residues, skip, initial)

    return _either("multi-head convolution", in_torch, formula, q, q, k, v, initial)


def rational_filter(a: Tensor, b: Tensor, length: int) -> Tensor:
    """h (channels, length), the impulse response of the transfer function of kernels/rational.py."""
    if choice.plain("rational filter") != "reference":
        return torch_rational.impulse_response(a, b, length)
    impulse = pad(a.new_ones(1, 1, len(a)), (0, 0, 0, length - 1))
    y: Tensor = exactly(rational_reference.difference_equation, impulse, a, b)
    return y[0].T


def rational_prefill(u: Tensor, a: Tensor, b: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """As prefill() of kernels/rational.py."""
    return _either("rational filter", torch_rational.prefill, rational_reference.recurrence, a, u, a, b, past)


def monarch_conv(x: Tensor, h: Tensor) -> Tensor:
    """As causal_conv() of kernels/monarch.py."""
    if choice.plain("Monarch convolution") != "reference":
        return monarch.causal_conv(x, h)
    length = x.shape[1]
    y: Tensor = exactly(modal_conv_reference.causal_conv, x, pad(h[:, :length], (0, max(0, length - h.shape[1]))))
    return y.to(x.dtype)


def selective_scan(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """As segmented() of kernels/selective_scan.py."""
    forms = torch_selective_scan.segmented, selective_scan_reference.recurrence
    return _either("selective scan", *forms, x, x, dt, a, b, c, initial)


def vector_decay(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial: Tensor | None = None, bonus: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """As chunked() of kernels/vector_decay.py."""
    forms = torch_vector_decay.chunked, vector_decay_reference.vector_decay
    return _either("vector decay", *forms, v, q, k, v, log_decay, initial, bonus)


def delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """As chunked() of kernels/delta_rule.py."""
    forms = torch_delta_rule.chunked, delta_rule_reference.recurrence
    return _either("delta rule", *forms, v, q, k, v, beta, log_decay, initial)


def dplr(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, log_decay: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """As chunked() of kernels/dplr.py."""
    forms = torch_dplr.chunked, dplr_reference.recurrence
    return _either("diagonal plus low rank", *forms, v, q, k, v, a, b, log_decay, initial)


def grouped_matmul(x: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """As kernels/grouped_matmul.py."""
    if choice.plain("grouped matmul") != "reference":
        return torch_grouped_matmul.grouped_matmul(x, weights, counts)
    return grouped_matmul_reference.grouped_matmul(x, weights, counts)


def _either(
    op: str, in_torch: Recurrence, formula: Recurrence, like: Tensor, *inputs: Tensor | None
) -> tuple[Tensor, Tensor]:
    """y and the state after, by either; the formula's y in the dtype of `like`."""
    if choice.plain(op) != "reference":
        return in_torch(*inputs)
    y, state = exactly(formula, *inputs)
    return y.to(like.dtype), state
