"""Modes that fit given responses in least squares: their residues by their poles, and the poles by Levenberg-Marquardt.

Here a response begins at h_1 and a mode is Re(c p^t) of t = 0, 1, ...: c = R p is its amplitude. All is float64.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from eutectic.inference.hankel import is_pair

RIDGE = 1e-13  # of unit diagonals: above the rounding of normal equations, so that they stay positive
POLISH = 3  # passes that solve for what a solution left
BLOCK = 64  # of powers, which are products of those within a block and those of blocks
FASTEST, SLOWEST = 5.0, 1e-3  # decays that poles keep to, a step and over all of h: R = c / p, too large, would round
ALIAS = 1e-4
DAMPING, EASIER, HARDER, STUCK = 1e-3, 0.2, 5.0, 1e6
PROGRESS, EXACT = 1e-4, 1e-30  # of the loss in a step, and of h's energy: less is not gone after


class Modes(NamedTuple):
    """log p (channels, n), complex, and which of the n a channel has: bool, the rest stand idle."""

    log_poles: Tensor
    used: Tensor


class Fit(NamedTuple):
    """Modes with their amplitudes (channels, n), complex, 0 where idle; loss (channels,), the sum of squared errors.

    cancel (channels,): the sizes of the modes' R p^t, summed, from h_0 on, over that of what is fitted. Rounding grows
    with it, whether modes cancel, or a pair that is all but one real pole within itself, or the skip and h_0.
    """

    modes: Modes
    amplitudes: Tensor
    loss: Tensor
    cancel: Tensor


def modes_of(poles: Tensor) -> Modes:
    """Of poles (channels, d), complex and closed under conjugation: one mode for a pair or a real pole, 0 for none."""
    wanted = (poles.imag >= 0) & (poles != 0)
    order = torch.where(wanted, poles.abs(), -1.0).argsort(1, descending=True)[:, : max(1, int(wanted.sum(1).max()))]
    used = wanted.take_along_dim(order, 1)
    return Modes(torch.where(used, poles.take_along_dim(order, 1), math.exp(-1)).log(), used)


def stabilized(modes: Modes, length: int) -> Modes:
    """Poles brought within the decays that a fit explores, those outside the unit circle just into it."""
    decay = modes.log_poles.real.clamp(-FASTEST, -SLOWEST / length)
    return modes._replace(log_poles=torch.complex(decay, modes.log_poles.imag))


def lifted(modes: Modes, order: Tensor) -> Modes:
    """Poles |p|^order >= ALIAS. A response that ends has all its poles at 0, where no mode is; n modes on a circle of
    radius r repeat it after n steps, r^n times as large, with residues that grow as r^-n.
    """
    slowest = math.log(ALIAS) / order.clamp(min=1)[:, None]
    return modes._replace(log_poles=torch.complex(modes.log_poles.real.maximum(slowest), modes.log_poles.imag))


def better(one: Fit, other: Fit, most: float = math.inf) -> Fit:
    """Of two fits, each channel's better one: the closer of those whose `cancel` is no more than `most`, if any."""
    width = max(one.amplitudes.shape[1], other.amplitudes.shape[1])
    one, other = widened(one, width), widened(other, width)
    wild, other_wild = one.cancel > most, other.cancel > most
    first = (torch.where(wild == other_wild, one.loss <= other.loss, other_wild))[:, None]
    log_poles = torch.where(first, one.modes.log_poles, other.modes.log_poles)
    modes = Modes(log_poles, torch.where(first, one.modes.used, other.modes.used))
    amplitudes = torch.where(first, one.amplitudes, other.amplitudes)
    loss, cancel = (torch.where(first[:, 0], a, b) for a, b in zip(one[2:], other[2:], strict=True))
    return Fit(modes, amplitudes, loss, cancel)


def widened(fit: Fit, width: int) -> Fit:
    """With idle modes, up to `width` of all."""
    (log_poles, used), amplitudes, loss, cancel = fit
    idle = (0, width - amplitudes.shape[1])
    return Fit(Modes(pad(log_poles, idle, value=-1.0), pad(used, idle)), pad(amplitudes, idle), loss, cancel)


def powers(log_poles: Tensor, length: int) -> Tensor:
    """p^t (channels, n, length)."""
    t = torch.arange(BLOCK, device=log_poles.device, dtype=log_poles.real.dtype)
    within = torch.exp(log_poles[..., None] * t)
    blocks = torch.arange(-(-length // BLOCK), device=t.device, dtype=t.dtype) * BLOCK
    return (torch.exp(log_poles[..., None] * blocks)[..., None] * within[..., None, :]).flatten(-2)[..., :length]


def fitted(y: Tensor, modes: Modes) -> Fit:
    """The amplitudes of modes that fit y (channels, length) best."""
    v = powers(modes.log_poles, y.shape[1])
    rows, free = _rows(v), _free(modes)
    normal = _factor(rows @ rows.mT * free[:, :, None] * free[:, None], 0.0)
    weights, left = torch.zeros_like(rows[..., 0]), y
    for _ in range(1 + POLISH):
        weights = weights + _solve(normal, _times(rows, left) * free)
        left = y - _sum(weights, rows)
    amplitudes = torch.complex(*weights.chunk(2, 1))
    sizes = amplitudes.abs() * (-modes.log_poles.real).exp() * v.norm(dim=2)
    cancel = sizes.sum(1) / y.norm(dim=1).clamp(min=torch.finfo(y.dtype).tiny)
    return Fit(modes, amplitudes, left.square().sum(1), cancel)


def refined(y: Tensor, fit: Fit, steps: int, most: float = math.inf) -> Fit:
    """A fit of y (channels, length) that is no worse, by at most `steps` steps on poles and amplitudes.

    Levenberg-Marquardt with the amplitudes eliminated (variable projection, Golub and Pereyra 1973, as Kaufman 1975
    simplified it): a step solves for poles and amplitudes at once, is damped in the poles alone, and takes the best
    amplitudes at the new poles. Poles are log(-Re log p) and Im log p, so they stay stable; real ones stay real. A step
    that does not lower a channel's loss is not taken, nor one to a `cancel` of more than `most` and than there was, to
    keep poles from falling together. Channels leave as they settle.
    """
    (log_poles, used), amplitudes, loss, cancel = (
        Modes(*(t.clone() for t in fit.modes)),
        fit.amplitudes.clone(),
        fit.loss.clone(),
        fit.cancel.clone(),
    )
    damping = torch.full_like(loss, DAMPING)
    energy = y.square().sum(1)
    bound = cancel.clamp(min=most)
    alive = (loss > EXACT * energy).nonzero()[:, 0]
    for _ in range(steps):
        if not len(alive):
            break
        target = y[alive]
        now = Fit(Modes(log_poles[alive], used[alive]), amplitudes[alive], loss[alive], cancel[alive])
        trial = fitted(target, _moved(target, now, damping[alive]))
        better = (trial.loss < now.loss) & (trial.cancel <= bound[alive])
        taken = alive[better]
        log_poles[taken], amplitudes[taken] = trial.modes.log_poles[better], trial.amplitudes[better]
        loss[taken], cancel[taken] = trial.loss[better], trial.cancel[better]
        damping[alive] *= torch.where(better, EASIER, HARDER)
        settled = better & (now.loss - trial.loss < PROGRESS * now.loss) | (trial.loss < EXACT * energy[alive])
        alive = alive[~settled & (damping[alive] < STUCK)]
    return Fit(Modes(log_poles, used), amplitudes, loss, cancel)


def _moved(y: Tensor, fit: Fit, damping: Tensor) -> Modes:
    """Modes after a damped Gauss-Newton step. Slopes in log(-Re log p) and Im log p are mixtures of t times rows."""
    modes, length = fit.modes, y.shape[1]
    rows = _rows(powers(modes.log_poles, length))
    real, imag, decay = fit.amplitudes.real, fit.amplitudes.imag, modes.log_poles.real
    left = y - _sum(torch.cat([real, imag], 1), rows)
    t = torch.arange(length, device=y.device, dtype=y.dtype)
    both = torch.cat([rows, rows * t], 1)
    free = _free(modes)
    slopes = torch.cat(
        [
            torch.cat([torch.diag_embed(decay * real), torch.diag_embed(decay * imag)], 2),
            torch.cat([torch.diag_embed(-imag), torch.diag_embed(real)], 2),
        ],
        1,
    )
    unknowns = torch.zeros(len(y), *2 * both.shape[1:2], device=y.device, dtype=y.dtype)
    n = rows.shape[1]
    unknowns[:, :n, :n], unknowns[:, n:, n:] = torch.diag_embed(free), slopes * free[..., None]
    damped = torch.cat([torch.zeros_like(free), damping[:, None].expand_as(free)], 1)
    normal = _factor(unknowns @ (both @ both.mT) @ unknowns.mT, damped)
    faster, turned = _solve(normal, _times(unknowns, _times(both, left)))[:, n:].chunk(2, 1)
    decay = (decay * faster.clamp(-1, 1).exp()).clamp(-FASTEST, -SLOWEST / length)
    return modes._replace(log_poles=torch.complex(decay, modes.log_poles.imag + turned))


def _rows(v: Tensor) -> Tensor:
    """(channels, 2 n, length): what real and imaginary parts of amplitudes weigh."""
    return torch.cat([v.real, -v.imag], 1)


def _free(modes: Modes) -> Tensor:
    """1 for the rows that a fit may weigh: none of idle modes, and no imaginary parts of real ones."""
    return torch.cat([modes.used, modes.used & is_pair(modes.log_poles)], 1).to(modes.log_poles.real.dtype)


def _times(rows: Tensor, y: Tensor) -> Tensor:
    return (rows @ y[..., None])[..., 0]


def _sum(weights: Tensor, rows: Tensor) -> Tensor:
    return (weights[:, None] @ rows)[:, 0]


def _factor(gram: Tensor, damping: Tensor | float) -> tuple[Tensor, Tensor]:
    """The Cholesky factor of normal equations, brought to unit diagonals and damped there, and the unknowns' scales."""
    scale = gram.diagonal(dim1=1, dim2=2).sqrt()
    idle = scale == 0
    scale = torch.where(idle, 1.0, scale)
    gram = gram / (scale[:, :, None] * scale[:, None])
    return torch.linalg.cholesky_ex(gram + torch.diag_embed(RIDGE + damping + idle))[0], scale


def _solve(normal: tuple[Tensor, Tensor], pulled: Tensor) -> Tensor:
    triangle, scale = normal
    return torch.cholesky_solve((pulled / scale)[..., None], triangle)[..., 0] / scale
