"""A trained model with other modal filters: of long ones that were distilled, or its own of fewer modes."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad

from eutectic.arch.mixers.hyena import Hyena
from eutectic.arch.mixers.multihyena import MultiHyena
from eutectic.arch.model import Model, build
from eutectic.config import ModelConfig
from eutectic.errors import UserError
from eutectic.inference.convert import Modal
from eutectic.inference.load import fill
from eutectic.kernels.modal_conv import impulse_response

# how far modes that are fitted for a model may cancel (modal_fit.Fit): the skip cancels with them, and is rounded to
# bfloat16 where a GPU decodes. docs/log.md has what more would cost.
CANCEL = 30.0
ROUNDING = 1e-3  # relative L2 of a response in float32, against float64


def modal_mixers(model: Model) -> dict[str, Hyena | MultiHyena]:
    """Of filters that are modal, by their paths in the model."""
    return {path: mixer for path, mixer in model.named_modules() if isinstance(mixer, Hyena | MultiHyena)}


def modal_form(mixer: Hyena | MultiHyena) -> Modal:
    """A mixer's filters, in float64 and complex, and its D as their skip."""
    log_poles, residues = (t.detach().to(torch.complex128) for t in mixer.filter.poles())
    return Modal(log_poles, residues, mixer.skip.detach().double())


def with_modal_forms(model: Model, config: ModelConfig, forms: Mapping[str, Modal], length: int) -> Model:
    """A model of `config`, whose mixers of modal filters have these, by path, and which has all else from `model`.

    config: has such mixers at these paths, of as many modes or more, and else what `model` has. Raises UserError, with
    layer and channel, for a filter that is unstable, or that is not itself over `length` in float32.
    """
    made = build(config, 0).to(model.embedding.weight.device)
    old = model.state_dict()
    weights = {name: old[name] for name in made.state_dict() if name in old}
    for path, form in forms.items():
        _refuse(path, ~(form.log_poles.real < 0).all(1), "has a pole that is not within the unit circle")
        weights |= {f"{path}.{name}": tensor for name, tensor in _parameters(form, config).items()}
    fill(made, weights, "the model with other filters")
    for path, mixer in modal_mixers(made).items():
        form = forms[path]
        exact = impulse_response(form.log_poles, form.residues, length)
        with torch.no_grad():
            rounded = impulse_response(*mixer.filter.poles(), length)
        bad = ~((rounded - exact).norm(dim=1) <= ROUNDING * exact.norm(dim=1))
        _refuse(path, bad, f"has modes that cancel: in float32 it is {ROUNDING:.0e} off or more")
    return made


def layer_of(path: str) -> int:
    """From 0, of a mixer."""
    return int(path.split(".")[1])


def _parameters(form: Modal, config: ModelConfig) -> dict[str, Tensor]:
    """A mixer's, by their names, in float32. Idle modes have no residue, real poles an angle of 0 or pi."""
    idle = (0, config.n_modes - form.log_poles.shape[1])
    residues = torch.view_as_real(pad(form.residues, idle))
    found = {"filter.log_decay": pad((-form.log_poles.real).log(), idle), "skip": form.skip}
    if config.poles == "complex":
        # a fit may have turned about the circle, and float32 has few digits for an angle of many turns
        turned = (form.log_poles.imag + math.pi).remainder(2 * math.pi) - math.pi
        found |= {"filter.angle": pad(turned, idle), "filter.residues": residues}
    else:
        found["filter.residues"] = residues[..., :1]
    return {name: tensor.float() for name, tensor in found.items()}


def _refuse(path: str, bad: Tensor, what: str) -> None:
    if bool(bad.any()):
        channel = int(bad.nonzero()[0])
        raise UserError(
            f"the filter of layer {layer_of(path)}, channel {channel} ({path}) {what}; give another order, or leave "
            "that model as it is."
        )
