"""Loss functions by hand, their derivatives by differences, and what the solver asks of them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eutectic.analysis import losses
from eutectic.analysis.losses import LAD_DELTA, LossFn
from eutectic.errors import UserError

errors = st.floats(-0.5, 0.5).filter(lambda e: abs(e) > 1e-4)
observations = st.floats(0.2, 5.0)
LOSS_FNS = [LossFn("huber", 0.05), LossFn("huber", 1e-3), losses.find("lad"), LossFn("ls"), LossFn("ls-log")]


def at(error: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """v, the logarithm of the fitted value, off ln y by error."""
    return np.array([np.log(y) + error]), np.array([y])


def test_values_by_hand() -> None:
    v, y = np.log([3.0, 2.0, 2.02]), np.array([2.0, 2.0, 2.0])
    ratio, small = np.log(1.5), np.log(1.01)
    assert LossFn("ls").value(v, y) == pytest.approx([1.0, 0.0, 0.0004])
    assert LossFn("ls-log").value(v, y) == pytest.approx([ratio**2, 0.0, small**2])
    assert losses.find("lad").value(v, y) == pytest.approx([ratio, 0.0, small])
    # Hoffmann et al. 2022, eq. 3: quadratic within delta, a line beyond that meets it in value and slope
    assert LossFn("huber", 0.05).value(v, y) == pytest.approx([0.05 * (ratio - 0.025), 0.0, small**2 / 2])


@pytest.mark.parametrize("loss", LOSS_FNS, ids=lambda loss: loss.text)
@given(error=errors, y=observations)
def test_derivatives(loss: LossFn, error: float, y: float) -> None:
    if loss.name == "huber" and abs(abs(error) - loss.delta) < 1e-5:
        return  # its second derivative jumps there
    v, observed = at(error, y)
    step = 1e-6
    first, second, _ = loss.derivatives(v, observed)
    above, below = v + step, v - step
    slope = (loss.value(above, observed) - loss.value(below, observed)) / (2 * step)
    if loss.name == "lad":  # derivatives of the Huber loss whose limit it is, which is delta times as large
        slope = slope * LAD_DELTA
    size = abs(first[0]) + (y**2 if loss.name == "ls" else loss.delta)
    assert first == pytest.approx(slope, abs=1e-8 * size + 1e-9 * (loss.name != "lad"))
    bend = (loss.derivatives(above, observed)[0] - loss.derivatives(below, observed)[0]) / (2 * step)
    assert second == pytest.approx(bend, rel=1e-6, abs=1e-6 * size)


@pytest.mark.parametrize("loss", [LossFn("huber", 0.05), LossFn("ls-log")], ids=lambda loss: loss.text)
@given(error=errors, other=errors)
def test_the_parabola_above_touches_and_lies_above(loss: LossFn, error: float, other: float) -> None:
    """What Marquardt's damping is scaled by: it never promises a descent that is not there."""
    (v, y), (far, _) = at(error, 2.0), at(other, 2.0)
    first, _, above = loss.derivatives(v, y)
    parabola = loss.value(v, y) + first * (far - v) + above / 2 * (far - v) ** 2
    assert (loss.value(far, y) <= parabola + 1e-14).all()
    assert loss.derivatives(v, y)[1] <= above


@given(error=errors)
def test_absolute_deviations_are_hubers_limit(error: float) -> None:
    v, y = at(error, 2.0)
    stages = losses.find("lad").stages
    assert all(coarse.delta > fine.delta for coarse, fine in pairwise(stages)) and stages[-1].delta == LAD_DELTA
    assert losses.find("lad").value(v, y) == pytest.approx(stages[-1].value(v, y) / LAD_DELTA, abs=LAD_DELTA)
    assert losses.find("lad").derivatives(v, y)[0] == stages[-1].derivatives(v, y)[0]
    assert LossFn("huber", 0.02).stages == (LossFn("huber", 0.02),)


def test_names() -> None:
    assert losses.find("huber", 0.02) == LossFn("huber", 0.02)
    assert losses.find("lad", 0.02).delta == LAD_DELTA
    assert "delta 0.02" in losses.find("huber", 0.02).text
    with pytest.raises(UserError, match="no loss 'l2' to fit by; there are huber, lad, ls and ls-log"):
        losses.find("l2")
    for delta in (0.0, -1e-3, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"delta .* cannot be used; it must be positive"):
            losses.find("huber", delta)
