"""A law fitted to a table: its numbers with all that they rest on, or a refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eutectic.analysis import solve as solver
from eutectic.analysis.laws import VARIABLES, Array, Inputs, Law
from eutectic.analysis.losses import LossFn
from eutectic.analysis.problem import Problem
from eutectic.analysis.solve import Certificate, Refused

HUBER = LossFn("huber")
SMALLEST_DELTA = 1e-4  # of ln L: no run is known better
# the logarithm of the largest over the smallest budget, of runs at one: losses fall as about C^-0.05, half a per cent a
# tenth, which is what seeds differ by. With errors of .3% simulated runs of two budgets 1% apart give E half as large
# again as it is, 10% apart the right one on average.
ONE_BUDGET = 0.1
NARROW = 0.03  # spread of N and D across the line that they are nearest to, over their spread along it
SPARE = 3  # points that a law needs beyond its parameters


@dataclass(frozen=True)
class Fit:
    """theta: the law's parameters, coefficients as logarithms (what Law.log takes); values: as the formula has them.

    objective: the loss function's sum over the n points. residuals: ln(observed / fitted) of each, in the data's order.
    x, y: the data. problem, centred: what a resampling starts from.
    """

    law: Law
    loss_fn: LossFn
    theta: Array
    values: dict[str, float]
    objective: float
    n: int
    certificate: Certificate
    residuals: Array
    x: Inputs
    y: Array
    problem: Problem = field(repr=False)
    centred: Array = field(repr=False)

    @property
    def degrees(self) -> int:
        """Of freedom: points beyond the law's parameters."""
        return self.n - len(self.law.names)

    @property
    def rms(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt((self.residuals**2).mean()))

    def predict(self, x: Mapping[str, Any]) -> Array:
        """Fitted values at x, by variable letter."""
        return np.exp(self.law.log(self.theta, {name: np.asarray(v, float) for name, v in x.items()}))

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "law": self.law.name,
            "formula": self.law.formula,
            "loss_fn": self.loss_fn.text,
            "delta": self.loss_fn.delta,
            "objective": self.objective,
            "n": self.n,
            "values": self.values,
            "certificate": vars(self.certificate),
        }


def fit(
    law: Law, x: Mapping[str, Any], y: Any, loss_fn: LossFn = HUBER, seed: int = 0, parent: Fit | None = None
) -> Fit:
    """Fit y, all positive, to the law at x, arrays by variable letter (`law.inputs`, and C where the runs' true FLOPs
    are known). seed: of the random starts. parent: the parent law's fit to the same data, where there is one, to start
    from.

    Raises Refused where there are too few points, all of one budget, where a variable does not vary by itself, or the
    minimum found does not merit a certificate.
    """
    data = {name: np.asarray(x[name], float) for name in law.inputs}
    observed = np.asarray(y, float)
    _require(law, x, data, len(observed))
    problem = Problem(law, data, observed)
    theirs = None if parent is None else parent.centred
    centred, objective, certificate = solver.solve(problem, loss_fn, seed, theirs)
    if certificate.refusal:
        raise Refused(f"{law.name} is not fitted to these {len(observed)} points: {certificate.refusal}.")
    theta = problem.to_law(centred[None])[0]
    return Fit(
        law=law,
        loss_fn=loss_fn,
        theta=theta,
        values=law.values(theta),
        objective=objective * (problem.scale**2 if loss_fn.name == "ls" else 1.0),
        n=len(observed),
        certificate=certificate,
        residuals=np.log(observed) - law.log(theta, data),
        x=data,
        y=observed,
        problem=problem,
        centred=centred,
    )


def scaled_huber(law: Law, x: Mapping[str, Any], y: Any, seed: int = 0) -> LossFn:
    """Huber's loss with the delta that is 95% efficient under normal noise of the size these data have (Huber 1964):
    1.345 standard deviations, estimated as twice the median absolute residual of a fit with delta 1e-3."""
    rough = fit(law, x, y, HUBER, seed)
    return LossFn("huber", max(2.0 * float(np.median(np.abs(rough.residuals))), SMALLEST_DELTA))


def _require(law: Law, x: Mapping[str, Any], data: Inputs, n: int) -> None:
    needed = len(law.names) + SPARE
    if n < needed:
        raise Refused(
            f"{law.name} has {len(law.names)} parameters and needs {needed} points or more; there are {n}: "
            "train more sizes and budgets or choose a smaller law."
        )
    _require_budgets(law, x, n)
    logs = []
    for name, values in data.items():
        spread = values if name == "r" else np.log(values)
        if np.ptp(spread) < 1e-6:
            raise Refused(
                f"{VARIABLES[name]} ({name}) is {values[0]:.4g} in all {n} points, so {law.name} cannot be told from "
                "them; add points that differ in it."
            )
        logs.append(spread - spread.mean())
    if {"N", "D"} <= set(data):
        pair = np.stack([logs[list(data).index(name)] for name in ("N", "D")])
        if np.linalg.svd(pair, compute_uv=False)[-1] < NARROW * np.linalg.norm(pair):
            raise Refused(
                f"parameters and tokens vary together in all {n} points, so {law.name} cannot tell their exponents "
                "apart; add runs of more and of fewer tokens for their size."
            )


def _require_budgets(law: Law, x: Mapping[str, Any], n: int) -> None:
    """Of a law in compute, or in the two that it is spent on; where C is not known it is as N D."""
    if "C" not in law.inputs and not {"N", "D"} <= set(law.inputs):
        return
    compute = np.log(x["C"]) if "C" in x else np.log(x["N"]) + np.log(x["D"])
    if np.ptp(compute) < ONE_BUDGET:
        raise Refused(
            f"{law.name} needs two budgets or more, and all {n} points are of one (their FLOPs are within "
            f"{ONE_BUDGET:.0%} of each other); add another."
        )
