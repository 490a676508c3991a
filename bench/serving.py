"""What serving hybrids costs beside a Transformer: the bytes that decoding keeps, by length, as the formulas have it
and as the tensors are, and the time of a token, of which bench/decode.py leaves rows in results/bench/.

    python bench/serving.py

Writes results/serving/cache.parquet and figures beside it; it takes 6 GB of memory, for one layer's keys and values.
"""

from pathlib import Path

import matplotlib
import pandas as pd
import torch
from figures import save
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from eutectic import files
from eutectic.analysis.figures import style
from eutectic.inference.size import sizes, with_shape

RESULTS = Path("results/serving")
DECODE = Path("results/bench/decode.parquet")
SHAPE, DTYPE = "7b", torch.bfloat16
LENGTHS = tuple(2**k for k in range(10, 21))
PUBLISHED = 32_768  # the length at which StripedHyena's saving is told
SHARES = {"attn": "all attention", "hyena+attn": "50% attention", "hyena*3+attn": "25%", "hyena": "none"}
LOOKS: dict[str, style.Look] = {
    "attn": {"color": "black", "marker": "o"},
    "hyena+attn": {"color": "#56B4E9", "marker": "s"},
    "hyena*3+attn": {"color": "#0072B2", "marker": "D"},
    "hyena": {"color": "#D55E00", "marker": "^"},
    "mamba2": {"color": "#009E73", "marker": "v"},
}


def main() -> None:
    kept = cache_table()
    with files.replacing(files.make_folder(RESULTS) / "cache.parquet") as scratch:
        kept.to_parquet(scratch, index=False)
    with matplotlib.rc_context(style.RC):
        save(cache(kept), RESULTS / "cache")
        if DECODE.exists():
            save(decode(of_one_device(pd.read_parquet(DECODE))), RESULTS / "decode")


def cache_table() -> pd.DataFrame:
    """Bytes of one sequence by architecture and length, by formula and of real tensors of a layer of each kind, and the
    share of the Transformer's that is saved."""
    rows = []
    for layout in SHARES:
        for length in LENGTHS:
            told = {"shape": SHAPE, "dtype": str(DTYPE).removeprefix("torch."), "layout": layout, "length": length}
            found = sizes(with_shape(SHAPE, layout), length, DTYPE)
            rows.append(told | {"bytes": found.total, "measured": found.measured})
    table = pd.DataFrame(rows)
    transformer = table[table["layout"] == "attn"].set_index("length")["bytes"]
    return table.assign(saved=1 - table["bytes"] / table["length"].map(transformer))


def cache(table: pd.DataFrame) -> Figure:
    figure, (whole, saved) = style.panels(2)
    for layout, own in table.groupby("layout", sort=False):
        look = LOOKS[str(layout)] | {"markersize": 4, "label": SHARES[str(layout)]}
        whole.plot(own["length"], own["bytes"] / 1e9, **look)
        if layout != "attn":
            saved.plot(own["length"], own["saved"], **look)
    for share in (0.5, 0.75, 1.0):
        saved.axhline(share, color=style.NEUTRAL, linewidth=0.8, linestyle=":", zorder=1)
    saved.set_ylim(0.4, 1.02)
    saved.yaxis.set_major_formatter(PercentFormatter(1.0))
    whole.set_ylabel("kept of one sequence (GB)")
    saved.set_ylabel("saved of what all attention keeps")
    for axes in (whole, saved):
        length_axis(axes)
    whole.legend()
    style.log_axis(whole, "y")
    at = table[table["length"] == PUBLISHED].set_index("layout")["saved"]
    assert (table["measured"] == table["bytes"]).all(), "the tensors are not what the formulas say"
    text = (
        "What decoding keeps, by the mixers' formulas and, to the byte, of their tensors: StripedHyena-7B's shape, 32 "
        "layers of width 4096 with 8 heads of keys and values in bfloat16, and hyena's states in float32. At "
        f"{PUBLISHED:,} tokens half attention saves {at['hyena+attn']:.2%} and a quarter {at['hyena*3+attn']:.1%}; "
        "half and three quarters of it (dotted) are reached at no length, for "
        "the other layers keep something, too. Computed, not timed: no runs."
    )
    style.below(figure, text)
    return figure


def of_one_device(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of the device and shape that most rows are of."""
    return max((part for _, part in rows.groupby(["device", "layers", "d_model"])), key=len)


def decode(rows: pd.DataFrame) -> Figure:
    figure, (latency, by_length, throughput) = style.panels(3)
    single = rows["rows"].min()
    batches = rows.groupby("length")["rows"].nunique()
    length = batches[batches == batches.max()].index.max()  # the longest of those with most
    for layout in [name for name in LOOKS if name in set(rows["layout"])]:
        own, look = rows[rows["layout"] == layout], LOOKS[layout]
        alone = own[own["rows"] == single].sort_values("length")
        together = own[own["length"] == length].sort_values("rows")
        latency.plot(alone["length"], alone["ms"], markersize=4, label=layout, **look)
        for count, batch in own.sort_values("length").groupby("rows"):
            by_length.plot(batch["length"], batch["tokens_per_second"], markersize=4, **look)
            last = batch.iloc[-1]
            if count != single:
                at, told = (last["length"], last["tokens_per_second"]), {"color": look["color"], "fontsize": 6.5}
                by_length.annotate(str(count), at, xytext=(5, -3), textcoords="offset points", **told)
        throughput.plot(together["rows"], together["tokens_per_second"], markersize=4, label=layout, **look)
    fewest = "one sequence" if single == 1 else f"{single} sequences"
    latency.set_title(fewest)
    latency.set_ylabel("time of a token of each (ms)")
    length_axis(latency)
    by_length.set_title(f"{fewest}, or the number told")
    by_length.set_ylabel("tokens a second, of all")
    length_axis(by_length)
    throughput.set_title(f"after {length:,} tokens each")
    throughput.set_ylabel("tokens a second, of all")
    throughput.set_xlabel("sequences at once")
    throughput.set_xscale("log", base=2)
    throughput.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    style.log_axis(latency, "y")
    style.log_axis(by_length, "y")
    style.log_axis(throughput, "y")
    latency.legend()
    first = rows.iloc[0]
    text = (
        f"Decoding by {first['layers']} layers of width {first['d_model']}, bfloat16 on a GPU, the step compiled and "
        f"captured; medians, states random. {len(rows)} measurements on one {first['device']}."
    )
    style.below(figure, text)
    return figure


def length_axis(axes: Axes) -> None:
    axes.set_xlabel("length (tokens)")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1024:g}k" if value < 2**20 else f"{value / 2**20:g}M")


if __name__ == "__main__":
    main()
