"""The best share is called an optimum only where the data can say so."""

import numpy as np
import pytest

from eutectic.analysis.isoflop import IsoflopOptimum
from eutectic.analysis.ratio import hybrid_optimum

SHARES = {f"arch{k}": k / 4 for k in range(5)}


def optima(losses: list[float], status: str = "optimum", error: float = 0.0) -> list[IsoflopOptimum]:
    return [
        IsoflopOptimum(arch, 1e15, status, 5, 5, loss, 1e6, 1e6, (1e6, 1e6), 1e8, loss, (loss, loss), error)
        for arch, loss in zip(SHARES, losses, strict=False)
    ]


def parabola(best: float, noise: float = 0.0) -> list[float]:
    wiggle = noise * np.array([1, -2, 2, -2, 1])
    return list(3.0 + 0.5 * (np.array(list(SHARES.values())) - best) ** 2 + wiggle)


@pytest.mark.parametrize("best", [0.2, 0.4, 0.7])
def test_five_shares_and_an_interior_minimum_are_an_optimum(best: float) -> None:
    found = hybrid_optimum(1e15, optima(parabola(best)), SHARES)
    assert found is not None and found.interval is not None
    assert (found.verdict, found.share) == ("optimum", pytest.approx(best))
    assert found.interval == pytest.approx((best, best), abs=1e-6)
    assert found.gain == pytest.approx(min(parabola(best)[0], parabola(best)[4]) - found.best_loss)


def test_four_shares_are_not_enough() -> None:
    found = hybrid_optimum(1e15, optima(parabola(0.3)[:4]), SHARES)
    assert found is not None
    assert (found.verdict, found.share, found.best_share, found.gain) == ("best of those tried", None, 0.25, None)


def test_a_best_at_an_end_is_a_boundary() -> None:
    found = hybrid_optimum(1e15, optima(parabola(-0.3)), SHARES)
    assert found is not None
    assert (found.verdict, found.share, found.best_share, found.gain) == ("boundary", None, 0.0, 0.0)


def test_noise_as_large_as_the_effect_is_no_optimum() -> None:
    found = hybrid_optimum(1e15, optima(parabola(0.5, noise=0.1)), SHARES)
    assert found is not None
    assert (found.verdict, found.interval) == ("best of those tried", None)


def test_losses_that_are_not_known_well_give_no_optimum() -> None:
    known = hybrid_optimum(1e15, optima(parabola(0.5), error=0.005), SHARES)
    unknown = hybrid_optimum(1e15, optima(parabola(0.5), error=0.15), SHARES)
    assert known is not None and unknown is not None and known.interval is not None
    # by hand: c1 and c2 of five points at quarters with variance s^2, c2's minimum at 1/2, t of two degrees 4.303
    slope = np.array([0, -1 / (2 * 0.5), -0.5 / (2 * 0.5**2)])
    design = np.vander(np.arange(5) / 4, 3, increasing=True)
    margin = 4.3026527 * 0.005 * np.sqrt(slope @ np.linalg.inv(design.T @ design) @ slope)
    assert known.interval == pytest.approx((0.5 - margin, 0.5 + margin))
    assert (unknown.verdict, unknown.share) == ("best of those tried", None)


@pytest.mark.parametrize("best", [0.3, 0.6])
def test_a_cubic_finds_a_lopsided_minimum(best: float) -> None:
    """Where the loss rises faster to one side, the parabola is off and the cubic is not."""
    shares = {f"arch{k}": k / 6 for k in range(7)}
    r = np.array(list(shares.values()))
    losses = 3.0 + 0.5 * (r - best) ** 2 + 0.3 * (r - best) ** 3
    known = [
        IsoflopOptimum(arch, 1e15, "optimum", 5, 5, loss, 1e6, 1e6, (1e6, 1e6), 1e8, loss, (loss, loss), 1e-4)
        for arch, loss in zip(shares, losses, strict=True)
    ]
    cubic, parabola = (hybrid_optimum(1e15, known, shares, degree) for degree in (3, 2))
    assert cubic is not None and cubic.interval is not None and parabola is not None and parabola.share is not None
    assert (cubic.verdict, cubic.share) == ("optimum", pytest.approx(best))
    assert cubic.interval[0] < best < cubic.interval[1]
    assert abs(parabola.share - best) > 0.01
    few = hybrid_optimum(1e15, known[:5], shares, 3)
    assert few is not None and few.verdict == "best of those tried"


def test_only_isoflop_optima_count() -> None:
    assert hybrid_optimum(1e15, optima(parabola(0.5), "beyond grid"), SHARES) is None
    assert hybrid_optimum(3e15, optima(parabola(0.5)), SHARES) is None
