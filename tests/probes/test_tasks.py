"""Synthetic tasks against oracles that read their examples token by token, and the random numbers behind them."""

import itertools
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.errors import UserError
from eutectic.probes import tasks
from eutectic.probes.copy_tasks import Compression, Memorization, SelectiveCopy
from eutectic.probes.draws import Draws
from eutectic.probes.recall_tasks import AssociativeRecall, FuzzyRecall, Induction, NoisyRecall, Recall
from eutectic.probes.task import IGNORED, Task

NOTHING = IGNORED
Read = Callable[[list[int], int], list[int]]  # tokens of an example and the vocabulary to what is asked at each


def recall(tokens: list[int], vocab: int) -> list[int]:
    known: dict[int, int] = {}
    asked = []
    for t, token in enumerate(tokens):
        key = token < vocab // 2
        asked.append(known.get(token, NOTHING) if key else NOTHING)
        if key:
            assert vocab // 2 <= tokens[t + 1] < vocab
            assert known.setdefault(token, tokens[t + 1]) == tokens[t + 1], "a key keeps its value"
    return asked


def noisy(tokens: list[int], vocab: int) -> list[int]:
    meant = iter(recall([token for token in tokens if token < vocab], vocab))
    return [next(meant) if token < vocab else NOTHING for token in tokens]


def fuzzy(tokens: list[int], vocab: int) -> list[int]:
    """Keys are runs of the lower half of the vocabulary and values of the upper."""
    runs = [list(run) for _, run in itertools.groupby(tokens, lambda token: token < vocab // 2)]
    known: dict[tuple[int, ...], list[int]] = {}
    asked: list[int] = []
    for key, value in itertools.zip_longest(runs[::2], runs[1::2], fillvalue=[]):
        whole = known.setdefault(tuple(key), value)
        assert whole[: len(value)] == value
        told = value if tuple(key) in known and whole is not value else [NOTHING] * len(value)
        asked += [NOTHING] * (len(key) - 1) + told + [NOTHING]
    return asked[: len(tokens)]


def selective(tokens: list[int], vocab: int) -> list[int]:
    end = tokens.index(vocab + 1)
    contents = [token for token in tokens[:end] if token < vocab]
    assert len(tokens) - end - 1 == len(contents) and set(tokens[end + 1 :]) == {vocab}
    return [NOTHING] * (end + 1) + contents


def compression(tokens: list[int], vocab: int) -> list[int]:
    assert tokens[-1] == vocab
    return [*tokens[:-1], NOTHING]


def induction(tokens: list[int], vocab: int) -> list[int]:
    first = tokens.index(vocab)
    assert tokens.count(vocab) == 2 and tokens[-1] == vocab and tokens[first + 1] < vocab
    return [NOTHING] * (len(tokens) - 1) + [tokens[first + 1]]


def associative(tokens: list[int], vocab: int) -> list[int]:
    pairs = sum(token >= vocab // 2 and token < vocab for token in tokens)
    known = dict(zip(tokens[: 2 * pairs : 2], tokens[1 : 2 * pairs : 2], strict=True))
    assert len(known) == pairs and sorted(tokens[-pairs:]) == sorted(known), "different keys, each once more"
    assert set(tokens[2 * pairs : -pairs]) <= {vocab}
    return [NOTHING] * (len(tokens) - pairs) + [known[key] for key in tokens[-pairs:]]


CASES: list[tuple[Task, Read]] = [
    (Recall(), recall),
    (Recall(4, 6), recall),
    (NoisyRecall(), noisy),
    (NoisyRecall(8, 33, 0.7, 5), noisy),
    (FuzzyRecall(motif=1), fuzzy),
    (FuzzyRecall(6, 40, 3), fuzzy),
    (FuzzyRecall(), fuzzy),
    (SelectiveCopy(), selective),
    (SelectiveCopy(3, 9, 4), selective),
    (Compression(), compression),
    (Induction(5, 20), induction),
    (AssociativeRecall(), associative),
    (AssociativeRecall(12, 6, 0), associative),
]
every_task = pytest.mark.parametrize(
    "task", [*(task() for task in tasks.TASKS.values()), FuzzyRecall(6, 40, 2)], ids=str
)


@pytest.mark.parametrize(("task", "read"), CASES, ids=lambda value: str(value) if isinstance(value, Task) else "")
def test_what_is_asked_is_what_the_example_tells(task: Task, read: Read) -> None:
    tokens, targets = task.examples(3, np.arange(200))
    assert tokens.shape == targets.shape == (200, task.length)
    assert tokens.min() >= 0 and tokens.max() < task.tokens
    for example, asked in zip(tokens.tolist(), targets.tolist(), strict=True):
        expected = read(example, task.vocab)
        if isinstance(task, FuzzyRecall):  # what follows the last token is not there to be read
            asked, expected = asked[:-1], expected[:-1]
        assert asked == expected
    assert (targets != IGNORED).any(1).mean() > 0.9


def test_facts_hold_in_all_examples_of_a_seed_and_no_other() -> None:
    facts = []
    for seed in (0, 1):
        tokens, targets = Memorization(16, 12).examples(seed, np.arange(300))
        assert (tokens[:, 1::2] == 16).all() and (targets[:, ::2] == IGNORED).all()
        told = set(zip(tokens[:, ::2].ravel().tolist(), targets[:, 1::2].ravel().tolist(), strict=True))
        assert sorted(key for key, _ in told) == list(range(8)) and sorted(value for _, value in told) == list(
            range(8, 16)
        )
        facts.append(told)
    assert facts[0] != facts[1]


@every_task
def test_an_example_is_a_function_of_its_seed_and_index(task: Task) -> None:
    index = np.array([5, 2**40, 0, 3])
    together = task.examples(7, index)
    for k, one in enumerate(index):
        alone = task.examples(7, np.array([one]))
        assert all((a[k] == b[0]).all() for a, b in zip(together, alone, strict=True))
    different = {tuple(row) for seed in (7, 8) for row in task.examples(seed, np.arange(50))[0].tolist()}
    assert len(different) == 100


@every_task
def test_without_reading_no_guess_is_better_than_chance(task: Task) -> None:
    _, targets = task.examples(1, np.arange(4000))
    counts = np.bincount(targets[targets != IGNORED])
    share, n = counts.max() / counts.sum(), counts.sum()
    # targets of an example are alike: about as many as examples, or as facts, are independent
    spread = (task.chance / min(n, 4000)) ** 0.5
    assert task.chance - spread < share < task.chance + 5 * spread


def test_every_degree_of_difficulty_can_be_drawn() -> None:
    for name, task in tasks.TASKS.items():
        for axis, values in task.axes.items():
            for value in values:
                drawn = tasks.find(f"{name}({axis}={value:g})")
                assert getattr(drawn, axis) == value
                assert drawn.examples(0, np.arange(2))[0].shape == (2, drawn.length)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_core_draws_a_million_tokens_a_second(name: str) -> None:
    """By itself, as processor time has it; several times as many, to the hardest of all axes (bench/tasks.py)."""
    easy = tasks.TASKS[name]()
    hard = tasks.find(f"{name}({','.join(f'{axis}={values[-1]:g}' for axis, values in easy.axes.items())})")
    for task in (easy, hard):
        index, seconds = np.arange(-(-400_000 // task.length)), []
        for seed in range(2):
            began = time.process_time()
            task.examples(seed, index)
            seconds.append(time.process_time() - began)
        assert len(index) * task.length > 1e6 * min(seconds)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_a_name_and_what_is_written_are_the_same_task(task: str) -> None:
    found = tasks.find(task)
    assert tasks.find(tasks.written(found)) == found == tasks.TASKS[task]()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recal", "no task is named 'recal'; tasks are recall, "),
        ("recall(vocab=32", "no task is named"),
        ("recall(size=3)", "recall has no setting 'size'; it has vocab, length."),
        ("recall(vocab=many)", "recall has a vocab of 'many', which is no int."),
        ("recall(vocab=7)", "recall cannot be drawn: a vocabulary of 7 has no two halves"),
        ("recall(length=3)", "3 tokens are not two pairs or more"),
        ("noisy_recall(noise=1)", "a share of noise of 1.0 leaves fewer than two pairs of 128 tokens"),
        ("noisy_recall(noise_vocab=0)", "a vocabulary of 0 has no token of noise"),
        ("fuzzy_recall(motif=0)", "a motif of 0 tokens has none"),
        ("selective_copy(copied=200)", "200 contents, read and told, do not fit into 256 tokens"),
        ("associative_recall(pairs=40)", "40 pairs and a gap of 16 do not go with 32 keys"),
        ("compression(length=1)", "1 tokens of 16 say nothing"),
        ("induction(length=2)", "2 tokens of 16 have no such place"),
    ],
)
def test_what_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        tasks.find(text)
    assert message in str(refused.value)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**63), most=st.integers(1, 2**20))
def test_draws_are_in_range_and_differ_by_call(seed: int, most: int) -> None:
    draws = Draws(seed, np.arange(5))
    first, second = draws.below(most, 40), draws.below(most, 40)
    assert min(first.min(), second.min()) >= 0 and max(first.max(), second.max()) < most
    assert most < 10 or (first != second).any()
    order = draws.orders(9)
    assert (np.sort(order, 1) == np.arange(9)).all()


def test_draws_are_even_and_do_not_hang_together() -> None:
    """Of bits, of orders, and of neighbours in place, index and seed."""
    bits = Draws(0, np.arange(1000)).bits(100)
    assert len(np.unique(bits)) == bits.size
    ones = np.unpackbits(bits.view(np.uint8).reshape(-1, 8), axis=1).mean(0)
    assert abs(ones - 0.5).max() < 5 * 0.5 / bits.size**0.5
    orders = Draws(0, np.arange(6000)).orders(3)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6 and ((counts - 1000) ** 2 / 1000).sum() < 25
    unit = bits.astype(float) / 2**64 - 0.5
    other = Draws(1, np.arange(1000)).bits(100).astype(float) / 2**64 - 0.5
    for a, b in ((unit[:, 1:], unit[:, :-1]), (unit[1:], unit[:-1]), (unit, other)):
        assert abs((a * b).mean() * 12) < 5 / a.size**0.5
