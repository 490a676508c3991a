"""Modal filters of fewer modes: the redundant states of a trained model removed, one number of modes for all layers.

A model has one number of modes, and the bytes of its states are by it: a layer that had fewer than the others would
save nothing. So all keep the same, and a perplexity budget decides how many.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eutectic.arch.base import StateSize
from eutectic.arch.model import Model
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.inference import hankel, modal_fit
from eutectic.inference.convert import Modal
from eutectic.inference.distill import STEPS
from eutectic.inference.modal_fit import Modes
from eutectic.inference.score import perplexity, perplexity_of, ratio_interval, token_losses
from eutectic.inference.speed import decode_milliseconds
from eutectic.inference.surgery import CANCEL, modal_form, modal_mixers, with_modal_forms
from eutectic.train.log import STATE_CONVENTION, Row, device_name


@dataclass(frozen=True)
class Pruned:
    """run: with the modes that are left. error (channels of all layers,): relative L2 of the filters, without h_0.

    judged: the perplexity that decides whether it is within the budget.
    """

    model: Model
    run: RunConfig
    error: Tensor
    judged: float
    within: bool


def search(model: Model, run: RunConfig, judged: Tensor, budget: float) -> Iterator[Pruned]:
    """The model as it is, then with one mode fewer each time, until perplexity on the rows `judged` has risen by more
    than `budget`, 0.01 for one percent. The first that is over the budget is the last that comes.

    Raises UserError for a model without modal filters, or of one mode.
    """
    if not modal_mixers(model) or run.model.n_modes < 2:
        raise UserError(
            f"{run.model.layout} of {run.model.n_modes} modes has none to spare; name a run with hyena or multihyena "
            "layers of two modes or more."
        )
    unpruned = perplexity(model, judged)
    yield Pruned(model, run, torch.zeros(1), unpruned, True)
    for modes in range(run.model.n_modes - 1, 0, -1):
        smaller, fewer, error = prune(model, run, modes)
        found = perplexity(smaller, judged)
        within = found <= (1 + budget) * unpruned
        yield Pruned(smaller, fewer, error, found, within)
        if not within:
            return


def row(was: RunConfig, found: Pruned, reported: Tensor, unpruned: Tensor) -> Row:
    """Of the `prune` table, for what search() found of a run. reported: rows of text that it was not judged by;
    unpruned: the losses of their tokens by the unpruned model."""
    model, length = found.model, was.data.seq_len
    losses = token_losses(model, reported)
    low, high = ratio_interval(unpruned, losses)
    filters = sum((mixer.mix_size(length) for mixer in modal_mixers(model).values()), StateSize())
    return {
        "run_id": was.run_id,
        "arch": was.model.layout,
        "seed": was.seed,
        "length": length,
        "modes": found.run.model.n_modes,
        "within_budget": found.within,
        "error": float(found.error.median()),
        "error_max": float(found.error.max()),
        "judged_perplexity": found.judged,
        "perplexity": perplexity_of(losses),
        "ratio_low": low,
        "ratio_high": high,
        "state_bytes": model.state_size(length).bytes(torch.bfloat16),
        "filter_bytes": filters.bytes(torch.bfloat16),
        "state_convention": STATE_CONVENTION,
        "decode_ms": decode_milliseconds(model, length),
        "device": device_name(model.embedding.weight.device.type),
    }


def prune(model: Model, run: RunConfig, modes: int) -> tuple[Model, RunConfig, Tensor]:
    """The model with so many modes, its run, and the filters' errors as Pruned has them."""
    length, config = run.data.seq_len, replace(run.model, n_modes=modes)
    forms, errors = {}, []
    for path, mixer in modal_mixers(model).items():
        forms[path], error = reduced(modal_form(mixer), modes, length)
        errors.append(error)
    recipe = f"{run.recipe}, pruned to {modes} modes"
    made = with_modal_forms(model, config, forms, length)
    return made, replace(run, model=config, recipe=recipe), torch.cat(errors)


def reduced(form: Modal, modes: int, length: int) -> tuple[Modal, Tensor]:
    """Filters of so many modes, closest in least squares over `length`, and their relative L2 errors, without h_0.

    Poles begin as those of balanced truncation, which Hankel singular values choose, and as the filter's own modes of
    largest Hankel norm; either is refined, and each channel gets the closer. Filters of real poles alone stay such, and
    begin as their own. The skip takes h_0's error.
    """
    h = form.response(length)
    y = h[:, 1:]
    starts = [_dominant(form, modes)]
    if bool(hankel.is_pair(form.log_poles).any()):
        starts.append(modal_fit.stabilized(_truncated(form, modes), length))
    fits = [
        modal_fit.widened(modal_fit.refined(y, modal_fit.fitted(y, start), STEPS, CANCEL), modes) for start in starts
    ]
    fit = functools.reduce(functools.partial(modal_fit.better, most=CANCEL), fits)
    residues = fit.amplitudes / fit.modes.log_poles.exp()
    size = y.norm(dim=1).clamp(min=torch.finfo(y.dtype).tiny)
    return Modal(fit.modes.log_poles, residues, h[:, 0] - residues.real.sum(1)), fit.loss.sqrt() / size


def _dominant(form: Modal, modes: int) -> Modes:
    """A filter's own modes of the largest Hankel norms, |R p| / (1 - |p|^2)."""
    decay = form.log_poles.real
    sizes = form.residues.abs() * decay.exp() / -torch.expm1(2 * decay)
    kept = sizes.topk(modes, 1).indices
    return Modes(form.log_poles.gather(1, kept), form.residues.gather(1, kept) != 0)


def _truncated(form: Modal, modes: int) -> Modes:
    """Those of balanced truncation to the highest order whose poles fill no more modes: twice as many where they are
    pairs, fewer where some are real."""
    balanced = hankel.balance(form.log_poles, form.residues)
    poles = balanced.a.new_zeros(len(balanced.a), 2 * modes, dtype=torch.complex128)
    left = torch.arange(len(poles), device=poles.device)
    for order in range(2 * modes, modes - 1, -1):
        found = torch.linalg.eigvals(balanced.a[left, :order, :order].cpu()).to(poles.device)
        fits = ((found.imag >= 0) & (found != 0)).sum(1) <= modes
        poles[left[fits], :order] = found[fits]
        left = left[~fits]
    return modal_fit.modes_of(poles)
