"""Laws of learning rate and batch: planted ones, their intervals' coverage, and the Step Law's own table.

The table is of Li et al. 2025 ("Predictable Scale: Part I, Step Law", arXiv 2503.04715), github.com/step-law/steplaw:
1911 dense models in 17 cells of size and tokens.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.analysis.hyper import HyperOptimum, Window, optima
from eutectic.analysis.hyper_law import PUBLISHED, STEP_LAW, WINDOWS, HyperLaw, bootstrap, by_window, law

TABLE = Path(__file__).parents[2].parent / "shared/tables/steplaw_dense_lr_bs_loss.csv"
BOTH, TOKENS = ("params", "tokens"), ("tokens",)
LAWS = (("lr", BOTH), ("batch", TOKENS))
PLANTED = {"lr": {"params": -0.7, "tokens": 0.3}, "batch": {"tokens": 0.55}}


def planted(name: str, params: float, tokens: float) -> float:
    if name == "lr":
        return 2e-3 * (params / 5e8) ** -0.7 * (tokens / 2e10) ** 0.3
    return 4e5 * (tokens / 2e10) ** 0.55


def sweep(seed: int, noise: float = 0.003, scatter: float = 0.0) -> pd.DataFrame:
    """Twelve cells of 112 runs; each cell's optimum is off the planted law by `scatter`, in ln."""
    random = np.random.default_rng(seed)
    lr, batch = (v.ravel() for v in np.meshgrid(np.geomspace(2.4e-4, 2.2e-2, 14), np.geomspace(2**15, 2**22, 8)))
    cells = []
    for params in (1e8, 3e8, 1e9, 3e9):
        for tokens in (5e9, 2e10, 8e10):
            shift = np.exp(scatter * random.normal(size=2))
            x = np.log(lr / planted("lr", params, tokens) / shift[0])
            y = np.log(batch / planted("batch", params, tokens) / shift[1])
            loss = 2 + 0.015 * x**2 + 0.015 * y**2 - 0.012 * x * y + random.normal(0, noise, len(x))
            cells.append(pd.DataFrame({"params": params, "tokens": tokens, "lr": lr, "batch": batch, "loss": loss}))
    return pd.concat(cells)


def fitted(found: list[HyperOptimum], target: str, over: tuple[str, ...]) -> HyperLaw:
    result = law(found, target, over)
    assert result is not None
    return result


def cell(params: float, tokens: float, lr: float, error: float = 0.01) -> HyperOptimum:
    return HyperOptimum("", params, tokens, "optimum", 50, 30, 2.0, {"lr": lr}, {"lr": lr}, {"lr": error})


def test_a_planted_law_is_recovered_within_its_interval() -> None:
    found = optima(sweep(0), Window())
    lr, batch = fitted(found, "lr", BOTH), fitted(found, "batch", TOKENS)
    assert (lr.n, batch.n) == (12, 12)
    for result, name in ((lr, "lr"), (batch, "batch")):
        for variable, exponent in PLANTED[name].items():
            assert not result.excludes(variable, exponent)
            assert result.exponents[variable] == pytest.approx(exponent, abs=0.05)
            low, high = result.intervals[variable]
            assert 0.01 < high - low < 0.15
    # a batch law that may depend on size finds that it does not
    free = fitted(found, "batch", ("tokens", "params"))
    assert not free.excludes("params", 0.0)
    assert not free.excludes("tokens", 0.55)


def test_an_exact_law_is_recovered_exactly_and_predicts() -> None:
    sizes = [(1e8, 1e9), (1e8, 1e10), (1e9, 1e9), (1e9, 1e10), (3e9, 3e10)]
    found = [cell(n, d, planted("lr", n, d)) for n, d in sizes]
    result = fitted(found, "lr", BOTH)
    assert result.exponents == pytest.approx(PLANTED["lr"])
    assert result.constant == pytest.approx(planted("lr", 1, 1))
    assert result.intervals["params"] == pytest.approx((-0.7, -0.7), abs=1e-6)
    assert result.scatter == 0
    at = {"params": np.array([2e9, 5e9]), "tokens": np.array([1e11, 1e9])}
    assert result.predict(at) == pytest.approx([planted("lr", 2e9, 1e11), planted("lr", 5e9, 1e9)])


def test_equal_errors_give_ordinary_least_squares() -> None:
    random = np.random.default_rng(1)
    tokens = np.geomspace(1e9, 1e11, 8)
    lr = 1e-3 * (tokens / 1e10) ** 0.3 * np.exp(random.normal(0, 0.2, 8))
    result = fitted([cell(1e8, d, v) for d, v in zip(tokens, lr, strict=True)], "lr", TOKENS)
    x, y = np.log(tokens), np.log(lr)
    slope = np.cov(x, y)[0, 1] / x.var(ddof=1)
    residuals = y - y.mean() - slope * (x - x.mean())
    error = np.sqrt((residuals**2).sum() / 6 / ((x - x.mean()) ** 2).sum())
    assert result.exponents["tokens"] == pytest.approx(slope)
    assert result.intervals["tokens"] == pytest.approx((slope - 2.44691185 * error, slope + 2.44691185 * error))
    # squares exceed what errors of 0.01 explain; with them the scatter explains all of it
    assert result.dispersion == pytest.approx((residuals**2).sum() / 6 / 0.01**2)
    assert result.scatter**2 + 0.01**2 == pytest.approx((residuals**2).sum() / 6)
    # the band at the centre is the coefficient's interval, and at one point of x that of y = a + b x
    centre = {"tokens": np.array([np.exp(x.mean()), 1e12])}
    low, high = result.band(centre)
    assert (low[0], high[0]) == pytest.approx(result.intervals["coefficient"])
    far = np.log(1e12) - x.mean()
    margin = 2.44691185 * error * np.sqrt(((x - x.mean()) ** 2).mean() + far**2)
    assert high[1] / low[1] == pytest.approx(np.exp(2 * margin))


def test_a_cell_that_hardly_knows_its_optimum_hardly_counts() -> None:
    tokens = np.geomspace(1e9, 1e11, 8)
    good = [cell(1e8, d, 1e-3 * (d / 1e10) ** 0.3 * (1.02 if k % 2 else 0.98)) for k, d in enumerate(tokens)]
    bad = dataclasses.replace(good[-1], values={"lr": good[-1].values["lr"] * 5}, errors={"lr": 2.0})
    base, other = fitted(good[:-1], "lr", TOKENS), fitted([*good[:-1], bad], "lr", TOKENS)
    assert other.exponents["tokens"] == pytest.approx(base.exponents["tokens"], abs=0.003)
    assert other.weights[-1] < 1e-3 * other.weights[0]


def test_laws_that_cells_do_not_fix_are_none() -> None:
    proportion = [cell(n, 20 * n, 1e-3) for n in (1e8, 2e8, 4e8, 8e8, 1.6e9)]
    assert law(proportion, "lr", BOTH) is None
    assert law(proportion, "lr", ("params",)) is not None
    assert law(proportion[:2], "lr", ("params",)) is None
    assert law(proportion, "batch", TOKENS) is None
    refused = [dataclasses.replace(o, status="beyond grid", values={}, errors={}) for o in proportion]
    assert law(refused, "lr", ("params",)) is None


@pytest.mark.parametrize(("window", "scatter"), [(Window(), 0.0), (Window(), 0.1), (Window(math.inf, 4), 0.1)])
def test_the_intervals_hold_the_truth_as_often_as_they_say(window: Window, scatter: float) -> None:
    inside = {("lr", "params"): 0, ("lr", "tokens"): 0, ("batch", "tokens"): 0}
    for seed in range(100):
        found = optima(sweep(seed, scatter=scatter), window)
        laws = {"lr": fitted(found, "lr", BOTH), "batch": fitted(found, "batch", TOKENS)}
        for name, variable in inside:
            inside[name, variable] += not laws[name].excludes(variable, PLANTED[name][variable])
    # 95 expected with a standard deviation of 2.2
    assert all(91 <= count <= 99 for count in inside.values()), inside


def test_the_bootstrap_of_cells_agrees_with_the_interval_where_cells_are_many() -> None:
    random = np.random.default_rng(2)
    tokens = random.uniform(np.log(1e9), np.log(1e11), 200)
    found = [cell(1e8, float(np.exp(t)), float(np.exp(0.3 * t + random.normal(0, 0.2)))) for t in tokens]
    result = fitted(found, "lr", TOKENS)
    resampled = bootstrap(found, result)
    assert resampled["tokens"] == pytest.approx(result.intervals["tokens"], abs=0.005)
    assert bootstrap(found, result) == resampled != bootstrap(found, result, seed=1)


@given(unit=st.floats(1e-6, 1e6))
@settings(max_examples=20, deadline=None)
def test_another_unit_of_batch_or_tokens_changes_only_the_coefficient(unit: float) -> None:
    runs = sweep(3, scatter=0.1)
    base = fitted(optima(runs, Window()), "batch", TOKENS)
    scaled = runs.assign(batch=runs["batch"] * unit, tokens=runs["tokens"] / unit)
    other = fitted(optima(scaled, Window()), "batch", TOKENS)
    assert other.exponents["tokens"] == pytest.approx(base.exponents["tokens"], rel=1e-6)
    assert other.intervals["tokens"] == pytest.approx(base.intervals["tokens"], rel=1e-5)
    assert other.coefficient == pytest.approx(base.coefficient * unit, rel=1e-6)
    assert other.constant == pytest.approx(base.constant * unit ** (1 + base.exponents["tokens"]), rel=1e-5)


def test_published_laws_are_as_published() -> None:
    """At 1B parameters and 20B tokens, by hand from each paper's formula."""
    at = {"params": np.array([1e9]), "tokens": np.array([2e10])}
    values = {(p.source, p.target): p.predict(at)[0] for p in PUBLISHED}
    compute = 6 * 1e9 * 2e10
    assert values == {
        (STEP_LAW, "lr"): pytest.approx(1.79 * 1e9**-0.713 * 2e10**0.307),
        (STEP_LAW, "batch"): pytest.approx(0.58 * 2e10**0.571),
        ("DeepSeek LLM (2024)", "lr"): pytest.approx(0.3118 * compute**-0.125),
        ("DeepSeek LLM (2024)", "batch"): pytest.approx(0.2920 * compute**0.3271),
        ("Porian et al. (2024)", "lr"): pytest.approx(0.0047 * (1e9 / 108e6) ** (-1 / 3)),
    }


@pytest.fixture(scope="module")
def step_law() -> pd.DataFrame:
    if not TABLE.exists():
        pytest.skip(f"{TABLE.name} is not here")
    table = pd.read_csv(TABLE)
    columns = {"params": "N", "tokens": "D", "lr": "lr", "loss": "smooth loss"}
    return pd.DataFrame({ours: table[theirs] for ours, theirs in columns.items()} | {"batch": table["bs"] * 2048})


def test_step_law_exponents_and_their_dependence_on_the_window(step_law: pd.DataFrame) -> None:
    """Our own numbers, each with whether its 95% interval excludes the published -0.713, 0.307 and 0.571."""
    tables = [by_window(step_law, WINDOWS, target, over).assign(target=target) for target, over in LAWS]
    table = pd.concat(tables)
    assert list(table["of"].unique()) == [17]
    seen = table.set_index(["excess", "factor", "target", "variable"]).sort_index()
    expected = {
        (0.02, math.inf): (17, (-0.8150, False), (0.2254, True), (0.6019, False)),
        (0.05, math.inf): (17, (-0.7043, False), (0.2026, True), (0.5700, False)),
        (0.10, math.inf): (17, (-0.6333, True), (0.1989, True), (0.5937, False)),
        (math.inf, 2): (16, (-0.7744, False), (0.2801, False), (0.6990, False)),
        (math.inf, 3): (17, (-0.7252, False), (0.2618, False), (0.6586, False)),
        (0.05, 3): (17, (-0.7191, False), (0.2464, True), (0.6522, False)),
    }
    for window, (cells, *verdicts) in expected.items():
        for (exponent, excluded), key in zip(
            verdicts, (("lr", "params"), ("lr", "tokens"), ("batch", "tokens")), strict=True
        ):
            row = seen.loc[(*window, *key)]
            assert (row["cells"], bool(row["excluded"])) == (cells, excluded), (window, key)
            assert row["exponent"] == pytest.approx(exponent, abs=1e-3), (window, key)
            assert row["low"] < row["exponent"] < row["high"]
            assert (not row["low"] <= row["published"] <= row["high"]) == excluded
    middle = table[(table["excess"] == 0.05) & np.isinf(table["factor"])].set_index(["target", "variable"])
    assert list(middle.loc[("lr", "tokens"), ["low", "high"]]) == pytest.approx([0.159, 0.246], abs=1e-3)
    assert list(middle.loc[("lr", "params"), ["low", "high"]]) == pytest.approx([-0.783, -0.626], abs=1e-3)
    assert list(middle.loc[("batch", "tokens"), ["low", "high"]]) == pytest.approx([0.500, 0.640], abs=1e-3)


def test_step_law_batch_depends_on_size_too(step_law: pd.DataFrame) -> None:
    """The publication has the best batch depend on tokens alone; given size as well, its exponent is below zero."""
    expected = {Window(0.02): -0.3050, Window(): -0.1887, Window(0.1): -0.0952, Window(math.inf, 3): -0.2417}
    for window, exponent in expected.items():
        free = fitted(optima(step_law, window), "batch", ("tokens", "params"))
        assert free.exponents["params"] == pytest.approx(exponent, abs=1e-3)
        assert free.intervals["params"][1] < 0


def test_step_law_by_its_authors_way_does_not_give_the_published_exponent_either(step_law: pd.DataFrame) -> None:
    """Their code (step-law/steplaw, code/fit_tool.py) pools the runs within 0.25% of each cell's lowest smoothed loss.

    Least squares over those 129 runs of this table gives 0.197 for tokens where 0.307 was published: the difference is
    not our estimator's.
    """
    lowest = step_law.groupby(["params", "tokens"])["loss"].transform("min")
    near = step_law[step_law["loss"] / lowest - 1 < 0.0025]
    assert len(near) == 129
    one = np.ones(len(near))
    design = np.column_stack([one, np.log(near["params"]), np.log(near["tokens"])])
    lr = np.linalg.lstsq(design, np.log(near["lr"]))[0]
    batch = np.linalg.lstsq(design[:, [0, 2]], np.log(near["batch"]))[0]
    assert lr[1:] == pytest.approx([-0.766, 0.197], abs=1e-3)
    assert batch[1] == pytest.approx(0.613, abs=1e-3)


def test_step_law_cost_of_a_learning_rate_off_by_two(step_law: pd.DataFrame) -> None:
    costs = {name: [o.cost(name) for o in optima(step_law, Window())] for name in ("lr", "batch")}
    assert np.median(costs["lr"]) == pytest.approx(0.0072, abs=2e-4)
    assert np.median(costs["batch"]) == pytest.approx(0.0068, abs=2e-4)
    assert 0.004 < min(costs["lr"]) < max(costs["lr"]) < 0.012
