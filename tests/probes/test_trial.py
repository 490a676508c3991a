"""Trials of architectures on tasks: what is read when, how a rate is chosen, and results that are known."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from eutectic.arch import flops
from eutectic.config import ModelConfig
from eutectic.kernels import torch_attention
from eutectic.probes import tasks, trial
from eutectic.probes.draws import Ints
from eutectic.probes.task import IGNORED, Examples
from eutectic.probes.trial import TEST, VALIDATION, Trial, run
from eutectic.sweeps import match


def small(task: str, layout: str, steps: int, **changes: object) -> Trial:
    drawn = tasks.find(task)
    model = ModelConfig(layout, 2, 32, 2, 2, 64, drawn.tokens)
    plan = Trial(drawn, model, (0,), (3e-3, 1e-2), 32 * drawn.length * steps, 12_800, 32, 512)
    return replace(plan, **changes)


def best(plan: Trial) -> float:
    """Mean test accuracy at the chosen rate."""
    return float(np.nanmean([score.test for score in run(plan, "cpu")[0]]))


def test_a_rate_is_chosen_by_validation_and_the_test_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    drawn = trial.examples

    def noted(plan: Trial, seed: int, index: Ints) -> Examples:
        read.extend((seed, one) for one in index.tolist())
        return drawn(plan, seed, index)

    monkeypatch.setattr(trial, "examples", noted)
    plan = small(
        "recall(vocab=4,length=6)", "attn", 5, seeds=(0, 1), examples=40, batch=16, judged=300, tokens=5 * 16 * 6
    )
    scores, _ = run(plan, "cpu")
    counts = Counter(read)
    for seed in (0, 1):
        assert all(counts[seed, VALIDATION + one] == counts[seed, TEST + one] == 1 for one in range(300))
        assert all(counts[seed, one] == 1 for one in range(40))
    assert len(read) == 2 * (40 + 300 + 300)
    chosen = {score.rate for score in scores if score.test == score.test}
    assert len(chosen) == 1 and len(scores) == 4
    mean = {rate: np.mean([score.valid for score in scores if score.rate == rate]) for rate in (3e-3, 1e-2)}
    assert chosen == {max(mean, key=lambda rate: mean[rate])}


def test_examples_are_trained_on_in_rounds() -> None:
    plan = small("recall(vocab=4,length=6)", "attn", 5, seeds=(0, 1), examples=40, batch=16, tokens=5 * 16 * 6)
    batches = [part.numpy() for part, _ in trial._batches(plan, "cpu")]
    assert len(batches) == 5 and {len(part) for part in batches} == {4}
    for row, seed in ((0, 0), (1, 0), (2, 1), (3, 1)):
        learnt = np.concatenate([part[row] for part in batches])
        known = plan.task.examples(seed, np.arange(40))[0]
        index = [int(np.flatnonzero((known == one).all(1))[0]) for one in learnt]
        texts = {one.tobytes() for one in known}
        assert len(learnt) == 80 and {one.tobytes() for one in learnt[:40]} == texts
        assert {one.tobytes() for one in learnt[40:]} == texts and index[:40] != index[40:]


def test_a_control_s_answers_are_any() -> None:
    plan = small("recall", "attn", 1, control=True)
    index = np.arange(2000)
    tokens, targets = trial.examples(plan, 0, index)
    true_tokens, true = plan.task.examples(0, index)
    asked = targets != IGNORED
    assert (asked == (true != IGNORED)).all()
    assert (tokens == true_tokens)[:, 1:][~asked[:, :-1]].all()
    assert (targets[asked] == true[asked]).mean() == pytest.approx(plan.task.chance, abs=0.005)
    assert set(np.unique(targets[asked])) == set(plan.task.answers)
    again = trial.examples(plan, 0, index[::-1])[1][::-1]
    assert (again == targets).all()


@pytest.mark.parametrize("task", ["recall(vocab=8,length=16)", "noisy_recall(length=32)", "fuzzy_recall(length=32)"])
def test_who_sees_what_comes_is_found_out_by_a_control(task: str) -> None:
    plan = small(task, "attn", 1, control=True)
    tokens, targets = trial.examples(plan, 0, np.arange(500))
    asked = targets[:, :-1] != IGNORED
    assert (tokens[:, 1:] == targets[:, :-1])[asked].all()
    told = plan.task.examples(0, np.arange(500))
    assert (told[0][:, 1:] == told[1][:, :-1])[asked].all()


def test_a_mixer_that_looks_ahead_is_above_chance_on_a_control(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small("recall(vocab=8,length=16)", "attn", 150, control=True, rates=(1e-2,))
    assert best(plan) == pytest.approx(plan.task.chance, abs=0.04)
    attention = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(torch_attention, "scaled_dot_product_attention", lambda *a, is_causal, **k: attention(*a, **k))
    assert best(plan) > 0.5


@pytest.mark.parametrize("task", ["compression(vocab=4,length=9)", "recall(vocab=4,length=6)"])
def test_a_trial_is_the_same_whatever_was_drawn_before(task: str) -> None:
    plan = small(task, "hyena", 5)
    first = repr(run(plan, "cpu"))
    torch.rand(3)
    state = torch.random.get_rng_state()
    assert repr(run(plan, "cpu")) == first
    assert torch.random.get_rng_state().equal(state)


def test_all_places_are_told_from_one_state() -> None:
    assert best(small("compression(vocab=4,length=9)", "attn", 300)) > 0.6


def test_hybrids_recall_sooner_than_fixed_filters() -> None:
    """Which guess among the four values that were read, by as many steps; of one pair they tell it."""
    task = "associative_recall(vocab=16,pairs=4,gap=4)"
    scores, ablated = run(small(task, "hyena+attn", 400), "cpu")
    (score,) = [one for one in scores if one.test == one.test]
    assert score.test > 0.95
    # without the convolution no key shows its value's place, without attention no value is told
    assert [(one.layer, one.seed, one.rate) for one in ablated] == [(0, 0, score.rate), (1, 0, score.rate)]
    assert all(one.valid == score.valid > 0.95 and one.without < 0.6 for one in ablated)
    assert best(small(task, "hyena", 400)) < 0.6
    assert best(small("associative_recall(vocab=16,pairs=1,gap=4)", "hyena", 150)) > 0.95


@pytest.mark.slow
def test_hybrids_recall_many_pairs_and_fixed_filters_few() -> None:
    """All by as many steps, ten times those that four pairs take of the hybrid, at the better of two rates."""
    task = "associative_recall(vocab=32,pairs={},gap=4)"
    assert best(small(task.format(8), "hyena+attn", 4000)) > 0.9
    assert best(small(task.format(8), "hyena", 4000)) < 0.75
    assert best(small(task.format(2), "hyena", 4000)) > 0.95


@pytest.mark.slow
def test_several_heads_recall_more_than_one_of_equal_state() -> None:
    """MultiHyena keeps products of the keys and values of a head's channels; Hyena's heads are of one channel."""
    plan = small("associative_recall(vocab=32,pairs=8,gap=4)", "multihyena", 4000)
    one_head, heads = (replace(plan.model, layout=name, n_heads=4) for name in ("hyena", "multihyena"))
    several, one = (match.to_state(model, 1100, plan.task.length) for model in (heads, one_head))
    states = [flops.count(model, plan.task.length).state.dim for model in (several, one)]
    assert max(states) / min(states) < 1.15
    assert best(replace(plan, model=several)) > 0.95
    assert best(replace(plan, model=one)) < 0.8


@pytest.mark.slow
def test_two_layers_of_attention_recall() -> None:
    """Later than beside a convolution, which shows each the token before at once."""
    assert best(small("associative_recall(vocab=16,pairs=4,gap=4)", "attn", 1200, rates=(3e-3,))) > 0.95


@pytest.mark.slow
def test_selective_states_copy_where_fixed_ones_do_not() -> None:
    """By as many steps. In three times as many fixed ones copy as few as these, too; of more tokens, longer texts and
    gated filters tells results/probe."""
    task = "selective_copy(vocab=8,length=32,copied=4)"
    assert best(small(task, "mamba2", 400)) > 0.85
    assert best(small(task, "s4d", 400)) < 0.65


def test_where_nothing_is_to_be_learnt_nothing_is() -> None:
    task = "associative_recall(vocab=8,pairs=1,gap=0)"
    assert best(small(task, "hyena+attn", 100, rates=(1e-2,))) > 0.95
    assert best(small(task, "hyena+attn", 100, rates=(1e-2,), control=True, judged=4096)) == pytest.approx(
        0.25, abs=0.04
    )


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["attn", "hyena+attn", "mamba2"])
def test_of_several_pairs_as_little_is_learnt(layout: str) -> None:
    plan = small("associative_recall(vocab=16,pairs=4,gap=4)", layout, 200, control=True, judged=2048)
    assert best(plan) == pytest.approx(plan.task.chance, abs=0.02)
