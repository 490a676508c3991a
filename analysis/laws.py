"""Scaling laws, declared: a loss (or an optimum) is a sum of terms, each a coefficient times powers of what was varied.

The logarithm of a term is linear in the law's parameters, so a law is the logarithm of a sum of exponentials of linear
functions: its gradient and curvature are exact and shared by all laws. Two laws bend that: a group of terms raised to a
power, and tokens that wear out as they repeat; each is one class here.

A feature is named by letters whose product it is: capitals are minus the logarithm of a variable (so that exponents of
losses are positive), small ones the logarithm itself, and `r` the share of attention as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Inputs = Mapping[str, Array]
VARIABLES = {
    "N": "parameters",
    "D": "training tokens",
    "C": "training FLOPs",
    "U": "unique training tokens",
    "M": "tokens per parameter",
    "S": "state size",
    "r": "attention's share",
}
EXPONENTS = (0.1, 0.3, 0.5, 0.8, 1.2)  # where searches start


@dataclass(frozen=True)
class Parameter:
    """Bounds and starts of one unknown."""

    name: str
    kind: str  # coefficient (kept as its logarithm), exponent, modifier, gamma or scale (kept as its logarithm)

    @property
    def logarithmic(self) -> bool:
        return self.kind in ("coefficient", "scale")

    @property
    def bounds(self) -> tuple[float, float]:
        """Of what the solver works on: centred features, observations near one."""
        return {
            "coefficient": (-16.0, 12.0),
            "exponent": (1e-3, 4.0),
            "modifier": (-50.0, 50.0),
            "gamma": (0.02, 20.0),
            "scale": (-3.0, 9.0),
        }[self.kind]

    @property
    def neutral(self) -> float:
        """Its value where a law with it is the law without."""
        return {"coefficient": 0.0, "exponent": 0.3, "modifier": 0.0, "gamma": 1.0, "scale": np.log(15.0)}[self.kind]

    @property
    def stray(self) -> float:
        """How far a random start is from another (standard deviation)."""
        return {"coefficient": 0.7, "exponent": 0.15, "modifier": 0.3, "gamma": 0.3, "scale": 1.0}[self.kind]


class Bound(Protocol):
    """A term at given data. theta is (batch, p); observations are n."""

    def value(self, theta: Array) -> Array:
        """Logarithm of the term: (batch, n)."""

    def slope(self, theta: Array) -> Array:
        """Its gradient: (batch or 1, p, n)."""

    def curvature(self, theta: Array, weight: Array) -> Array:
        """Sum over n of weight times (slope slope' + second derivative): (batch, p, p). weight: (batch, n)."""


def feature(letters: str, x: Inputs) -> Array:
    """The product of its letters, at the data."""
    value: Array = np.ones(())
    for letter in letters:
        if letter == "r":
            value = value * x["r"]
        elif letter.isupper():
            value = value * -np.log(x[letter])
        else:
            value = value * np.log(x[letter.upper()])
    return value


@dataclass(frozen=True)
class Term:
    """coefficient * exp(sum of parameter * feature). powers: feature -> parameter."""

    coefficient: str
    powers: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> list[Parameter]:
        kinds = {name: "exponent" if len(f) == 1 and f != "r" else "modifier" for f, name in self.powers.items()}
        return [Parameter(self.coefficient, "coefficient"), *(Parameter(n, k) for n, k in kinds.items())]

    def log(self, theta: Mapping[str, Array], x: Inputs) -> Array:
        """At data that may differ from row to row of theta; both broadcast."""
        return sum((theta[name] * feature(f, x) for f, name in self.powers.items()), theta[self.coefficient])

    def bind(self, names: Sequence[str], x: Inputs) -> "BoundTerm":
        n = len(next(iter(x.values())))
        design, centre = np.zeros((len(names), n)), np.zeros(len(names))
        design[names.index(self.coefficient)] = 1.0
        for f, name in self.powers.items():
            values = feature(f, x) * np.ones(n)
            centre[names.index(name)] += values.mean()
            design[names.index(name)] += values - values.mean()
        return BoundTerm(design, centre, names.index(self.coefficient))


class BoundTerm:
    """Linear in theta. Features are centred, which tells coefficients and exponents apart; centre: (p,) their means."""

    def __init__(self, design: Array, centre: Array, intercept: int):
        self.design, self.centre, self.intercept = design, centre, intercept
        self.used = np.flatnonzero(design.any(1))
        rows = design[self.used]
        self.squares = (rows[:, None] * rows[None]).reshape(-1, design.shape[1])

    def value(self, theta: Array) -> Array:
        return theta[:, self.used] @ self.design[self.used]

    def slope(self, theta: Array) -> Array:
        return self.design[None]

    def curvature(self, theta: Array, weight: Array) -> Array:
        whole, k = np.zeros((len(theta), theta.shape[1], theta.shape[1])), len(self.used)
        whole[:, self.used[:, None], self.used] = (weight @ self.squares.T).reshape(-1, k, k)
        return whole


@dataclass(frozen=True)
class RepeatedTerm:
    """coefficient / D'^exponent where repeated tokens are worth ever less (Muennighoff et al. 2023, eq. 5):
    D' = U + U R (1 - exp(-(D/U - 1) / R)), with U unique tokens seen D/U times and R the scale of their decay."""

    coefficient: str
    exponent: str
    scale: str

    def parameters(self) -> list[Parameter]:
        kinds = ("coefficient", "exponent", "scale")
        return [Parameter(n, k) for n, k in zip((self.coefficient, self.exponent, self.scale), kinds, strict=True)]

    def log(self, theta: Mapping[str, Array], x: Inputs) -> Array:
        return theta[self.coefficient] - theta[self.exponent] * effective(theta[self.scale], x)[0]

    def bind(self, names: Sequence[str], x: Inputs) -> "BoundRepeated":
        return BoundRepeated(len(names), [names.index(n) for n in (self.coefficient, self.exponent, self.scale)], x)


def effective(log_scale: Array, x: Inputs) -> tuple[Array, Array, Array]:
    """ln D' and its first and second derivative in ln R."""
    scale, repeats = np.exp(log_scale), x["D"] / x["U"] - 1.0
    t = repeats / scale
    decay = np.exp(-t)
    worth = 1.0 + scale * -np.expm1(-t)
    first = (scale * -np.expm1(-t) - repeats * decay) / worth
    second = (scale * -np.expm1(-t) - repeats * decay * (1.0 + t)) / worth - first**2
    return np.log(x["U"]) + np.log(worth), first, second


class BoundRepeated:
    def __init__(self, p: int, where: list[int], x: Inputs):
        self.x, self.p, (self.intercept, self.b, self.s) = x, p, where
        self.mean = float(np.log(x["D"]).mean())
        self.centre = np.zeros(p)
        self.centre[self.b] = -self.mean

    def _parts(self, theta: Array) -> tuple[Array, Array, Array]:
        level, first, second = effective(theta[:, self.s, None], self.x)
        return level - self.mean, first, second

    def value(self, theta: Array) -> Array:
        return theta[:, self.intercept, None] - theta[:, self.b, None] * self._parts(theta)[0]

    def slope(self, theta: Array) -> Array:
        level, first, _ = self._parts(theta)
        out = np.zeros((len(theta), self.p, level.shape[1]))
        out[:, self.intercept], out[:, self.b], out[:, self.s] = 1.0, -level, -theta[:, self.b, None] * first
        return out

    def curvature(self, theta: Array, weight: Array) -> Array:
        slope = self.slope(theta)
        whole = (slope * weight[:, None]) @ slope.transpose(0, 2, 1)
        _, first, second = self._parts(theta)
        cross = -(weight * first).sum(1)
        whole[:, self.b, self.s] += cross
        whole[:, self.s, self.b] += cross
        whole[:, self.s, self.s] -= theta[:, self.b] * (weight * second).sum(1)
        return whole


@dataclass(frozen=True)
class Group:
    """A sum of terms raised to a power: (A/N^alpha + B/D^beta)^gamma."""

    terms: tuple[Term, ...]
    gamma: str

    def parameters(self) -> list[Parameter]:
        return [p for term in self.terms for p in term.parameters()] + [Parameter(self.gamma, "gamma")]

    def log(self, theta: Mapping[str, Array], x: Inputs) -> Array:
        logs = np.stack(np.broadcast_arrays(*(term.log(theta, x) for term in self.terms)))
        return theta[self.gamma] * log_sum(logs)

    def bind(self, names: Sequence[str], x: Inputs) -> "BoundGroup":
        return BoundGroup([term.bind(names, x) for term in self.terms], names.index(self.gamma))


class BoundGroup:
    def __init__(self, terms: list[BoundTerm], gamma: int):
        self.terms, self.gamma = terms, gamma

    def _inner(self, theta: Array) -> tuple[Array, Array, Array]:
        """The sum's logarithm (batch, n), its terms' shares (terms, batch, n), its gradient (batch, p, n)."""
        logs = np.stack([term.value(theta) for term in self.terms])
        total = log_sum(logs)
        shares = np.exp(logs - total)
        mean = sum(share[:, None] * term.design for share, term in zip(shares, self.terms, strict=True))
        return total, shares, mean

    def value(self, theta: Array) -> Array:
        return theta[:, self.gamma, None] * self._inner(theta)[0]

    def slope(self, theta: Array) -> Array:
        total, _, mean = self._inner(theta)
        out = theta[:, self.gamma, None, None] * mean
        out[:, self.gamma] += total
        return out

    def curvature(self, theta: Array, weight: Array) -> Array:
        _, shares, mean = self._inner(theta)
        slope = self.slope(theta)
        whole = (slope * weight[:, None]) @ slope.transpose(0, 2, 1)
        power = theta[:, self.gamma, None]
        for share, term in zip(shares, self.terms, strict=True):
            whole += term.curvature(theta, power * weight * share)
        whole -= (mean * (power * weight)[:, None]) @ mean.transpose(0, 2, 1)
        cross = (mean * weight[:, None]).sum(2)
        whole[:, self.gamma] += cross
        whole[:, :, self.gamma] += cross
        return whole


def log_sum(logs: Array) -> Array:
    """ln sum exp over the first axis."""
    top = logs.max(0)
    return top + np.log(np.exp(logs - top).sum(0))


@dataclass(frozen=True)
class Law:
    """A named sum of terms. parent: what it is with some of its parameters neutral, whose solution it starts from."""

    name: str
    formula: str
    terms: tuple[Term | RepeatedTerm | Group, ...]
    parent: "Law | None" = None

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple({p.name: p for term in self.terms for p in term.parameters()}.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.parameters)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Variables it is a function of, in the order of VARIABLES."""
        flat = [t for term in self.terms for t in (term.terms if isinstance(term, Group) else (term,))]
        letters = {c for t in flat if isinstance(t, Term) for f in t.powers for c in f}
        letters |= {c for t in flat if isinstance(t, RepeatedTerm) for c in "DU"}
        return tuple(v for v in VARIABLES if v in letters or (v != "r" and v.lower() in letters))

    def log(self, theta: Array, x: Inputs) -> Array:
        """ln of the law. theta: (..., p), coefficients as logarithms; x: arrays that broadcast with (...)."""
        named = self.named(theta)
        return log_sum(np.stack(np.broadcast_arrays(*(term.log(named, x) for term in self.terms))))

    def named(self, theta: Array) -> dict[str, Array]:
        """theta (..., p) by parameter."""
        return {name: theta[..., k] for k, name in enumerate(self.names)}

    def values(self, theta: Array) -> dict[str, float]:
        """One row of theta by name, coefficients as they are in the formula."""
        return {p.name: float(np.exp(t) if p.logarithmic else t) for p, t in zip(self.parameters, theta, strict=True)}


_E, _A, _B = Term("E"), Term("A", {"N": "alpha"}), Term("B", {"D": "beta"})
CHINCHILLA = Law("chinchilla", "L = E + A/N^alpha + B/D^beta", (_E, _A, _B))
GAMMA = Law("gamma", "L = E + (A/N^alpha + B/D^beta)^gamma", (_E, Group((_A, _B), "gamma")), CHINCHILLA)
FRONTIER = Law("frontier", "L = E + K/C^kappa", (_E, Term("K", {"C": "kappa"})))
FRONTIER_0 = Law("frontier-0", "L = K/C^kappa", (Term("K", {"C": "kappa"}),))
OVERTRAINED = Law(
    "overtrained",  # Gadre et al. 2024, eq. 4
    "L = E + (a M^eta + b M^-eta) C^-eta",
    (_E, Term("a", {"C": "eta", "m": "eta"}), Term("b", {"C": "eta", "M": "eta"})),
)
REPEATED = Law(
    "repeated",
    "L = E + A/N^alpha + B/D'^beta, D' = U + U R (1 - exp(-(D/U - 1)/R))",
    (_E, _A, RepeatedTerm("B", "beta", "R")),
    CHINCHILLA,
)
STATE = Law("state", "L = E + K/S^sigma", (_E, Term("K", {"S": "sigma"})))


def _hybrid(name: str, formula: str, extra: Mapping[str, Mapping[str, str]], parent: Law) -> Law:
    terms = (
        Term("E", extra.get("E", {})),
        Term("A", {"N": "alpha", **extra["A"]}),
        Term("B", {"D": "beta", **extra["B"]}),
    )
    return Law(name, formula, terms, parent)


_LINEAR = {"A": {"r": "A_r"}, "B": {"r": "B_r"}}
_INTERIOR = {"A": {"r": "A_r", "rr": "A_rr"}, "B": {"r": "B_r", "rr": "B_rr"}}
_EXPONENTS = {"A": {**_INTERIOR["A"], "rN": "alpha_r"}, "B": {**_INTERIOR["B"], "rD": "beta_r"}}
_MIX = "L = E + A(r)/N^alpha + B(r)/D^beta"
HYBRID_LINEAR = _hybrid("hybrid-linear", f"{_MIX}, ln A(r) = ln A + A_r r, B likewise", _LINEAR, CHINCHILLA)
HYBRID_INTERIOR = _hybrid(
    "hybrid-interior", f"{_MIX}, ln A(r) = ln A + A_r r + A_rr r^2, B likewise", _INTERIOR, HYBRID_LINEAR
)
HYBRID_EXPONENTS = _hybrid(
    "hybrid-exponents", "hybrid-interior with alpha + alpha_r r and beta + beta_r r", _EXPONENTS, HYBRID_INTERIOR
)
HYBRID_ENTROPY = _hybrid(
    "hybrid-entropy",
    "hybrid-exponents with ln E(r) = ln E + E_r r + E_rr r^2",
    {"E": {"r": "E_r", "rr": "E_rr"}, **_EXPONENTS},
    HYBRID_EXPONENTS,
)
# from no dependence on the share to all of it, each the next with parameters at zero
HYBRIDS = (CHINCHILLA, HYBRID_LINEAR, HYBRID_INTERIOR, HYBRID_EXPONENTS, HYBRID_ENTROPY)
LAWS = {law.name: law for law in (GAMMA, FRONTIER, FRONTIER_0, OVERTRAINED, REPEATED, STATE, *HYBRIDS)}
