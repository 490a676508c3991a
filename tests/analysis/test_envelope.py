"""The envelope of curves whose truth we made: its points, its laws, and the points at an edge that it refuses."""

import time

import numpy as np
import pandas as pd
import pytest

from eutectic.analysis import envelope

E, A, ALPHA, B, BETA = 1.69, 406.4, 0.34, 410.7, 0.28  # Hoffmann et al. 2022, approach 3


def surface(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return E + A / params**ALPHA + B / tokens**BETA


def best_params(compute: np.ndarray) -> np.ndarray:
    return (compute / 6) ** (BETA / (ALPHA + BETA)) * (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))


def tables(sizes: np.ndarray, points: int = 200) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A curve per size, from 1/30 to 30 times the tokens that this size is best for."""
    runs = pd.DataFrame({"run_id": [f"{i:016x}" for i in range(len(sizes))], "params": sizes})
    best_for = (ALPHA * A / (BETA * B) * sizes**-ALPHA) ** (-1 / BETA)
    tokens = best_for[:, None] * np.geomspace(1 / 30, 30, points)
    columns = {"tokens": tokens, "flops": 6 * sizes[:, None] * tokens, "train_loss": surface(sizes[:, None], tokens)}
    curves = pd.DataFrame({name: column.ravel() for name, column in columns.items()})
    return curves.assign(run_id=np.repeat(runs["run_id"], points).to_numpy()), runs


def test_the_surface_s_own_frontier_is_recovered() -> None:
    found = envelope.of_curves("attn", *tables(np.geomspace(1e7, 1e10, 300), 400))
    inner = ~found.edge
    compute, params = found.compute[inner], found.params[inner]
    # to the step between sizes, 2.3%
    assert params == pytest.approx(best_params(compute), rel=0.03)
    assert found.tokens[inner] * params == pytest.approx(compute / 6)
    assert found.loss[inner] == pytest.approx(surface(params, compute / 6 / params), abs=1e-5)
    law = found.frontier
    assert law.params is not None and law.tokens is not None and law.loss is not None
    assert law.params.exponent == pytest.approx(BETA / (ALPHA + BETA), abs=5e-4)
    assert law.params.exponent + law.tokens.exponent == pytest.approx(1.0, abs=1e-9)
    assert law.params.predict(compute) == pytest.approx(best_params(compute), rel=2e-3)
    assert (law.params.n, law.params.interval, law.params.errors) == (inner.sum(), None, None)
    assert (found.arch, found.n_curves) == ("attn", 300)
    assert found.n_best == len(np.unique(params)) == len({c for c, i in zip(found.curve, inner, strict=True) if i})


def test_it_is_the_lowest_of_straight_lines_in_log_compute() -> None:
    # two points each, so that the interpolation is seen
    lines = {"a": (1e6, 10, 1000, 4.2, 2.0), "b": (2e6, 10, 100, 3.6, 3.0), "c": (3e6, 1, 1000, 3.4, 3.4)}
    curves = pd.DataFrame(
        [
            {"run_id": name, "flops": float(c), "tokens": c / size, "train_loss": loss}
            for name, (size, low, high, first, last) in lines.items()
            for c, loss in ((low, first), (high, last))
        ]
    )
    runs = pd.DataFrame({"run_id": list(lines), "params": [size for size, *_ in lines.values()]})
    found = envelope.of_curves("attn", curves, runs, points=7)
    assert found.compute == pytest.approx(10 ** np.arange(0, 3.5, 0.5))
    assert found.curve.tolist() == ["c", "c", "c", "b", "b", "a", "a"]
    assert found.loss == pytest.approx((3.4, 3.4, 3.4, 3.3, 3.0, 2.55, 2.0))
    params = [lines[name][0] for name in found.curve]
    assert found.params.tolist() == params
    assert found.tokens == pytest.approx(found.compute / params)
    # b has a smaller and a larger one beside it where it is lowest; a and c are at an edge wherever they are
    assert found.edge.tolist() == [True, True, True, False, False, True, True]
    assert (found.n_curves, found.n_best, found.frontier.params) == (3, 1, None)


def test_the_smallest_and_the_largest_model_are_refused_where_they_are_lowest() -> None:
    # three sizes a decade apart, seen at every compute
    sizes = np.array([1e7, 1e8, 1e9, 1e10])
    tokens = np.geomspace(1e16, 1e24, 300) / (6 * sizes[:, None])
    curves = pd.DataFrame(
        {
            "run_id": np.repeat(["s", "m", "l", "xl"], 300),
            "flops": (6 * sizes[:, None] * tokens).ravel(),
            "tokens": tokens.ravel(),
            "train_loss": surface(sizes[:, None], tokens).ravel(),
        }
    )
    found = envelope.of_curves("attn", curves, pd.DataFrame({"run_id": ["s", "m", "l", "xl"], "params": sizes}))
    assert {run for run, edge in zip(found.curve, found.edge, strict=True) if edge} == {"s", "xl"}
    assert {run for run, edge in zip(found.curve, found.edge, strict=True) if not edge} == {"m", "l"}
    assert len(found.compute) == 1000 and found.frontier.params is not None
    assert found.frontier.params.n == 1000 - sum(found.edge)


def test_rows_that_cannot_be_used_are_passed_over() -> None:
    curves, runs = tables(np.geomspace(1e7, 1e9, 20))
    extra = pd.DataFrame(
        {
            "run_id": [runs["run_id"][3], runs["run_id"][3], "unknown"],
            "flops": [0.0, 1.001 * curves["flops"][3 * 200 + 100], 1e19],  # the nan is where this run is the best
            "tokens": [0.0, 1e12, 1e11],
            "train_loss": [11.0, np.nan, 0.1],
        }
    )
    shuffled = pd.concat([curves, extra]).sample(frac=1.0, random_state=0)
    whole, again = (envelope.of_curves("attn", rows, runs) for rows in (curves, shuffled))
    assert (again.frontier, again.n_curves, again.n_best) == (whole.frontier, whole.n_curves, whole.n_best)
    assert (again.loss == whole.loss).all() and (again.curve == whole.curve).all()


def test_final_points_of_one_size_stand_for_a_curve() -> None:
    curves, runs = tables(np.geomspace(1e7, 1e9, 20), points=30)
    points = curves.merge(runs, on="run_id").rename(columns={"train_loss": "loss"})
    seeds = pd.concat([points.assign(loss=points["loss"] - 0.02), points.assign(loss=points["loss"] + 0.02)])
    whole, averaged = envelope.of_curves("attn", curves, runs), envelope.of_runs("attn", seeds)
    for name in ("compute", "loss", "params", "tokens"):
        assert getattr(averaged, name) == pytest.approx(getattr(whole, name)), name
    assert (averaged.edge == whole.edge).all()
    assert (averaged.n_curves, set(averaged.curve) <= {str(p) for p in runs["params"]}) == (20, True)


def test_units_do_not_matter() -> None:
    curves, runs = tables(np.geomspace(1e7, 1e9, 20))
    one = envelope.of_curves("attn", curves, runs).frontier
    other = envelope.of_curves(
        "attn", curves.assign(tokens=curves["tokens"] / 1e6), runs.assign(params=runs["params"] / 1e6)
    ).frontier
    assert one.params is not None and other.params is not None and one.tokens is not None and other.tokens is not None
    assert other.params.exponent == pytest.approx(one.params.exponent)
    assert other.params.coefficient == pytest.approx(one.params.coefficient / 1e6)
    assert other.tokens.coefficient == pytest.approx(one.tokens.coefficient / 1e6)


@pytest.mark.slow
def test_ten_thousand_runs_of_a_thousand_points_take_seconds() -> None:
    curves, runs = tables(np.geomspace(1e7, 1e10, 10_000), 1000)
    start = time.process_time()
    found = envelope.of_curves("attn", curves, runs)
    assert time.process_time() - start < 5  # 2.4 measured
    assert found.frontier.params is not None
    assert found.frontier.params.exponent == pytest.approx(BETA / (ALPHA + BETA), abs=1e-4)
