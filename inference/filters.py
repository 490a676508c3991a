"""What the convolutions of a trained model have learnt: impulse responses and poles, and how far back they remember."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from eutectic.arch import layout
from eutectic.arch.base import Mixer
from eutectic.arch.gated_conv import LongConv
from eutectic.arch.mixers.h3 import H3
from eutectic.arch.mixers.hyena import Hyena
from eutectic.arch.mixers.hyena_se import HyenaSE
from eutectic.arch.mixers.mega import Mega
from eutectic.arch.mixers.monarch import Monarch
from eutectic.arch.mixers.multihyena import MultiHyena
from eutectic.arch.mixers.rtf import RTF
from eutectic.arch.mixers.s4d import S4D
from eutectic.arch.model import Model
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.inference.convert import Modal, Rational, rational_to_modal
from eutectic.inference.surgery import layer_of, modal_form
from eutectic.train.log import Row

SEEN = 0.9  # share of a filter's energy that its memory holds
SHOWN = 5  # filters of a layer whose responses are kept
PER_OCTAVE = 8  # lags that are kept of a response
HIDDEN = 1e-3  # relative L2 error of a response above which rounding hides its residues
AT_ONCE = 64  # filters whose modes' powers are in memory together


@dataclass(frozen=True)
class Filters:
    """A layer's, in float64. h (channels, length): what an impulse leaves, with the skip D in h_0.

    modal: the same of mixers with poles, a mode for each pair of them or real one; residues are NaN in channels where
    rounding hides them, and 0 in modes without use.
    """

    path: str
    mixer: str
    h: Tensor
    modal: Modal | None

    @property
    def memory(self) -> Tensor:
        """(channels,): the lag by which SEEN of the energy of lags from 1 on is seen, over the length; 0 if it is 0."""
        seen = self.h[:, 1:].square().cumsum(1)
        return torch.where(seen[:, -1] > 0, (seen < SEEN * seen[:, -1:]).sum(1) + 1, 0)

    @property
    def longer(self) -> float:
        """Share of filters that have less than SEEN of the energy of all lags from 1 on within the length, of those
        whose residues are known; NaN without poles, which alone say what comes after."""
        if self.modal is None:
            return math.nan
        log_poles, residues, _ = self.modal
        after = energy(log_poles, residues * (log_poles * self.h.shape[1]).exp())
        share = after / (self.h[:, 1:].square().sum(1) + after)
        return float((share[~share.isnan()] > 1 - SEEN).double().mean())


def filters_of(model: Model, run: RunConfig) -> list[Filters]:
    """Of every mixer with a convolution that is no short FIR before others, over the length that it was trained with.

    H3's are those of its diagonal state space, Mega's those of its average. Raises UserError, which names the layer,
    for a pole that is not within the unit circle.
    """
    terms = layout.expand(layout.parse(run.model.layout), run.model.n_layers)
    found = []
    for path, mixer in model.named_modules():
        if isinstance(mixer, Mixer):
            try:
                read = _read(mixer, run.data.seq_len)
            except UserError as error:
                raise UserError(f"layer {layer_of(path)} ({path}): {error}") from None
            if read is not None:
                place = path.rpartition(".")[2]  # among mixers that stand side by side
                term, _ = terms[layer_of(path)].parts[int(place) if place.isdigit() else 0]
                found.append(Filters(path, str(term), *read))
    return found


@torch.no_grad()
def _read(mixer: Mixer, length: int) -> tuple[Tensor, Modal | None] | None:
    """A mixer's h and modal."""
    match mixer:
        case Hyena() | MultiHyena():
            return _of_modes(modal_form(mixer), length)
        case S4D() | H3():
            return _of_modes(_double(Modal(*mixer.ssm.modes(), mixer.ssm.skip)), length)
        case Mega():
            return _of_modes(_double(Modal(*mixer.average(), mixer.omega)), length)
        case RTF():
            a, b = (t.double() for t in mixer.coefficients())
            return _of_fraction(Rational(mixer.skip.double(), a, b), length)
        case LongConv():
            h, skip = mixer.impulse_response(length), mixer.skip.detach()
        case Monarch():
            h, skip = mixer.filter(length), mixer.skip.detach()
        case HyenaSE():
            h, skip = mixer.per_channel(), torch.zeros(())
        case _:
            return None
    h = pad(h.double(), (0, length - h.shape[1]))
    h[:, 0] += skip
    return h, None


def _double(form: Modal) -> Modal:
    log_poles, residues = (t.to(torch.complex128) for t in form[:2])
    return Modal(log_poles, residues, form.skip.double())


def _of_modes(form: Modal, length: int) -> tuple[Tensor, Modal]:
    few = zip(*(t.split(AT_ONCE) for t in form), strict=True)
    return torch.cat([Modal(*part).response(length) for part in few]), form


def _of_fraction(form: Rational, length: int) -> tuple[Tensor, Modal]:
    """The modes come of the roots of A, whose rounding residues feel where poles are close."""
    h, modal = form.response(length), rational_to_modal(form, math.inf)
    off = (_of_modes(modal, length)[0] - h).norm(dim=1, keepdim=True)
    hidden = ~(off <= HIDDEN * h.norm(dim=1, keepdim=True)) & (modal.residues != 0)
    return h, modal._replace(residues=torch.where(hidden, torch.nan, modal.residues))


def energy(log_poles: Tensor, residues: Tensor) -> Tensor:
    """(channels,): the sum over all t from 0 on of h_t^2, h_t = Re sum_n R_n p_n^t.

    h_t = Re z_t, so that h_t^2 = Re(z_t z_t* + z_t z_t) / 2, and of either product the sum is of geometric series.
    """
    total = torch.zeros_like(residues.real[:, 0])
    for poles, factors in ((log_poles, residues), (log_poles.conj(), residues.conj())):
        products = residues[:, :, None] * factors[:, None]
        total = total - (products / torch.expm1(log_poles[:, :, None] + poles[:, None])).real.sum((1, 2)) / 2
    return total


def summary(found: Filters) -> Row:
    """What the command prints of a layer. Time constants are of all its modes, none where it has no poles."""
    constants = torch.full((1,), torch.nan).double()
    if found.modal is not None:
        constants = (-1 / found.modal.log_poles.real)[found.modal.residues != 0]
    memory, energies = found.memory.double(), found.h.square().sum(0)
    return {
        "path": found.path,
        "layer": layer_of(found.path),
        "mixer": found.mixer,
        "channels": len(found.h),
        "time_constant": float(constants.nanquantile(0.5)),
        "time_constant_90": float(constants.nanquantile(0.9)),
        "longer": found.longer,
        "memory": float(memory.quantile(0.5)),
        "memory_90": float(memory.quantile(0.9)),
        "past": float(energies[1:].sum() / energies.sum()),
    }


def filter_rows(found: Filters) -> list[Row]:
    """Of the `filters` table, but for the model: SHOWN filters, evenly from the shortest memory to the longest."""
    memory, (channels, length) = found.memory, found.h.shape
    ranks = torch.linspace(0, channels - 1, min(SHOWN, channels)).round().long()
    at = lags(length)
    rows = []
    for channel in memory.argsort(stable=True)[ranks].tolist():
        spans = [found.h[channel, a:b] for a, b in itertools.pairwise([*at, length])]
        shared = _about(found) | {"channel": channel, "memory": int(memory[channel])}
        rows += [
            shared | {"lag": lag, "value": float(span[0]), "low": float(span.min()), "high": float(span.max())}
            for lag, span in zip(at, spans, strict=True)
        ]
    return rows


def lags(length: int) -> list[int]:
    """0, 1, 2 and so on, below the length, and PER_OCTAVE to an octave where these are further apart than 1."""
    steps = range(PER_OCTAVE * length.bit_length())
    return sorted({0, *(lag for lag in (round(2 ** (k / PER_OCTAVE)) for k in steps) if lag < length)})


def pole_rows(found: Filters) -> list[Row]:
    """Of the `poles` table, but for the model; none of a layer without poles."""
    if found.modal is None:
        return []
    log_poles, residues, _ = found.modal
    poles, sizes = log_poles.exp(), residues.abs()
    columns = [poles.abs(), poles.angle().abs(), sizes, -1 / log_poles.real]
    used = sizes != 0
    places = used.nonzero().tolist()
    values = torch.stack([column[used] for column in columns], 1).tolist()
    names = ("radius", "angle", "residue", "time_constant")
    about = _about(found)
    return [
        about | {"channel": channel, "mode": mode} | dict(zip(names, finite, strict=True))
        for (channel, mode), row in zip(places, values, strict=True)
        for finite in [[None if math.isnan(value) else value for value in row]]
    ]


def _about(found: Filters) -> Row:
    return {"path": found.path, "layer": layer_of(found.path), "mixer": found.mixer, "channels": len(found.h)}
