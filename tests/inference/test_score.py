"""Losses of tokens against the model's own probabilities, one window at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import peak_bytes
from torch.profiler import ProfilerActivity, profile
from zoo import perturb, perturbed, shape, tokens

from eutectic.arch.model import Model, build
from eutectic.inference import score


def test_each_tokens_loss_is_minus_its_log_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "AT_ONCE", 20)  # two windows of nine tokens and what is left
    model, rows = perturbed("hyena+attn"), tokens(5, 10)
    found = score.token_losses(model, rows)
    assert found.shape == (5, 9)
    for row, losses in zip(rows, found, strict=True):
        for t in range(9):
            logs = model(row[None, : t + 1])[0, -1].log_softmax(0)
            assert losses[t].item() == pytest.approx(-logs[row[t + 1]].item(), abs=1e-5)
    assert score.perplexity_of(found) == score.perplexity(model, rows)
    assert score.perplexity(model, rows) == pytest.approx(float(found.mean().exp()), rel=1e-6)


@pytest.fixture(scope="module")
def model() -> Model:
    return perturb(build(shape("[hyena|attn]+swa(window=16)"), 0).double(), 0.3).eval()


@pytest.mark.parametrize(("targets", "chunk"), [(20, 7), (20, 200), (90, 16), (1, 64), (5, 89), (13, 1)])
def test_the_last_losses_are_the_last_of_the_losses(
    targets: int, chunk: int, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "AT_ONCE", 200)  # two rows at once
    rows = tokens(5, 91)
    expected = score.token_losses(model, rows)[:, -targets:]
    torch.testing.assert_close(score.last_losses(model, rows, targets, chunk), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layout", ["attn", "hyena", "hyena+attn", "mamba2", "swa(window=64)"])
def test_reading_on_takes_memory_in_proportion_to_length(layout: str) -> None:
    """Equal steps for equal steps of length, as attention's keys and masks of a chunk need, and none without it; a
    tensor of each token by each other would make the second difference as large as the first."""
    model = build(shape(layout), 0).eval()

    def peak(length: int) -> int:
        rows = tokens(1, length + 1)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            score.last_losses(model, rows, 32, chunk=128)
        return peak_bytes(seen)

    short, middle, long = (peak(length) for length in (768, 1536, 2304))
    assert long - middle == pytest.approx(middle - short, rel=0.01)
    if "attn" in layout:
        scores = 4 * 4 * 128 * 768  # of a chunk with those tokens, in float32, by four heads
        assert model.state_size(768).bytes(torch.float32) < middle - short < scores
    else:
        assert middle == short


pairs = st.lists(
    st.tuples(
        st.lists(st.integers(0, 49), min_size=1, max_size=30), st.lists(st.integers(0, 49), min_size=1, max_size=9)
    ),
    max_size=7,
)


@settings(max_examples=25, deadline=None)
@given(pairs)
def test_likelihoods_are_sums_of_the_losses_whatever_is_beside_them(
    model: Model, given_pairs: list[tuple[list[int], list[int]]]
) -> None:
    found = score.likelihoods(model, given_pairs)
    assert len(found) == len(given_pairs)
    for one, (context, continuation) in zip(found, given_pairs, strict=True):
        row = torch.tensor([[*context, *continuation]])
        losses = score.token_losses(model, row)[0, -len(continuation) :]
        assert one.nats == pytest.approx(-float(losses.double().sum()), rel=1e-5)
        likeliest = model(row[:, :-1])[0, -len(continuation) :].argmax(-1)
        assert one.greedy == (likeliest.tolist() == continuation)


def test_the_likeliest_continuation_is_greedy_in_batches_of_any_size(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, context = [], tokens(1, 12)[0].tolist()
    for _ in range(5):
        written.append(int(model(torch.tensor([context + written]))[0, -1].argmax()))
    asked = [(context, written[:n]) for n in (1, 3, 5)] + [(context, [*written[:4], (written[4] + 1) % 50])]
    together = score.likelihoods(model, asked)
    assert [one.greedy for one in together] == [True, True, True, False]
    monkeypatch.setattr(score, "AT_ONCE", 1)
    for one, alone in zip(together, score.likelihoods(model, asked), strict=True):
        assert one.nats == pytest.approx(alone.nats, rel=1e-6)
        assert one.greedy == alone.greedy


def test_the_interval_of_a_ratio_holds_it_as_often_as_it_says() -> None:
    """Windows differ far more from each other than the models do on one."""
    g = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        before = torch.randn(40, 1, generator=g) + torch.randn(40, 5, generator=g)
        after = before + 0.02 + 0.1 * torch.randn(40, 1, generator=g)
        low, high = score.ratio_interval(before, after)
        held += low < math.exp(0.02) < high
        assert high - low < 0.1
    assert 0.92 < held / 400 < 0.98
