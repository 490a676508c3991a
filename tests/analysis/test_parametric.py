"""L(N, D): known laws are recovered, the gradient is the objective's, and noise does not find a better start."""

import numpy as np
import pytest
from scipy import optimize

from eutectic.analysis import parametric


def grid(budgets: int = 5, sizes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    compute = np.repeat(np.geomspace(1e17, 1e20, budgets), sizes)
    params = np.sqrt(compute / 120) * np.tile(np.geomspace(0.2, 5, sizes), budgets)
    return params, compute / (6 * params)


@pytest.mark.parametrize(
    ("E", "A", "B", "alpha", "beta"),
    [
        (1.69, 406.4, 410.7, 0.34, 0.28),  # Hoffmann et al. 2022
        (1.82, 482.0, 2085.4, 0.35, 0.37),  # Besiroglu et al. 2024
        (0.7, 30.0, 6000.0, 0.2, 0.5),
    ],
)
def test_a_known_law_is_recovered(E: float, A: float, B: float, alpha: float, beta: float) -> None:
    params, tokens = grid()
    law = parametric.fit(params, tokens, E + A / params**alpha + B / tokens**beta)
    assert law is not None and law.identified
    assert (law.E, law.alpha, law.beta) == (
        pytest.approx(E, rel=2e-3),
        pytest.approx(alpha, rel=2e-3),
        pytest.approx(beta, rel=2e-3),
    )
    assert (pytest.approx(A, rel=0.03), pytest.approx(B, rel=0.03)) == (law.A, law.B)
    assert law.allocation == pytest.approx(beta / (alpha + beta), rel=2e-3)
    assert max(map(abs, law.residuals)) < 1e-5
    assert law.gradient < 1e-8


def test_outliers_are_borne() -> None:
    """Huber's loss: three runs gone wrong move the exponents by little, where least squares would not hold."""
    params, tokens = grid()
    losses = 1.69 + 406.4 / params**0.34 + 410.7 / tokens**0.28
    losses *= np.exp(np.random.default_rng(0).normal(0, 1e-4, len(losses)))
    losses[[3, 17, 30]] *= 1.1
    law = parametric.fit(params, tokens, losses)
    assert law is not None
    assert (law.alpha, law.beta) == (pytest.approx(0.34, rel=0.05), pytest.approx(0.28, rel=0.05))


def test_the_gradient_is_the_objectives() -> None:
    random = np.random.default_rng(0)
    log_n, log_d = random.normal(size=20), random.normal(size=20)
    log_l = 1.0 + random.normal(0, 1e-3, 20)
    for _ in range(10):
        theta = random.normal([0, 0, 0, 0.4, 0.4], 0.3)
        value, gradient = parametric.objective(theta[:, None], log_n, log_d, log_l)
        numeric = optimize.approx_fprime(
            theta, lambda t: float(parametric.objective(t[:, None], log_n, log_d, log_l)[0]), 1e-7
        )
        assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-7)
        # and the value is Hoffmann's eq. 3, written out
        error = (
            np.log(np.exp(theta[0] - theta[3] * log_n) + np.exp(theta[1] - theta[4] * log_d) + np.exp(theta[2])) - log_l
        )
        huber = np.where(np.abs(error) <= 1e-3, error**2 / 2, 1e-3 * (np.abs(error) - 5e-4))
        assert float(value) == pytest.approx(huber.sum())


def test_no_other_start_does_better() -> None:
    random = np.random.default_rng(1)
    params, tokens = grid(3, 5)
    losses = (1.8 + 480 / params**0.35 + 2000 / tokens**0.37) * np.exp(random.normal(0, 3e-3, len(params)))
    law = parametric.fit(params, tokens, losses)
    assert law is not None
    log_n, log_d = np.log(params / np.exp(np.log(params).mean())), np.log(tokens / np.exp(np.log(tokens).mean()))
    for _ in range(40):
        start = random.normal([0, 0, 0, 0.4, 0.4], [1.5, 1.5, 0.7, 0.3, 0.3])
        other = parametric._polish(start, log_n, log_d, np.log(losses))
        assert law.huber <= other.fun * parametric.DELTA**2 * (1 + 1e-6)


def test_what_is_not_determined_is_said() -> None:
    params, tokens = grid()
    assert parametric.fit(params[:7], tokens[:7], np.full(7, 2.0)) is None
    law = parametric.fit(params, tokens, 2.0 + 400 / params**0.34)
    assert law is not None and not law.identified
