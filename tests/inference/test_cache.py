"""Rows of a cache, each at its own length, against the forward pass."""

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from zoo import CASES, IDS, perturbed, tokens

from eutectic.arch.model import Model
from eutectic.errors import UserError
from eutectic.inference.cache import Cache


def assert_same(got: Tensor, expected: Tensor, scale: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-9 * float(scale.detach().abs().max()))


@pytest.mark.parametrize(("layout", "channel"), CASES, ids=IDS)
def test_rows_of_different_lengths_are_continued_together(layout: str, channel: str) -> None:
    """The second joins when the first has read 150 tokens, and stands still while the first goes on alone."""
    model = perturbed(layout, channel).eval()
    read = tokens(2, 160, seed=2)
    expected = model(read).detach()
    cache = Cache(model, 2, 160)
    assert_same(cache.prefill(0, read[0, :150], chunk=67), expected[0, 149], expected)
    assert_same(cache.prefill(1, read[1, :3]), expected[1, 2], expected)
    for t in range(150, 155):
        logits = cache.step(torch.stack([read[0, t], read[1, t - 147]]))
        assert_same(logits, torch.stack([expected[0, t], expected[1, t - 147]]), expected)
    for t in range(155, 160):
        assert_same(cache.step(torch.stack([read[0, t], read[1, 0]]), going=[0])[0], expected[0, t], expected)
    assert cache.seen == [160, 8]
    for t in range(8, 20):
        assert_same(cache.step(torch.stack([read[0, 0], read[1, t]]), going=[1])[1], expected[1, t], expected)


def _next(cache: Cache, row: int, token: int) -> Tensor:
    given = torch.zeros(len(cache.seen), dtype=torch.long)
    given[row] = token
    return cache.step(given, going=[row])[row]


@pytest.fixture(scope="module")
def model() -> Model:
    return perturbed("[hyena*2|attn|swa(window=16)]+mega").eval()


def test_a_fork_goes_its_own_way(model: Model) -> None:
    read = tokens(1, 40)[0]
    cache = Cache(model, 3, 60)
    cache.prefill(0, read)
    cache.fork(0, onto=2)
    theirs, ours = _next(cache, 2, 7), _next(cache, 0, 9)
    assert_same(theirs, model(torch.cat([read, torch.tensor([7])])[None])[0, -1], theirs)
    assert_same(ours, model(torch.cat([read, torch.tensor([9])])[None])[0, -1], ours)
    assert cache.seen == [41, 0, 41]


def test_what_was_saved_is_found_again(model: Model) -> None:
    read = tokens(1, 40)[0]
    cache = Cache(model, 2, 60)
    cache.prefill(0, read[:30])
    saved = cache.save(0)
    first = cache.prefill(0, read[30:])
    cache.clear(0)
    cache.prefill(0, read[:11])
    cache.load(1, saved)
    assert torch.equal(cache.prefill(1, read[30:]), first)
    cache.load(0, saved)
    assert torch.equal(cache.prefill(0, read[30:]), first)


def test_a_state_of_another_cache_is_refused_and_nothing_is_changed(model: Model) -> None:
    other = Cache(model, 1, 50)
    other.prefill(0, tokens(1, 20)[0])
    cache = Cache(model, 1, 30)
    fresh = cache.prefill(0, tokens(1, 10)[0])
    before = cache.save(0)
    with pytest.raises(UserError, match="of a cache of another model or capacity; load it into one like its own"):
        cache.load(0, other.save(0))
    assert cache.seen == [10]
    assert all(torch.equal(a, b) for a, b in zip(*map(tree_leaves, (cache.save(0).states, before.states)), strict=True))
    cache.clear(0)
    assert torch.equal(cache.prefill(0, tokens(1, 10)[0]), fresh)


def test_a_row_begins_anew(model: Model) -> None:
    read = tokens(2, 30)
    cache = Cache(model, 1, 30)
    fresh = cache.prefill(0, read[0])
    cache.clear(0)
    assert not any(leaf.any() for leaf in tree_leaves(cache.states))
    cache.prefill(0, read[1, :20])
    cache.clear(0)
    assert torch.equal(cache.prefill(0, read[0]), fresh)


def test_a_full_row_is_refused_more_and_others_go_on(model: Model) -> None:
    read = tokens(2, 30)
    cache = Cache(model, 2, 30)
    cache.prefill(0, read[0])
    for refused in (lambda: cache.step(read[:, 0]), lambda: cache.prefill(0, read[1, :1])):
        with pytest.raises(UserError, match="30 tokens cannot have 1 more"):
            refused()
    assert cache.seen == [30, 0]
    assert_same(_next(cache, 1, int(read[1, 0])), model(read[1:, :1])[0, 0].detach(), read[1].double())


def test_a_row_is_untouched_by_the_others_steps(model: Model) -> None:
    """To the bit, though its next slot is written to."""
    read = tokens(2, 30)
    cache = Cache(model, 2, 40)
    cache.prefill(0, read[0])
    saved = cache.save(0)
    for token in read[1].tolist():
        _next(cache, 1, token)
    after = _next(cache, 0, 3)
    cache.load(0, saved)
    assert torch.equal(_next(cache, 0, 3), after)
