"""Cells of few runs against landscapes we made: those that share a curvature are placed by it, others are let be."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from tuning_table import middle, planted, tuning

from eutectic.analysis.hyper import HyperOptimum, Window, optima
from eutectic.analysis.load import screen
from eutectic.analysis.shared_curvature import share
from eutectic.analysis.tuned import tuned

CURVATURE = np.array([[0.12, -0.05], [-0.05, 0.15]])  # nats for a squared e-folding
WINDOW = Window(widest=0.2)
SIZES = (4e5, 8e5, 1.6e6)
STAR = np.array([[0, 0], [0.9, 0], [-0.9, 0.2], [0.1, 0.8], [0, -0.8]])  # ln settings about the best: five runs
TURNED = [STAR @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in (0.0, 0.5, 1.0)]
GRID = np.stack(np.meshgrid([-1.0, -0.5, 0.1, 0.6], [-0.9, 0.0, 0.9]), -1).reshape(-1, 2)  # enough for a cell alone


def best(params: float) -> NDArray[np.float64]:
    return np.array([8e-3 * (params / 1e6) ** -0.3, 6e3 * (params / 1e6) ** 0.7])


def cell(
    params: float, z: NDArray[np.float64], noise: float = 0.0, seed: int = 0, curvature: NDArray[np.float64] = CURVATURE
) -> pd.DataFrame:
    """Runs at these ln settings about the best of a size."""
    loss = 3.5 + np.einsum("ni,ij,nj->n", z, curvature, z) / 2
    loss += np.random.default_rng([seed, int(params)]).normal(0, noise, len(z))
    settings = best(params) * np.exp(z)
    rows = {"group": "attn", "params": params, "tokens": 20 * params, "lr": settings[:, 0], "batch": settings[:, 1]}
    return pd.DataFrame(rows | {"loss": loss})


def both(*cells: pd.DataFrame) -> tuple[list[HyperOptimum], list[HyperOptimum]]:
    """Of these cells alone, and with a curvature shared."""
    runs = pd.concat(cells)
    alone = optima(runs, WINDOW)
    return alone, share(alone, runs)


def values(found: list[HyperOptimum]) -> list[list[float]]:
    return [list(one.values.values()) for one in found]


def test_five_runs_of_each_cell_place_its_minimum_together() -> None:
    shifts = [np.array(shift) for shift in ([0.2, -0.3], [-0.4, 0.1], [0.3, 0.4])]
    runs = [star + shift for star, shift in zip(TURNED, shifts, strict=True)]
    alone, found = both(*(cell(params, z) for params, z in zip(SIZES, runs, strict=True)))
    assert [one.status for one in alone] == ["too few points"] * 3
    assert [(one.status, one.shared, one.n_used) for one in found] == [("optimum", True, 5)] * 3
    assert values(found) == [pytest.approx(list(best(params))) for params in SIZES]
    for one in found:
        assert np.array(one.hessian) == pytest.approx(CURVATURE)
        assert one.loss == pytest.approx(3.5) and one.residuals == pytest.approx([0.0] * 5, abs=1e-12)
        assert one.predict({"lr": np.array([2 * one.values["lr"]]), "batch": np.array([one.values["batch"]])}) == (
            pytest.approx([3.5 + one.cost("lr")])
        )


def test_what_a_cell_decides_alone_stays_and_lends_its_curvature() -> None:
    alone, found = both(cell(SIZES[0], GRID, 0.003), cell(SIZES[1], STAR[:4]))
    assert (alone[0].status, alone[1].status) == ("optimum", "too few points")
    assert found[0] == alone[0] and not found[0].shared
    assert found[1].status == "optimum" and np.array(found[1].hessian) == pytest.approx(CURVATURE, abs=0.03)
    assert values(found[1:]) == [pytest.approx(list(best(SIZES[1])), rel=0.1)]


def test_runs_on_a_line_and_curvature_that_is_anothers_place_none() -> None:
    line = np.linspace(-0.8, 0.8, 5)[:, None] * [1.0, 0.5]
    alone, found = both(cell(SIZES[0], TURNED[0]), cell(SIZES[1], line), cell(SIZES[2], TURNED[2]))
    assert [one.status for one in found] == ["optimum", "too few points", "optimum"]
    assert found[1] == alone[1]
    stranger = cell(SIZES[2], GRID).assign(group="hyena")
    alone, found = both(cell(SIZES[0], STAR), stranger)
    assert [one.status for one in alone] == ["too few points", "optimum"]
    assert found == alone, "what another architecture decides lends nothing"


def test_a_minimum_outside_the_runs_and_a_saddle_are_none() -> None:
    shifted = TURNED[2] + np.array([1.5, 0.0])
    _, found = both(cell(SIZES[0], TURNED[0]), cell(SIZES[1], TURNED[1]), cell(SIZES[2], shifted))
    assert [one.status for one in found] == ["optimum", "optimum", "beyond grid"]
    saddle = np.diag([0.1, -0.02])
    _, found = both(*(cell(params, z, curvature=saddle) for params, z in zip(SIZES, TURNED, strict=True)))
    assert [one.status for one in found] == ["no minimum"] * 3


def test_a_cell_whose_runs_have_no_minimum_takes_no_curvature_and_lends_none() -> None:
    falling = cell(SIZES[1], GRID, curvature=np.diag([-0.02, 0.1]))
    cells = [cell(SIZES[0], TURNED[0]), falling, cell(SIZES[2], TURNED[2])]
    alone, found = both(*cells)
    assert [one.status for one in alone] == ["too few points", "no minimum", "too few points"]
    assert found[1] == alone[1] and [one.shared for one in found] == [True, False, True]
    assert found == [(without := both(cells[0], cells[2])[1])[0], alone[1], without[1]]


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = []
    for seed in range(150):
        random = np.random.default_rng(seed)
        cells = [cell(params, random.normal(0, 0.7, (6, 2)), 0.004, seed) for params in SIZES]
        _, found = both(*cells)
        for one in found:
            if one.shared and one.status == "optimum":
                truth = dict(zip(one.values, best(one.params), strict=True))
                held += [low <= truth[name] <= high for name, (low, high) in one.intervals.items()]
    assert len(held) > 400
    assert 0.92 <= np.mean(held) <= 0.975  # about 95%, of 400 or more, half of them independent


def test_few_trials_that_give_no_laws_alone_give_them_together() -> None:
    frame = tuning(middle(planted({"attn": 1.0})), noise=0.0)
    few = frame.groupby("budget").sample(6, random_state=1)
    assert all(one.shared for one in tuned(screen(few)).optima)
    laws, whole = tuned(screen(few)), tuned(screen(frame))
    for target in ("lr", "batch"):
        law, known = laws.law("attn", target), whole.law("attn", target)
        assert law is not None and known is not None
        assert law.exponents == pytest.approx(known.exponents, abs=0.01)
        assert law.coefficient == pytest.approx(known.coefficient, rel=0.01)
