"""A trained model whose long filters are distilled: each layer that has them becomes a hyena of a few modes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eutectic.arch import layout, registry
from eutectic.arch.base import Mixer
from eutectic.arch.gated_conv import LongConv
from eutectic.arch.layout import Layout, MixerTerm
from eutectic.arch.mixers.rtf import RTF
from eutectic.arch.model import Model
from eutectic.config import ModelConfig, RunConfig
from eutectic.errors import UserError
from eutectic.inference.convert import Modal, rational_poles
from eutectic.inference.distill import Report, distill
from eutectic.inference.score import perplexity_of, ratio_interval
from eutectic.inference.surgery import CANCEL, layer_of, modal_form, modal_mixers, with_modal_forms
from eutectic.train.log import Row

SPREAD = (0.1, 0.9)  # quantiles over channels, beside the median


@dataclass(frozen=True)
class Layer:
    """What became of a layer's filters. size: their L2 norms (channels,), without h_0, as Report has errors."""

    path: str
    size: Tensor
    report: Report


@dataclass(frozen=True)
class Distilled:
    """run: that of the model distilled, with what it is now for its model and its recipe."""

    model: Model
    run: RunConfig
    layers: tuple[Layer, ...]


def distill_model(model: Model, run: RunConfig, max_order: int, tolerance: float) -> Distilled:
    """The model with its long filters in modal form, by distill() over the length that it was trained on.

    Projections, short FIRs and the skip stay, but for h_0's part in it. All layers have the modes of the fullest, for a
    model has one number of them; those that had modal filters keep these. Raises UserError, which names the layer,
    where a filter cannot be distilled, and where there are none.
    """
    length = run.data.seq_len
    found: dict[str, tuple[Modal, Layer]] = {}
    for path, mixer in model.named_modules():
        if isinstance(mixer, LongConv):
            found[path] = _distilled(path, mixer, length, max_order, tolerance)
    if not found:
        raise UserError(
            f"{run.model.layout} has no long filters to distill; name a run with layers of "
            f"{', '.join(name for name in registry.SEQUENCE if _is_long(name))}."
        )
    forms = {path: modal_form(mixer) for path, mixer in modal_mixers(model).items()}
    forms |= {path: form for path, (form, _) in found.items()}
    config = _config(run.model, forms)
    recipe = f"{run.recipe}, distilled to order {max_order}"
    made = with_modal_forms(model, config, forms, length)
    return Distilled(made, replace(run, model=config, recipe=recipe), tuple(layer for _, layer in found.values()))


def _distilled(path: str, mixer: LongConv, length: int, max_order: int, tolerance: float) -> tuple[Modal, Layer]:
    with torch.no_grad():
        h = mixer.impulse_response(length).double()
    try:
        if isinstance(mixer, RTF) and not mixer.stable:
            rational_poles(mixer.coefficients()[0].detach().double())
        form, report = distill(h, max_order, tolerance, cancel=CANCEL)
    except UserError as error:
        raise UserError(f"layer {layer_of(path)} ({path}): {error}") from None
    return form._replace(skip=form.skip + mixer.skip.detach()), Layer(path, h[:, 1:].norm(dim=1), report)


def _config(model: ModelConfig, forms: Mapping[str, Modal]) -> ModelConfig:
    """With hyena in the place of every mixer of long filters, and room for the modes of these."""
    parsed = layout.parse(model.layout)
    if parsed.placement:  # which goes by the kinds of mixers, of which there will be fewer
        parsed = Layout(tuple(layout.expand(parsed, model.n_layers)))
    changed = parsed.with_terms(lambda term: MixerTerm("hyena") if _is_long(term.name) else term)
    modes = max(form.log_poles.shape[1] for form in forms.values())
    return replace(model, layout=str(changed), n_modes=modes, poles="complex")


def _is_long(name: str) -> bool:
    return issubclass(registry.find(name, Mixer), LongConv)


def rows(was: RunConfig, now: Distilled, max_order: int, tolerance: float, before: Tensor, after: Tensor) -> list[Row]:
    """Of the `distill` table, a row for each layer. before, after: losses of the same text, as ratio_interval takes."""
    low, high = ratio_interval(before, after)
    shared = {
        "run_id": was.run_id,
        "arch": was.model.layout,
        "seed": was.seed,
        "length": was.data.seq_len,
        "max_order": max_order,
        "tolerance": tolerance,
        "n_modes": now.run.model.n_modes,
        "perplexity_before": perplexity_of(before),
        "perplexity": perplexity_of(after),
        "ratio_low": low,
        "ratio_high": high,
    }
    return [shared | _layer_columns(layer, was.model) for layer in now.layers]


def _layer_columns(layer: Layer, model: ModelConfig) -> Row:
    report = layer.report
    term = layout.expand(layout.parse(model.layout), model.n_layers)[layer_of(layer.path)]
    low, high = (float(report.error.quantile(q)) for q in SPREAD)
    of_size = {name: getattr(report, name) / layer.size for name in ("peak", "lower", "upper")}
    return {
        "path": layer.path,
        "layer": layer_of(layer.path),
        "mixer": str(term),
        "channels": len(report.order),
        "order_mean": float(report.order.double().mean()),
        "order_max": int(report.order.max()),
        "modes_max": int(report.modes.max()),
        "error": float(report.error.median()),
        "error_low": low,
        "error_high": high,
        "error_max": float(report.error.max()),
        **{name: float(ratio.nanmedian()) for name, ratio in of_size.items()},
        "within_bound": float(report.within_bound.double().mean()),
    }
