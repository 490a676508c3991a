"""Draws what the other benchmarks have left in results/bench/: operators against their limits, and hybrids' speed.

python bench/figures.py
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eutectic.analysis.figures import style

RESULTS = Path("results/bench")
CHANNELS = 1024
COLOURS = {
    "triton": "#0072B2",
    "direct": "#0072B2",
    "monarch": "#009E73",
    "fft": "#D55E00",
    "fft, filter given": "#CC79A7",
    "chunked": "#E69F00",
    "torch": "#E69F00",
    "conv1d": "#CC79A7",
    "flash-attn-4": "#0072B2",
    "cudnn": "#E69F00",
    "fa2": "#D55E00",
}
LAYOUTS = {"hyena+attn": "#56B4E9", "hyena*3+attn": "#0072B2"}
SHARES = {"hyena+attn": "50% attention", "hyena*3+attn": "25% attention"}


@dataclass(frozen=True)
class Operator:
    """A panel: of a table's rows that are kept, with the FLOPs a token of each length, there and back."""

    title: str
    table: str
    kept: Callable[[pd.DataFrame], pd.Series]
    flops: Callable[[int], float]


OPERATORS = (
    Operator(
        "StripedHyena's operator",
        "gated_modal_conv",
        lambda rows: rows["channels"] == CHANNELS,
        lambda _: 6 * (32 + 2 * 16) * CHANNELS,
    ),
    Operator(
        "FIR of 128 taps",
        "fir",
        lambda rows: (rows["channels"] == CHANNELS) & (rows["taps"] == 128),
        lambda _: 6 * 128 * CHANNELS,
    ),
    Operator(
        "filters as long as sequences",
        "long_conv",
        lambda rows: (rows["form"] != "turned") & (rows["batch"] * rows["length"] >= 16384),
        lambda length: 3 * length * CHANNELS,
    ),
    Operator(
        "scalar decay, RetNet's heads",
        "scalar_decay",
        lambda rows: rows["kind"] == "retention",
        lambda _: 6 * 16 * (64 * (64 + 128) + 2 * 64 * 128),
    ),
    Operator(
        "causal attention, 16 heads of 64",
        "attention",
        lambda rows: rows["kind"] == "small",
        lambda length: 7 * length * CHANNELS,
    ),
)


def main() -> None:
    peaks = pd.read_parquet(RESULTS / "mixers.parquet").groupby("device")["peak_flops"].median()
    with matplotlib.rc_context(style.RC):
        save(operators(peaks), RESULTS / "operators")
        save(speed(), RESULTS / "speed")


def save(figure: Figure, path: Path) -> None:
    for kind in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{kind}"), metadata={"Date": None} if kind == "svg" else None)


def operators(peaks: pd.Series) -> Figure:
    figure, panels = style.panels(len(OPERATORS))
    devices = set()
    for axes, operator in zip(panels, OPERATORS, strict=True):
        rows = pd.read_parquet(RESULTS / f"{operator.table}.parquet")
        rows = rows[operator.kept(rows) & (rows["error"] == "")].sort_values("length")
        devices |= set(rows["device"])
        tokens = rows["batch"] * rows["length"]
        rows = rows.assign(ns=rows["ms"] * 1e6 / tokens, limit=rows["limit_ms"] * 1e6 / tokens)
        for form, own in rows.groupby("form"):
            axes.plot(own["length"], own["ns"], "o-", color=COLOURS[str(form)], markersize=4, label=str(form))
        by_length = rows.groupby("length")["limit"].min()
        axes.plot(by_length.index, by_length, "k--", linewidth=1, label="memory's limit")
        compute = [operator.flops(n) / peaks[rows["device"].iloc[0]] * 1e9 for n in by_length.index]
        axes.plot(by_length.index, compute, "k:", linewidth=1, label="matmuls' limit")
        axes.set_title(operator.title)
        axes.set_xlabel("length (tokens)")
        # with room for the legend, and the uppermost points whole
        axes.set_ylim(min(by_length.min(), *compute) / 30, 1.5 * rows["ns"].replace(float("inf"), 0).max())
        style.log_axis(axes, "x")
        style.log_axis(axes, "y")
        style.y_label(axes, "forward and backward (ns a token)")
        axes.legend(loc="lower center", ncols=2)
    text = (
        f"bfloat16, {CHANNELS} channels; medians over rotated inputs. StripedHyena's operator has 8 pairs of poles, "
        "the FIR a filter for every 16 channels, RetNet 16 heads of 64 by 128. Memory's limit: each tensor read and "
        "written once, at a copy's speed; matmuls' limit: those of the Triton form, and of attention over half its "
        "matrix, at a large matmul's speed. One device:"
    )
    style.below(figure, f"{text} {', '.join(sorted(devices))}.")
    return figure


def speed() -> Figure:
    figure, (long, step) = style.panels(2)
    rows = pd.read_parquet(RESULTS / "long_sequences.parquet")
    rows = rows[(rows["error"] == "") & (rows["layers"] == 4)]
    for attention, stroke in (("best", "o-"), ("fa2", "s--")):
        own = rows[rows["attention"] == attention]
        drawn(long, own, stroke, f", {said(own['library'])}")
    long.set_title("four layers of 7B's shape, batch 1")
    steps = pd.read_parquet(RESULTS / "training_step.parquet")
    steps = steps[(steps["error"] == "") & (steps["kernels"] == "best")]
    steps = steps.assign(seconds=1 / steps["tokens_per_second"])
    for width, stroke in zip(sorted(steps["d_model"].unique()), ("o-", "s--", "^:"), strict=True):
        drawn(step, steps[steps["d_model"] == width], stroke, f", width {width}")
    step.set_title("training steps of 8 layers, 32,768 tokens")
    for axes in (long, step):
        axes.axhline(1.0, color=style.NEUTRAL, linewidth=0.8, linestyle="--", zorder=1)
        axes.set_xlabel("length (tokens)")
        style.log_axis(axes, "x")
        axes.legend()
    long.set_ylabel("speed over all attention")
    text = (
        "Hybrids of hyena and attention beside a Transformer of equal width and depth; bfloat16, compiled; medians. "
        f"Left: forward and backward passes; {more_parameters(rows)} the Transformer's parameters. Right: whole steps "
        f"by AdamW, with {said(steps['attention'])} in all, whose gradients add in a fixed order, as all sums do, at "
        f"the cost of some speed; {more_parameters(steps)} the parameters. One device:"
    )
    devices = sorted({*rows["device"], *steps["device"]})
    style.below(figure, f"{text} {', '.join(devices)}.")
    return figure


def said(names: pd.Series) -> str:
    return " or ".join(sorted(names.unique()))


def more_parameters(rows: pd.DataFrame) -> str:
    """Of each hybrid over the Transformer of its size, at the most."""
    size = "d_model" if "d_model" in rows else "layers"
    by = rows.pivot_table(index=size, columns="layout", values="params")
    return " and ".join(
        f"{SHARES[layout]} has {'up to ' if len(by) > 1 else ''}{(by[layout] / by['attn']).max():.3f} times"
        for layout in LAYOUTS
    )


def drawn(axes: Axes, rows: pd.DataFrame, stroke: str, name: str) -> None:
    by = rows.pivot_table(index="length", columns="layout", values="seconds")
    for layout, colour in LAYOUTS.items():
        axes.plot(
            by.index, by["attn"] / by[layout], stroke, color=colour, markersize=4, label=f"{SHARES[layout]}{name}"
        )


if __name__ == "__main__":
    main()
