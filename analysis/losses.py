"""What a fit minimizes, of one observation y and the logarithm v of its fitted value."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eutectic.errors import UserError

Array = NDArray[np.float64]
DELTA = 1e-3  # Hoffmann et al. 2022, section 3.3
LAD_DELTA = 1e-7  # of ln y: absolute deviations, rounded off where they are below what any loss is measured to


@dataclass(frozen=True)
class LossFn:
    """huber: of ln y - v, quadratic within delta. lad: its limit of small delta. ls: (y - e^v)^2. ls-log: of logs."""

    name: str
    delta: float = DELTA

    @property
    def text(self) -> str:
        return {
            "huber": f"Huber loss of ln L, delta {self.delta:g}",
            "lad": "absolute deviations of ln L",
            "ls": "squares of L",
            "ls-log": "squares of ln L",
        }[self.name]

    @property
    def stages(self) -> tuple["LossFn", ...]:
        """Losses to be minimized one after the other: a small delta is approached from a large one."""
        if self.name not in ("huber", "lad"):
            return (self,)
        larger = [10.0**-k for k in range(3, 8) if 10.0**-k > self.delta * 1.001]
        return tuple(LossFn("huber", delta) for delta in (*larger, self.delta))

    def value(self, v: Array, y: Array) -> Array:
        if self.name == "ls":
            return (np.exp(v) - y) ** 2
        error = v - np.log(y)
        if self.name == "ls-log":
            return error**2
        if self.name == "lad":
            return np.abs(error)
        size = np.abs(error)
        return np.where(size <= self.delta, error**2 / 2, self.delta * (size - self.delta / 2))

    def derivatives(self, v: Array, y: Array) -> tuple[Array, Array, Array]:
        """First and second in v, and the curvature of a parabola that touches here and lies above (or nearly)."""
        if self.name == "ls":
            fitted = np.exp(v)
            return 2 * fitted * (fitted - y), 2 * fitted * (2 * fitted - y), 2 * fitted**2
        error = v - np.log(y)
        if self.name == "ls-log":
            two = np.full_like(error, 2.0)
            return 2 * error, two, two
        size = np.abs(error)
        inside = size <= self.delta
        above = self.delta / np.maximum(size, self.delta)
        return error * above, inside.astype(float), above


def find(name: str, delta: float = DELTA) -> LossFn:
    """Raises UserError for a name or delta that cannot be used."""
    if name not in ("huber", "lad", "ls", "ls-log"):
        raise UserError(f"no loss {name!r} to fit by; there are huber, lad, ls and ls-log.")
    if not 0 < delta < np.inf:
        raise UserError(f"delta {delta:g} cannot be used; it must be positive and finite, e.g. 1e-3.")
    return LossFn(name, LAD_DELTA if name == "lad" else delta)
