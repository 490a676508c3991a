"""Filters of fewer modes: what is redundant goes without a trace, and the rest by the budget."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import perturb, perturbed, shape, stepped, tokens

from eutectic.analysis import schema
from eutectic.arch.model import Model, build
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.inference import prune as pruning
from eutectic.inference import speed
from eutectic.inference.convert import Modal
from eutectic.inference.hankel import is_pair, modal_values
from eutectic.inference.prune import prune, reduced, row, search
from eutectic.inference.score import token_losses
from eutectic.inference.size import state_bytes
from eutectic.inference.surgery import CANCEL, modal_mixers

LENGTH = 64


def run_of(layout: str, small_run: RunConfig, poles: str = "complex") -> RunConfig:
    model = replace(shape(layout), poles=poles)
    return replace(small_run, model=model, data=replace(small_run.data, seq_len=LENGTH))


def redundant(layout: str, poles: str) -> Model:
    """Of 5 modes in every filter, two have no residue: other ones in each channel."""
    model = perturb(build(replace(shape(layout), poles=poles), 0))
    for mixer in modal_mixers(model).values():
        channels = torch.arange(len(mixer.filter.residues))
        with torch.no_grad():
            mixer.filter.residues[channels, channels % 5] = 0
            mixer.filter.residues[channels, (channels + 2) % 5] = 0
    return model


@pytest.mark.parametrize("poles", ["complex", "real"])
@pytest.mark.parametrize("layout", ["hyena+attn", "multihyena+hyena", "[hyena*3|attn]"])
@torch.no_grad()
def test_modes_without_residues_go_unnoticed(layout: str, poles: str, small_run: RunConfig) -> None:
    model, read = redundant(layout, poles), tokens(2, LENGTH)
    smaller, run, error = prune(model, run_of(layout, small_run, poles), 3)
    assert (run.model.n_modes, run.model.poles) == (3, poles)
    assert float(error.max()) < 1e-6
    torch.testing.assert_close(smaller(read), model(read), rtol=0, atol=2e-5)
    x = torch.randn(2, 20, 32, generator=torch.Generator().manual_seed(0))
    for block in smaller.layers():
        torch.testing.assert_close(stepped(block.mixer, x), block.mixer(x), rtol=0, atol=1e-5)
    before, after = (
        sum(state_bytes(m.init_state(1, 0)) for m in modal_mixers(one).values()) for one in (model, smaller)
    )
    assert after < before


def modal(seed: int, channels: int = 6, modes: int = 5) -> Modal:
    g = torch.Generator().manual_seed(seed)
    decay = -torch.logspace(-2, 0, modes, dtype=torch.float64) * (0.5 + torch.rand(channels, modes, generator=g))
    angle = 3 * torch.rand(channels, modes, generator=g, dtype=torch.float64)
    residues = torch.randn(channels, modes, generator=g, dtype=torch.complex128)
    return Modal(torch.complex(decay, angle), residues, torch.randn(channels, generator=g, dtype=torch.float64))


@given(seed=st.integers(0, 999), modes=st.integers(1, 4))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_fewer_modes_are_near_and_stable(seed: int, modes: int) -> None:
    form, length = modal(seed), 512
    found, error = reduced(form, modes, length)
    h, got = form.response(length), found.response(length)
    wrong = (got - h)[:, 1:].norm(dim=1) / h[:, 1:].norm(dim=1)
    torch.testing.assert_close(wrong, error, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(got[:, 0], h[:, 0], rtol=0, atol=1e-9)
    assert found.log_poles.shape == (6, modes) and float(found.log_poles.real.max()) < 0
    sizes = found.residues.abs() / -torch.expm1(2 * found.log_poles.real)
    assert float((sizes.sum(1) / h[:, 1:].norm(dim=1)).max()) < 30 * CANCEL
    # the worst frequency's error is no less than the next singular value, and in L2 never more than at the worst
    peak = torch.fft.rfft(got - h, 4 * length).abs().amax(1)
    assert bool((peak >= modal_values(form.log_poles, form.residues)[:, 2 * modes] * (1 - 1e-3)).all())
    more, less = reduced(form, modes + 1, length)[1] if modes < 4 else torch.zeros(6), error
    assert float(more.median()) <= float(less.median())
    own = form.residues.abs() * form.log_poles.real.exp() / -torch.expm1(2 * form.log_poles.real)
    kept = own >= own.topk(modes, 1).values[:, -1:]
    truncated = form._replace(residues=torch.where(kept, form.residues, 0)).response(length)
    assert bool((error <= (truncated - h)[:, 1:].norm(dim=1) / h[:, 1:].norm(dim=1) + 1e-9).all())


def test_real_poles_stay_real() -> None:
    form = modal(0)
    form = form._replace(log_poles=form.log_poles.real + 0j, residues=form.residues.real + 0j)
    found, error = reduced(form, 3, 256)
    assert not is_pair(found.log_poles).any() and not found.residues.imag.any()
    assert float(error.median()) < 0.05


def test_balanced_truncation_is_what_finds_poles_that_are_none_of_the_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five pairs that do one pair's work: as close together as their own decay."""
    form = modal(1)
    close = form._replace(
        log_poles=-0.05 + 0.01j * torch.arange(5) + 0.7j + 0 * form.log_poles, residues=1 + 0 * form.residues
    )
    monkeypatch.setattr(pruning, "STEPS", 0)
    whole = reduced(close, 2, 512)[1]
    monkeypatch.setattr(pruning, "_truncated", pruning._dominant)
    assert float(whole.max()) < 0.3 * float(reduced(close, 2, 512)[1].min())


def test_the_budget_ends_the_search(small_run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model, run = redundant("hyena+attn", "complex"), run_of("hyena+attn", small_run)
    by_modes = {5: 10.0, 4: 9.99, 3: 10.049, 2: 10.051, 1: 12.0}
    monkeypatch.setattr(pruning, "perplexity", lambda m, _: by_modes[modal_mixers(m)["blocks.0.mixer"].filter.n_modes])
    strict, free = (list(search(model, run, tokens(1, 9), budget)) for budget in (0.005, 0.2))
    assert [(one.run.model.n_modes, one.within) for one in strict] == [(5, True), (4, True), (3, True), (2, False)]
    assert strict[0].model is model and [one.judged for one in strict] == [10.0, 9.99, 10.049, 10.051]
    assert [one.run.model.n_modes for one in free] == [5, 4, 3, 2, 1] and all(one.within for one in free)


def test_rows_tell_the_state_that_there_is(small_run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "BURSTS", 1)
    model, run = perturbed("hyena+attn").float(), run_of("hyena+attn", small_run)
    judged, reported = tokens(4, LENGTH + 1).chunk(2)
    unpruned = token_losses(model, reported)
    whole, *_, last = (row(run, found, reported, unpruned) for found in search(model, run, judged, 100.0))
    assert set(last) == {column.name for column in schema.PRUNE}
    smaller = prune(model, run, 1)[0].bfloat16()
    assert last["state_bytes"] == state_bytes(smaller.init_state(1, LENGTH))
    # 32 channels of one complex mode in float32
    assert last["filter_bytes"] == 32 * 8 and whole["filter_bytes"] == 5 * 32 * 8
    assert whole["ratio_low"] == whole["ratio_high"] == 1.0
    assert last["ratio_low"] < last["perplexity"] / whole["perplexity"] < last["ratio_high"]
    assert last["judged_perplexity"] != last["perplexity"] and last["decode_ms"] > 0


def test_a_model_without_modes_to_spare_is_refused(small_run: RunConfig) -> None:
    with pytest.raises(UserError, match=r"attn\+mamba of 5 modes has none to spare"):
        next(search(perturbed("attn+mamba").float(), run_of("attn+mamba", small_run), tokens(2, 9), 0.01))
