"""What became of a model that was distilled or pruned, as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from eutectic.display.tables import table_of

Row = Mapping[str, Any]


def distill_table(rows: Sequence[Row]) -> Table:
    """A row for each layer."""
    first = rows[0]
    before, after = first["perplexity_before"], first["perplexity"]
    caption = (
        f"order: real states, mean over channels and the most; error: relative L2 over {first['length']} tokens; peak: "
        "the largest error at any frequency, of the median channel, beside the bounds of Hankel singular values; held: "
        "channels within the upper one"
    )
    columns = ("layer", "was", "filters", "order", "modes", "error", "worst", "peak", "lower", "upper", "held")
    title = f"perplexity {before:.4g} -> {after:.4g} ({after / before - 1:+.2%}), {first['n_modes']} modes"
    table = table_of(*columns, left=("was",), title=title, caption=caption)
    for row in rows:
        table.add_row(
            str(row["layer"]),
            row["mixer"].partition("(")[0],
            f"{row['channels']:,}",
            f"{row['order_mean']:.1f}, {row['order_max']}",
            str(row["modes_max"]),
            *(f"{row[name]:.1e}" for name in ("error", "error_max", "peak", "lower", "upper")),
            f"{row['within_bound']:.0%}",
        )
    return table


def prune_table(rows: Sequence[Row]) -> Table:
    """A row for each number of modes, the unpruned model first; ratios are over its."""
    first = rows[0]
    caption = (
        f"error: relative L2 of filters over {first['length']} tokens, median and largest; judged: perplexity of half "
        "the held-out text, which decides; reported: of the other half; bytes of one sequence; x: over the first row's"
    )
    columns = ("modes", "error", "worst", "judged", "reported", "state bytes", "x", "ms a token", "x", "budget")
    table = table_of(*columns, left=("budget",), title=f"{first['arch']} on {first['device']}", caption=caption)
    for row in rows:
        table.add_row(
            str(row["modes"]),
            *(f"{row[name]:.1e}" for name in ("error", "error_max")),
            *(f"{row[n]:.4g} ({row[n] / first[n] - 1:+.2%})" for n in ("judged_perplexity", "perplexity")),
            f"{row['state_bytes']:,}",
            f"{row['state_bytes'] / first['state_bytes']:.3f}",
            f"{row['decode_ms']:.3f}",
            f"{row['decode_ms'] / first['decode_ms']:.2f}",
            "within" if row["within_budget"] else "over",
        )
    return table
