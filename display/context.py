"""What models gain from longer contexts, as a table."""

import math

import pandas as pd
from rich.table import Table

from eutectic.display.tables import table_of

COLUMNS = ("context", "documents", "loss", "perplexity", "bits a byte", "change", "95% interval")


def context_table(means: pd.DataFrame) -> Table:
    """Of analysis/context.py's summary."""
    targets = ", ".join(str(n) for n in means["targets"].unique())
    caption = (
        f"nats a token of the last {targets} tokens of documents that are long enough; change: from the shortest "
        "context, in the same documents, and its interval by a bootstrap of documents"
    )
    table = table_of("model", *COLUMNS, left=("model",), caption=caption)
    for model, rows in means.groupby("model", sort=False):
        shortest = rows["context"].min()
        names = [rows["arch"].iloc[0] or "", str(model), *[""] * len(rows)]
        for name, row in zip(names, rows.to_dict("records"), strict=False):
            loss = f"{row['nats']:.4f}", f"{math.exp(row['nats']):.2f}", f"{row['bits_per_byte']:.4f}"
            change = f"{row['change']:+.4f}" if row["context"] > shortest else ""
            interval = f"[{row['low']:+.4f}, {row['high']:+.4f}]" if change and not math.isnan(row["low"]) else ""
            table.add_row(name, f"{row['context']:,}", str(row["documents"]), *loss, change, interval)
        table.add_section()
    return table
