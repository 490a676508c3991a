"""The three forms of a causal filter, one a channel: modal, rational (canonical) and convolutional, into each other.

modal: h_t = Re sum_n R_n p_n^t + skip delta_t. rational: H(z) = h_0 + sum_i b_i z^-i / (1 + sum_i a_i z^-i), which the
companion form runs. convolutional: h itself, (channels, length). Conversions compute and answer in float64, exactly but
for rounding; they raise UserError, and name the channel, where a pole is unstable or where rounding would show:
where the relative L2 error of the response that was converted, or the estimated relative error of poles or residues,
is above `tolerance`. Orders are counted as in inference/hankel.py.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from eutectic.errors import UserError
from eutectic.inference import hankel, modal_fit
from eutectic.inference.hankel import is_pair
from eutectic.kernels import modal_conv
from eutectic.kernels.reference.modal_conv import causal_conv

TOLERANCE = 1e-8
# responses are compared until the slowest mode has decayed to rounding, but not beyond
FARTHEST = 4096
SPARE = 8  # singular vectors beyond the order, by which those of the order come out


class Modal(NamedTuple):
    """log p and R (channels, n), complex or real, and skip (channels,), what is added to h_0. R is 0 in unused modes.

    A state is one number a mode, complex where poles are complex: a pair of conjugate poles fills such a mode, a real
    pole half of it. So 8 n bytes a channel in float32, 4 n where poles are real, of an order from n to 2 n.
    """

    log_poles: Tensor
    residues: Tensor
    skip: Tensor

    def response(self, length: int) -> Tensor:
        h = modal_conv.impulse_response(self.log_poles, self.residues, length)
        return h + pad(self.skip[:, None], (0, length - 1))


class Rational(NamedTuple):
    """h_0 (channels,), a and b (channels, n). A state is n real numbers. The response is by the difference equation:

    kernels/rational.py's, by Fourier transforms, loses all digits where a few poles remember some hundred steps.
    """

    h_0: Tensor
    a: Tensor
    b: Tensor

    def response(self, length: int) -> Tensor:
        forced = pad(self.b, (0, max(0, length - 1 - self.b.shape[1])))
        past, h = torch.zeros_like(self.a), [self.h_0]
        for t in range(length - 1):
            h.append(forced[:, t] - (self.a * past).sum(1))
            past = torch.cat([h[-1][:, None], past[:, :-1]], 1)
        return torch.stack(h, 1)


def modal_to_rational(modal: Modal, tolerance: float = TOLERANCE) -> Rational:
    """The rational form of as many coefficients as modes, or twice as many where they are complex.

    A's roots are the poles and their conjugates, a real pole counts once; B is the sum of partial fractions,
    (Re(R p) z^-1 - Re(R) |p|^2 z^-2) / ((1 - p z^-1) (1 - p* z^-1)) of a pair.
    """
    pairs = is_pair(modal.log_poles)  # as precisely as angles were given
    log_poles, residues, skip = (_wide(t) for t in modal)
    _refuse_unstable(log_poles.exp())
    modal, used = Modal(log_poles, residues, skip), residues != 0
    pairs = pairs & used
    poles = torch.where(used, log_poles.exp(), 0)
    others = ~torch.eye(poles.shape[1], dtype=torch.bool, device=poles.device)
    without = _polynomial((poles[:, None] * others).flatten(0, 1), (pairs[:, None] & others).flatten(0, 1))
    without = without.unflatten(0, poles.shape)[..., :-1]
    once = torch.where(pairs, (residues * poles).real, residues.real * poles.real)[..., None]
    twice = torch.where(pairs, -residues.real * poles.abs().square(), 0)[..., None]
    b = (once * without + twice * pad(without, (1, -1))).sum(1)
    found = Rational(skip + residues.real.sum(1), _polynomial(poles, pairs)[:, 1:], b)
    length = _length(log_poles.real)
    _refuse_error(
        _error(found.response(length), modal.response(length)),
        tolerance,
        "its poles are too close to 1 or to each other for a rational form",
        "keep the modal form, or give it fewer modes",
    )
    return found


def rational_to_modal(form: Rational, tolerance: float = TOLERANCE) -> Modal:
    """The modal form, complex: poles are A's roots, amplitudes R p = B(p) / A'(p).

    Poles at zero, of trailing zeros in a, have no modal form; they are left out, and missed if b has use for them.
    """
    h_0, a, b = (_wide(t) for t in form)
    roots = rational_poles(a)
    modes = modal_fit.modes_of(roots)
    p = torch.where(modes.used, modes.log_poles.exp(), 1)
    _, slope, size = _horner(pad(a, (1, 0), value=1.0), p)
    pairs = is_pair(modes.log_poles)
    amplitudes = torch.where(modes.used, _horner(b, p)[0] / slope * (1 + pairs), 0)
    amplitudes = torch.where(pairs, amplitudes, amplitudes.real)
    residues = amplitudes / p
    found = Modal(modes.log_poles, residues, h_0 - residues.real.sum(1))
    length = _length(modes.log_poles.real)
    errors = _error(found.response(length), Rational(h_0, a, b).response(length))
    # a root moves by rounding / slope; residues feel that beside the distance to the next root
    moved = torch.finfo(a.dtype).eps * size / slope.abs() / _gaps(p, roots)
    _refuse_error(
        torch.maximum(errors, torch.where(modes.used, moved, 0).amax(1)),
        tolerance,
        "poles of its rational form are too close to each other, or to 0, for a modal form",
        "keep the rational form, or distill its response to a lower order",
    )
    return found


def rational_poles(a: Tensor) -> Tensor:
    """A's roots (channels, n), 0 beyond its degree; a (channels, n) in float64. Raises UserError, with the channel, for
    one that is not within the unit circle."""
    degree = (pad(a, (1, 0), value=1.0) != 0).long().cumsum(1).argmax(1)
    roots = _roots(a, degree)
    _refuse_unstable(roots)
    return roots


def response_to_modal(h: Tensor, order: int, tolerance: float = TOLERANCE) -> Modal:
    """The modal form, complex, of a response (channels, length) that is of `order`: Kung's realization."""
    h = _wide(h)
    modes = modal_fit.modes_of(_realized(h, order, tolerance))
    fit = modal_fit.fitted(h[:, 1:], modes)
    residues = fit.amplitudes / modes.log_poles.exp()
    found = Modal(modes.log_poles, residues, h[:, 0] - residues.real.sum(1))
    _refuse_misfit(found.response(h.shape[1]), h, order, tolerance)
    return found


def response_to_rational(h: Tensor, order: int, tolerance: float = TOLERANCE) -> Rational:
    """The rational form of a response (channels, length) that is of `order`."""
    h = _wide(h)
    poles = _realized(h, order, tolerance)
    pairs = poles.imag > 0
    a = _polynomial(torch.where(poles.imag < 0, 0, poles), pairs)[:, : order + 1]
    b = causal_conv(h[None, :, 1 : order + 1].mT, a[:, :order])[0].T
    found = Rational(h[:, 0], a[:, 1:], b)
    _refuse_misfit(found.response(h.shape[1]), h, order, tolerance)
    return found


def state_to_modal(past: Tensor, form: Rational, modal: Modal) -> Tensor:
    """The modes' state (batch, channels, n) of the rational form's, past (batch, order, channels), oldest first."""
    return torch.einsum("cnk,bkc->bcn", _reading(form, modal), past.to(torch.complex128))


def state_to_rational(state: Tensor, modal: Modal, form: Rational, tolerance: float = TOLERANCE) -> Tensor:
    """The rational form's state (batch, order, channels), oldest first, of the modes' (batch, channels, n)."""
    reading = _reading(form, modal)
    real = torch.cat([reading.real, reading.imag], 1)
    size = torch.linalg.svdvals(real)
    used = modal.residues != 0
    degree = used.sum(1) + (is_pair(modal.log_poles) & used).sum(1)
    smallest = size.gather(1, (degree - 1).clamp(min=0)[:, None])[:, 0]
    _refuse_error(
        torch.where(degree > 0, torch.finfo(size.dtype).eps * size[:, 0] / smallest, 0),
        tolerance,
        "its poles are too close to each other to tell the rational form's state from the modes'",
        "run the rational form over the inputs again",
    )
    numbers = torch.cat([state.real, state.imag], 2) if state.is_complex() else pad(state, (0, state.shape[2]))
    return torch.einsum("ckn,bcn->bkc", torch.linalg.pinv(real), numbers.double())


def _reading(form: Rational, modal: Modal) -> Tensor:
    """(channels, modes, order): 1 / (1 - p z^-1) u of w = u / A, a polynomial in z^-1, the oldest w first; 0 if unused.

    A / (1 - p z^-1) has the coefficients e_0 = 1, e_k = p e_{k-1} + a_k.
    """
    p = modal.log_poles.to(torch.complex128).exp()
    rows = [torch.ones_like(p)]
    for a in form.a.T[:-1, :, None]:
        rows.append(rows[-1] * p + a)
    return torch.stack(rows[::-1], 2) * (modal.residues != 0)[..., None]


def _realized(h: Tensor, order: int, tolerance: float) -> Tensor:
    """Poles (channels, order) of h. Rounding moves them by its ratio to the last singular value, about."""
    if not 1 <= order < h.shape[1] // 2:
        raise UserError(
            f"a response of {h.shape[1]} steps cannot show an order of {order}; "
            f"give {2 * order + 2} steps or more, and an order from 1 on."
        )
    factors = hankel.factor(h, order + SPARE)
    last = (factors.values[:, order - 1] / factors.values[:, 0]).nan_to_num()
    shown = (
        f"singular value {order} of its Hankel matrix is {float(last.min()):.0e} of the first, too little for a state"
    )
    _refuse_error(
        torch.finfo(h.dtype).eps / last,
        tolerance,
        shown,
        "give a lower order, or distill it",
    )
    poles = hankel.shift_poles(factors.vectors[..., :order])
    _refuse_unstable(poles)
    return poles


def _polynomial(poles: Tensor, pairs: Tensor) -> Tensor:
    """1, a_1, ...: the coefficients of prod (1 - p z^-1), over p* too where p is one of a pair; p is 0 of none.

    Factors are multiplied in Leja's order, each far from those before, which keeps what they cancel small (Calvetti and
    Reichel 2003).
    """
    channels, n = poles.shape
    total = torch.where(pairs, 2 * poles.real, poles.real)
    squared = torch.where(pairs, poles.abs().square(), 0)
    a = pad(poles.real.new_ones(channels, 1), (0, n * (1 + poles.is_complex())))
    distance = _log_size(poles)
    for _ in range(n):
        pick = distance.argmax(1, keepdim=True)
        p = poles.gather(1, pick)
        a = a - total.gather(1, pick) * pad(a, (1, -1)) + squared.gather(1, pick) * pad(a, (2, -2))
        distance = distance + _log_size(poles - p) + _log_size(poles - p.conj())
        distance = distance.scatter(1, pick, -torch.inf)
    return a


def _log_size(z: Tensor) -> Tensor:
    """log |z|, finite at 0."""
    size = z.abs()
    return size.clamp(min=torch.finfo(size.dtype).tiny).log()


def _roots(a: Tensor, degree: Tensor) -> Tensor:
    """Roots (channels, n) of z^n + a_1 z^(n-1) + ..., of the companion matrix, polished; beyond `degree` 0."""
    n = a.shape[1]
    companion = pad(torch.eye(n, dtype=a.dtype, device=a.device)[:-1], (0, 0, 1, 0)).repeat(len(a), 1, 1)
    companion[:, 0] = -a
    z = torch.linalg.eigvals(companion.cpu()).to(a.device)
    z = z.take_along_dim(z.abs().argsort(1, descending=True), 1)
    z = torch.where(torch.arange(n, device=a.device) < degree[:, None], z, 0)
    monic = pad(a, (1, 0), value=1.0)
    for _ in range(2):  # Newton's, where it helps
        value, slope, _ = _horner(monic, z)
        moved = torch.where((slope == 0) | (z == 0), z, z - value / slope)
        z = torch.where(_horner(monic, moved)[0].abs() < value.abs(), moved, z)
    return z


def _horner(coefficients: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, slope and terms' sizes, summed, of polynomials (channels, n), highest power first, at z (channels, m)."""
    value, slope, size = torch.zeros_like(z), torch.zeros_like(z), torch.zeros_like(z.real)
    for c in coefficients.T[..., None]:
        value, slope, size = value * z + c, slope * z + value, size * z.abs() + c.abs()
    return value, slope, size


def _gaps(p: Tensor, roots: Tensor) -> Tensor:
    """From each p (channels, m), itself one of the roots (channels, n), to the next root, or to 0."""
    apart = (p[..., None] - roots[:, None]).abs()
    return torch.minimum(apart.topk(min(2, roots.shape[1]), largest=False)[0][..., -1], p.abs())


def _wide(x: Tensor) -> Tensor:
    return x.detach().to(torch.complex128 if x.is_complex() else torch.float64)


def _length(decay: Tensor) -> int:
    """Steps until the slowest mode has decayed to rounding."""
    return int((40 / -decay.amax()).clamp(4 * decay.shape[1] + 1, FARTHEST))


def _error(got: Tensor, expected: Tensor) -> Tensor:
    tiny = torch.finfo(got.dtype).tiny
    return (got - expected).norm(dim=1) / expected.norm(dim=1).clamp(min=tiny)


def _refuse_unstable(poles: Tensor) -> None:
    size, channel = (float(x) for x in poles.abs().amax(1).max(0))
    if not size < 1:
        raise UserError(
            f"channel {channel:.0f} has an unstable pole of size {size:.9g}; sizes must be below 1: "
            "bring it within the unit circle first."
        )


def _refuse_error(error: Tensor, tolerance: float, cause: str, instead: str) -> None:
    worst, channel = (float(x) for x in error.nan_to_num(torch.inf, torch.inf).max(0))
    if worst > tolerance:
        raise UserError(
            f"channel {channel:.0f} cannot be converted: {cause} (relative error about {worst:.0e}, "
            f"{tolerance:.0e} allowed); {instead}."
        )


def _refuse_misfit(got: Tensor, h: Tensor, order: int, tolerance: float) -> None:
    _refuse_error(
        _error(got, h),
        tolerance,
        f"its response is not of order {order}, or its poles are too close",
        "give another order, or distill it",
    )
