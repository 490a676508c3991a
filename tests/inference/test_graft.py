"""Grafts: nothing but the replaced mixers changes, these learn what is to be learnt, and the count is by hand."""

import dataclasses

import pytest
import torch
from torch.nn.functional import cross_entropy
from zoo import perturb, tokens

from eutectic.arch.model import Model, build
from eutectic.config import ModelConfig, OptimConfig, RunConfig
from eutectic.inference import graft
from eutectic.train.shards import Manifest


def parent_of(run: RunConfig, arch: str, n_layers: int = 3) -> tuple[Model, RunConfig]:
    """Off its start, where mixers of a kind are alike."""
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, layout=arch, n_layers=n_layers))
    return perturb(build(run.model, 0)), run


def windows(step: int) -> torch.Tensor:
    return tokens(16, 16, seed=step, vocab_size=64)


def test_without_a_new_mixer_it_is_the_parent(small_run: RunConfig, manifest: Manifest) -> None:
    parent, run = parent_of(small_run, "attn+hyena+attn")
    child, report = graft.graft(parent, run, "attn+hyena+attn", manifest, 10_000)
    assert report == graft.Report((), 0, 0.0)
    assert child is not parent
    assert all(torch.equal(a, b) for a, b in zip(child.parameters(), parent.parameters(), strict=True))
    rows = tokens(2, 32)
    assert torch.equal(child(rows), parent(rows))


@pytest.mark.parametrize("arch", ["hyena+attn*2", "attn+[hyena|attn]+hyena"])
def test_all_but_the_new_mixers_is_kept(arch: str, small_run: RunConfig, manifest: Manifest) -> None:
    parent, run = parent_of(small_run, "attn")
    kept = {name: weight.clone() for name, weight in parent.named_parameters()}
    child, report = graft.graft(parent, run, arch, manifest, asked := 10 * run.micro_batch * 32)
    assert all(torch.equal(weight, kept[name]) for name, weight in parent.named_parameters())
    new = [replaced.layer for replaced in report.layers]
    assert new == [i for i, layer in enumerate(arch.replace("attn*2", "attn+attn").split("+")) if layer != "attn"]
    for name, weight in child.named_parameters():
        if not any(name.startswith(f"blocks.{i}.mixer.") for i in new):
            assert torch.equal(weight, kept[name]), name
    assert (report.tokens, [replaced.old for replaced in report.layers]) == (asked, ["attn"] * len(new))
    assert all(replaced.after < replaced.before for replaced in report.layers)


def test_what_can_be_done_exactly_is_learnt() -> None:
    """By a mixer of the same kind from another start."""
    shape = ModelConfig("linear_attn", 1, 4, 1, 1, 8, 64)
    mixer = build(shape, 1).layers()[0].mixer
    optim = OptimConfig(lr=3e-2, lr_min_ratio=0.0)
    ((before, after),) = graft.regress(build(shape, 0), {0: mixer}, windows, 300, optim).values()
    assert before > 0.5 and after < 1e-3


def test_layers_learn_by_themselves() -> None:
    """To the bit the same, whatever is regressed beside them."""
    shape = ModelConfig("attn", 2, 8, 2, 1, 8, 64)

    def learnt(*layers: int) -> torch.Tensor:
        mixers = {i: build(shape, 1).layers()[i].mixer for i in layers}
        graft.regress(build(shape, 0), mixers, windows, 5, OptimConfig(lr=1e-2))
        return torch.cat([p.detach().flatten() for p in mixers[1].parameters()])

    assert torch.equal(learnt(1), learnt(0, 1))


def test_the_error_is_of_the_mixers_outputs() -> None:
    """Untrained, of the mixer alone, by the formula."""
    shape = ModelConfig("attn", 2, 8, 2, 1, 8, 64)
    teacher, mixer = build(shape, 0), build(shape, 1).layers()[1].mixer
    optim = OptimConfig(lr=1e-9)
    ((before, after),) = graft.regress(teacher, {1: mixer}, windows, 1, optim).values()
    first, second = teacher.layers()
    x = second.mixer_norm(first(teacher.embedding(windows(1))))
    y = second.mixer(x)
    assert before == pytest.approx(((mixer(x) - y).norm() / y.norm()).item(), rel=1e-5)
    assert after == pytest.approx(before, rel=1e-5)


def drawn(model: Model, rows: int, length: int) -> torch.Tensor:
    """Windows as the model itself writes them, of which none foretells more than it does."""
    text = tokens(rows, 1, vocab_size=256)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(length):
            text = torch.cat([text, torch.multinomial(model(text)[:, -1].softmax(-1), 1, generator=generator)], 1)
    return text


def test_the_scan_finds_a_layer_that_does_nothing(small_run: RunConfig, manifest: Manifest) -> None:
    parent, run = parent_of(small_run, "attn")
    with torch.no_grad():
        parent.layers()[1].mixer.get_submodule("out").weight.zero_()
    text, taught = drawn(parent, 96, 32), 60 * run.micro_batch * 32
    before = parent(text[:, :-1])
    found = {s.replaced.layer: s for s in graft.scan(parent, run, "hyena", manifest, taught, text)}
    assert torch.equal(parent(text[:, :-1]), before), "the parent was not put back"
    assert list(found) == [0, 1, 2]
    for i in (0, 2):
        assert found[i].rise > max(3 * found[i].error, 100 * abs(found[1].rise)), found
    own = cross_entropy(parent(text[:, :-1]).mT, text[:, 1:], reduction="none").mean(1)
    swapped = build(run.model, 0)
    swapped.load_state_dict(parent.state_dict())
    swapped.layers()[0].mixer = (
        graft.graft(parent, run, "hyena", manifest, 60 * run.micro_batch * 32)[0].layers()[0].mixer
    )
    rises = cross_entropy(swapped(text[:, :-1]).mT, text[:, 1:], reduction="none").mean(1) - own
    assert found[0].rise == pytest.approx(rises.mean().item(), rel=1e-3)
    assert found[0].error == pytest.approx(rises.std().item() / 96**0.5, rel=1e-3)
    assert found[0].loss == pytest.approx((own.mean() + rises.mean()).item(), rel=1e-5)


def test_the_flops_are_those_counted_by_hand(small_run: RunConfig, manifest: Manifest) -> None:
    """Width 16, two heads of 8 and one of keys and values, hidden width 48, sequences of 32, part by part.

    One mixer of two is replaced by one of equal matmuls, on 3 batches of 2 sequences.
    """
    parent, run = parent_of(small_run, "attn", n_layers=2)
    arch, asked = "attn(qk_norm=true)+attn", 6 * 32 + 10
    projection = 2 * 32 * 16 * (16 + 8 + 8 + 16)
    square = 2 * 2 * 32 * 32 * 16
    channel = 3 * 2 * 32 * 16 * 48
    mixer = {"exact-causal": projection + square // 2, "exact-full": projection + square}
    weights = 16 * (16 + 8 + 8 + 16)
    by_params = 2 * 32 * (2 * (weights + 3 * 16 * 48 + 2 * 16)) + 3 * 2 * 32 * (weights + 2 * 8)
    by_hand: dict[str, float] = {name: 6 * (2 * (m + channel) + 3 * m) for name, m in mixer.items()}
    by_hand |= {"6nd": 6 * by_params, "6nd-nonembedding": 6 * by_params}
    for convention, expected in by_hand.items():
        run = dataclasses.replace(run, convention=convention)
        assert graft.flops(run, arch, asked) == expected, convention
    _, report = graft.graft(parent, run, arch, manifest, asked)
    assert (report.tokens, report.flops) == (6 * 32, by_hand["6nd-nonembedding"])
    assert graft.flops(run, "attn", asked) == 0.0
