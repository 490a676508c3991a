"""The look that figures share: colours, axes, limits."""

import numpy as np
import pytest
from drawing import ARCHS

from eutectic.analysis.figures import style


def test_looks_tell_architectures_apart() -> None:
    one = style.looks(list(ARCHS), ARCHS)
    bright = [sum(look["color"][:3]) for look in one.values()]
    assert bright == sorted(bright), "the share is not read from the brightness"
    assert len({look["marker"] for look in one.values()}) == 5


def test_families_have_hues_and_shares_shades() -> None:
    shares = {
        **{"gla": 0.0, "hyena": 0.0, "hyena*3+swa": 0.0, "hyena_mr": 0.0, "mamba2": 0.0, "multihyena": 0.0, "swa": 0.0},
        **{"hyena*7+attn": 0.125, "gla*3+attn": 0.25, "hyena*3+attn": 0.25, "mamba2*3+attn": 0.25},
        **{"hyena+attn": 0.5, "hyena+attn*3": 0.75, "attn": 1.0},
    }
    found = style.looks(list(shares), shares)
    assert found["attn"]["color"] == (0.0, 0.0, 0.0)
    assert len({look["marker"] for look in found.values()}) == len(shares) == 14
    assert {look["marker"] for look in found.values()} <= style.SYMBOLS.keys()
    kinds = {kind: [arch for arch in shares if arch.split("*")[0].split("+")[0] == kind] for kind in ("hyena", "gla")}
    kinds["hyena"].remove("hyena*3+swa")
    for archs in kinds.values():
        light = [lab(found[arch]["color"], "any")[0] for arch in archs]
        assert (np.diff(light) < -10).all(), "darker with more attention"
    for vision, least in (("any", 15), ("protan", 10), ("deutan", 10), ("tritan", 8)):
        seen = np.array([lab(look["color"], vision) for look in found.values()])
        apart = np.linalg.norm(seen[:, None] - seen, axis=2) + 1e3 * np.eye(len(seen))
        assert apart.min() > least, vision


def test_what_differs_in_placement_alone_is_told_apart() -> None:
    placed = {f"hyena*3+attn@{where}": 0.25 for where in ("back", "front", "spread")}
    light = [lab(look["color"], "any")[0] for look in style.looks(list(placed), placed).values()]
    assert np.ptp(light) > 30 and np.abs(np.diff(light)).min() > 15


def lab(colour: tuple[float, ...], vision: str) -> np.ndarray:
    """In CIELAB, as those see it who lack a kind of cone (Machado et al. 2009, severity 1)."""
    lacking = {
        "any": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    rgb = np.array(colour)
    linear = np.clip(lacking[vision] @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_hybrids_are_dashed() -> None:
    archs = ("attn", "swa(window=128)", "hyena*3+swa(window=128)", "hyena+attn")
    assert [style.stroke(arch) for arch in archs] == ["-", "-", "--", "--"]
    assert {style.stroke(arch) for arch in archs} == style.STROKES.keys()


def test_an_interval_that_runs_off_leaves_the_values_a_third_of_the_axis() -> None:
    _, (axes,) = style.panels(1)
    axes.set_yscale("log")
    style.bound(axes, [1e4, 1e5], [1e-300, 1e17, np.nan, np.inf])
    low, high = np.log(axes.get_ylim())
    assert np.log(10) / (high - low) == pytest.approx(1 / 3, rel=0.05)
    style.bound(axes, [1e4, 1e5], [9e3, 1.1e5])
    low, high = np.log(axes.get_ylim())
    assert np.exp(low) == pytest.approx(9e3 * 10**-0.05) and np.exp(high) == pytest.approx(1.1e5 * 10**0.05)


def test_open_ends_are_off_the_axis() -> None:
    low, high = style.ends(np.array([0.0, 0.5, np.nan]), np.array([2.0, np.inf, np.nan]))
    assert (low[0], low[1], high[0], high[1]) == (1 / style.FAR, 0.5, 2.0, style.FAR)
    assert np.isnan([low[2], high[2]]).all()


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (18.0, 30.0, ["20", "22.5", "25", "27.5"]),
        (1e5, 3e6, ["100k", "200k", "500k", "1M", "2M"]),
        (1e6, 1e9, ["1M", "1B"]),
    ],
)
def test_log_axes_are_labelled_at_any_span(low: float, high: float, labels: list[str]) -> None:
    drawn, (axes,) = style.panels(1)
    axes.plot([low, high], [low, high])
    axes.set_xlim(low, high)
    style.log_axis(axes, "x")
    drawn.draw_without_rendering()
    shown = [label.get_text() for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert set(labels) <= set(shown)
