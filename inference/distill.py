"""Any causal filter to a modal one of few states, in least squares, with the error that theory allows beside its own.

Hankel singular values choose the order, Kung's realization gives poles to begin with, Levenberg-Marquardt fits poles
and residues to the response over its length, all channels at once. (Massaroli et al. 2023, Laughing Hyena Distillery,
fit by gradients from random poles; the bounds are theirs, too.)
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from eutectic.errors import UserError
from eutectic.inference import hankel, modal_fit
from eutectic.inference.convert import Modal

SPARE = 16  # singular vectors beyond the highest order
STEPS = 50
CPU_AT_ONCE, GPU_AT_ONCE = 2**16, 2**22  # numbers of responses that are distilled together: for caches, and for memory
GRID = 4  # frequencies to a step of the response


class Report(NamedTuple):
    """Of each channel. error and start: relative L2 over the length, start before refinement.

    order: real states, as inference/hankel.py counts; modes: what they fill of the modal form. peak: the largest error
    of the response at any frequency; lower: sigma_{order + 1}, below which no filter of that order comes; upper:
    2 (sigma_{order + 1} + ...), to which balanced truncation is held. Both are of the Hankel matrix of what was given,
    so lower holds for any filter; upper does where it has decayed within half its length, and least squares over time,
    which refinement is after, may exceed it. h_0 has no part in all this: the skip has it.
    """

    order: Tensor
    modes: Tensor
    error: Tensor
    start: Tensor
    peak: Tensor
    lower: Tensor
    upper: Tensor

    @property
    def within_bound(self) -> Tensor:
        return self.peak <= self.upper


def distill(
    h: Tensor, max_order: int, tolerance: float = 1e-3, steps: int = STEPS, cancel: float = math.inf
) -> tuple[Modal, Report]:
    """The modal form of h (channels, length), in float64, complex, with at most `steps` steps of refinement.

    cancel: how far modes may cancel if they need not (modal_fit.Fit): rounding them is felt that many times.

    Each channel gets the lowest order whose tail of Hankel singular values is `tolerance` of their sum or less, or
    max_order. It fills modes for pairs of poles and for real poles; the form has as many modes as its fullest channel,
    between max_order / 2 and max_order at most, and states of Modal's size.
    """
    h, length = h.detach(), h.shape[1]
    if not 1 <= max_order < length // 2:
        raise UserError(
            f"filters of {length} taps cannot be distilled to an order of up to {max_order}; "
            f"give an order from 1 to {length // 2 - 1}, or pad the filters with zeros if they end."
        )
    if not bool(h.isfinite().all()):
        channel = int((~h.isfinite()).any(1).nonzero()[0])
        raise UserError(f"channel {channel} of the filter is not finite; distill one that is.")
    at_once = max(1, (CPU_AT_ONCE if h.device.type == "cpu" else GPU_AT_ONCE) // length)
    parts = [_distill(part, max_order, tolerance, steps, cancel) for part in h.split(at_once)]
    log_poles, amplitudes, *columns = (torch.cat(column) for column in zip(*parts, strict=True))
    report = Report(*columns)
    width = max(1, int(report.modes.max()))
    log_poles, residues = log_poles[:, :width], (amplitudes / log_poles.exp())[:, :width]
    return Modal(log_poles, residues, h[:, 0].double() - residues.real.sum(1)), report


def _distill(h: Tensor, max_order: int, tolerance: float, steps: int, cancel: float) -> tuple[Tensor, ...]:
    """log p and amplitudes (channels, max_order), those in use first, and the report's columns."""
    h = h.double()
    factors = hankel.factor(h, max_order + SPARE)
    tails = factors.tails()
    enough = tails[:, :max_order] <= tolerance * tails[:, :1]
    order = torch.where(enough.any(1), enough.long().argmax(1), max_order)
    size = h[:, 1:].norm(dim=1)
    unit = torch.where(size == 0, 1.0, size)
    y = h[:, 1:] / unit[:, None]
    starts = (modal_fit.fitted(y, modes) for modes in _starts(h, factors, order))
    begun = functools.reduce(functools.partial(modal_fit.better, most=cancel), starts)
    fit = modal_fit.widened(modal_fit.refined(y, begun, steps, cancel), max_order)
    amplitudes = fit.amplitudes * unit[:, None]
    v = modal_fit.powers(fit.modes.log_poles, h.shape[1] - 1)
    wrong = h[:, 1:] - (amplitudes[:, None] @ v)[:, 0].real
    return (
        fit.modes.log_poles,
        amplitudes,
        order,
        fit.modes.used.sum(1),
        fit.loss.sqrt(),
        begun.loss.sqrt(),
        torch.fft.rfft(wrong, GRID * h.shape[1]).abs().amax(1),
        factors.values.gather(1, order[:, None])[:, 0],
        2 * tails.gather(1, order[:, None])[:, 0],
    )


def _starts(h: Tensor, factors: hankel.Factors, order: Tensor) -> Iterator[modal_fit.Modes]:
    """Modes to begin from: Kung's; these lifted; and where some are unstable, those of h as a filter that ends.

    Kung's realization of a response that has not decayed goes on as it will; one that ends in zeros has a Hankel matrix
    that is the operator's, whose realization is balanced truncation and stable.
    """
    poles = _poles(factors, order)
    kung = modal_fit.stabilized(modal_fit.modes_of(poles), h.shape[1])
    yield kung
    yield modal_fit.lifted(kung, order)
    open_ended = (poles.abs() >= 1).any(1)
    if bool(open_ended.any()):
        ended = hankel.factor(pad(h[open_ended], (0, h.shape[1])), factors.values.shape[1])
        poles[open_ended] = _poles(ended, order[open_ended])
        yield modal_fit.stabilized(modal_fit.modes_of(poles), h.shape[1])


def _poles(factors: hankel.Factors, order: Tensor) -> Tensor:
    """Kung's (channels, k), as many as a channel's order, and zeros."""
    poles = torch.zeros_like(factors.values, dtype=torch.complex128)
    for d in order.unique().tolist():
        if d:
            poles[order == d, :d] = hankel.shift_poles(factors.vectors[order == d, :, :d])
    return poles
