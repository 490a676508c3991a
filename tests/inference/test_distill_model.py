"""Models with their long filters distilled: exact where an order suffices, ordinary models afterwards."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from zoo import perturb, shape, stepped, tokens

from eutectic.analysis import schema
from eutectic.arch.mixers.rtf import RTF
from eutectic.arch.model import Model, build
from eutectic.config import ModelConfig, RunConfig
from eutectic.errors import UserError
from eutectic.inference.distill_model import distill_model, rows

LENGTH = 64
EXACT = "rtf(order=4,stable=false)"


def run_of(config: ModelConfig, small_run: RunConfig) -> RunConfig:
    return replace(small_run, model=config, data=replace(small_run.data, seq_len=LENGTH))


def plant(model: Model) -> Model:
    """In every rtf, poles of 0.9 e^(+-0.5 i) and 0.8 e^(+-1.5 i), which the perturbation would bring near to 0."""
    for mixer in model.modules():
        if isinstance(mixer, RTF):
            pairs = [np.poly(r * np.exp([1j * w, -1j * w])) for r, w in ((0.9, 0.5), (0.8, 1.5))]
            with torch.no_grad():
                mixer.denominator.copy_(torch.from_numpy(np.polymul(*pairs).real[1:]))
    return model


def made(layout: str, small_run: RunConfig, **changes: Any) -> tuple[Model, RunConfig]:
    config = replace(shape(layout), **changes)
    return plant(perturb(build(config, 0))).eval(), run_of(config, small_run)


@torch.no_grad()
def difference(one: Model, other: Model) -> float:
    read = tokens(2, LENGTH)
    return float((one(read) - other(read)).abs().max() / one(read).abs().max())


@pytest.mark.parametrize(
    ("layout", "becomes"),
    [
        (f"{EXACT}+attn", "hyena+attn"),
        (f"{EXACT}+attn@back", "hyena+attn"),
        (f"[{EXACT}*3|attn]", "[hyena*3|attn]"),
        (f"hyena+{EXACT}", "hyena*2"),
        (f"multihyena+{EXACT}", "multihyena+hyena"),
    ],
)
@pytest.mark.parametrize("poles", ["complex", "real"])
def test_filters_of_a_low_order_become_the_same_model(
    layout: str, becomes: str, poles: str, small_run: RunConfig
) -> None:
    model, run = made(layout, small_run, poles=poles)
    found = distill_model(model, run, 6, 1e-5)
    assert (found.run.model.layout, found.run.model.poles) == (becomes, "complex")
    (layer, *_) = found.layers
    assert layer.report.order.tolist() == [4] * len(layer.size) and float(layer.report.error.max()) < 1e-5
    assert found.run.model.n_modes == (5 if "hyena" in layout else 2)
    assert difference(model, found.model) < 1e-4
    x = torch.randn(2, 20, 32, generator=torch.Generator().manual_seed(0))
    mixer = found.model.layers()[0].mixer
    torch.testing.assert_close(stepped(mixer, x), mixer(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", ["hyena_implicit(max_length=64,frequency=1.0)+attn", "hyena_mr(taps=16)+attn"])
def test_more_states_are_nearer(layout: str, small_run: RunConfig) -> None:
    model, run = made(layout, small_run)
    found = [distill_model(model, run, order, 1e-9) for order in (1, 4, 12)]
    errors = [float(one.layers[0].report.error.max()) for one in found]
    apart = [difference(model, one.model) for one in found]
    assert errors[0] > 1.5 * errors[1] > 3 * errors[2]
    assert apart[0] > apart[1] > apart[2]


def test_rows_are_of_the_schema(small_run: RunConfig) -> None:
    model, run = made("rtf(order=4)+hyena_mr", small_run)
    found = rows(run, distill_model(model, run, 3, 1e-3), 3, 1e-3, torch.zeros(2, 3), torch.ones(2, 3))
    assert [set(row) for row in found] == [{column.name for column in schema.DISTILL}] * 2
    assert all(row["ratio_low"] == row["ratio_high"] == row["perplexity"] == pytest.approx(math.e) for row in found)
    assert [(row["layer"], row["mixer"]) for row in found] == [(0, "rtf(order=4)"), (1, "hyena_mr")]
    assert all(row["error_low"] <= row["error"] <= row["error_high"] <= row["error_max"] for row in found)
    assert all(0 < row["lower"] <= row["peak"] * (1 + 1e-3) for row in found)


def test_what_cannot_be_distilled_is_refused_with_its_layer(small_run: RunConfig) -> None:
    model, run = made("attn+hyena", small_run)
    with pytest.raises(UserError, match=r"attn.hyena has no long filters to distill; .* hyena_implicit, hyena_mr, rtf"):
        distill_model(model, run, 4, 1e-3)
    model, run = made("attn+hyena_mr(taps=8)", small_run)
    with torch.no_grad():
        model.get_submodule("blocks.1.mixer").taps[1] = torch.nan
    with pytest.raises(UserError, match=r"layer 1 \(blocks.1.mixer\): channel 16 of the filter is not finite"):
        distill_model(model, run, 4, 1e-3)
    model, run = made("attn+rtf(order=4,stable=false)", small_run)
    with torch.no_grad():
        model.get_submodule("blocks.1.mixer").denominator[3] = torch.tensor([-1.5, 0, 0, 0])  # A = 1 - 1.5 / z
    with pytest.raises(UserError, match=r"layer 1 \(blocks.1.mixer\): channel 3 has an unstable pole of size 1.5;"):
        distill_model(model, run, 4, 1e-3)
