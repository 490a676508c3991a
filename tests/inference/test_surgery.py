"""Other filters in a trained model: the same ones change nothing, and what a model cannot hold is refused."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad
from zoo import SHAPE, perturb, perturbed, shape, tokens

from eutectic.arch import registry
from eutectic.arch.base import Mixer
from eutectic.arch.gated_conv import LongConv
from eutectic.arch.model import Model, build
from eutectic.errors import UserError
from eutectic.inference.convert import Modal
from eutectic.inference.surgery import modal_form, modal_mixers, with_modal_forms

LAYOUTS = ["hyena+attn", "multihyena+hyena", "[hyena*3|attn]"]
LENGTH = 100


def forms(model: Model) -> dict[str, Modal]:
    return {path: modal_form(mixer) for path, mixer in modal_mixers(model).items()}


def assert_same(one: Model, other: Model) -> None:
    read = tokens(2, LENGTH)
    torch.testing.assert_close(other(read), one(read), rtol=0, atol=2e-5)


@pytest.mark.parametrize("poles", ["complex", "real"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_filters_with_idle_modes_make_the_same_model(layout: str, poles: str) -> None:
    config = replace(shape(layout), poles=poles)
    model = perturb(build(config, 0))
    for wider in (config, replace(config, n_modes=7), replace(config, poles="complex")):
        assert_same(model, with_modal_forms(model, wider, forms(model), LENGTH))


def test_angles_of_many_turns_are_those_within_one() -> None:
    model = perturbed("hyena+attn").float()
    turned = {p: f._replace(log_poles=f.log_poles + 2j * math.pi * 1000) for p, f in forms(model).items()}
    assert_same(model, with_modal_forms(model, shape("hyena+attn"), turned, LENGTH))


def changed(form: Modal, log_poles: Tensor, residues: Tensor) -> Modal:
    """With two modes of channel 3 these instead."""
    found = form._replace(log_poles=form.log_poles.clone(), residues=form.residues.clone())
    found.log_poles[3, :2], found.residues[3, :2] = log_poles, residues
    return found


@pytest.mark.parametrize(
    ("log_poles", "residues", "said"),
    [
        ([0.3j, -0.1 + 0j], [1.0, 1.0], "has a pole that is not within the unit circle"),
        ([-0.1 + 0.3j, -0.1 + 0.3000001j], [3e6, -3e6], "has modes that cancel: in float32 it is 1e-03 off"),
    ],
)
def test_what_float32_cannot_hold_is_refused(log_poles: list[complex], residues: list[float], said: str) -> None:
    model = perturbed("attn+hyena").float()
    one = {path: changed(form, torch.tensor(log_poles), torch.tensor(residues)) for path, form in forms(model).items()}
    with pytest.raises(UserError, match=rf"the filter of layer 1, channel 3 \(blocks.1.mixer\) {said}"):
        with_modal_forms(model, shape("attn+hyena"), one, LENGTH)


def test_a_model_in_bfloat16_keeps_its_filters() -> None:
    model = perturbed("multihyena+hyena").float()
    before = forms(model)
    for path, form in forms(model.bfloat16()).items():
        assert torch.equal(form.log_poles, before[path].log_poles) and torch.equal(form.residues, before[path].residues)
    assert model.embedding.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["hyena_implicit", "rtf", "hyena_mr"])
def test_a_long_filter_is_what_an_impulse_leaves(name: str) -> None:
    torch.manual_seed(0)
    mixer = registry.find(name, Mixer)(SHAPE).double()
    assert isinstance(mixer, LongConv)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for length in (50, 200):  # an FIR of 128 taps ends before or after
            impulse = pad(torch.ones(1, 1, mixer.d_inner, dtype=torch.float64), (0, 0, 0, length - 1))
            left = mixer.mix(torch.ones_like(impulse), impulse, torch.ones_like(impulse))[0].T
            h = mixer.impulse_response(length)
            torch.testing.assert_close(h, left - mixer.skip[:, None] * impulse[0].T, rtol=0, atol=1e-12)
