"""What decoding keeps, as a table."""

import math
from collections.abc import Mapping, Sequence

from rich.table import Table

from eutectic.inference.size import Sizes


def cache_table(found: Mapping[str, Sequence[Sizes]]) -> Table:
    """By architecture, length and kind of layer, and what each saves beside the first architecture."""
    name, first = next(iter(found.items()))
    caption = (
        f"bytes of one sequence; measured: of tensors with room for so many tokens, where memory holds them; saved: of "
        f"{name}'s, rounded down"
    )
    table = Table(caption=caption)
    for column in ("architecture", "length", "layers", "one, by formula", "measured", "all", "saved"):
        table.add_column(column, justify="left" if column in ("architecture", "layers") else "right")
    for arch, rows in found.items():
        for row, reference in zip(rows, first, strict=True):
            for kind in row.kinds:
                places = arch, f"{row.length:,}", f"{kind.layers} {kind.kind}"
                measured = "" if kind.measured is None else f"{kind.measured:,}"
                table.add_row(*places, f"{kind.formula:,}", measured, f"{kind.layers * kind.formula:,}")
            # downwards: what comes near to a half must not read as one
            saved = "" if arch == name else f"{math.floor(1e4 * (1 - row.total / reference.total)) / 100:.2f}%"
            table.add_row(arch, f"{row.length:,}", "all", "", "", f"{row.total:,}", saved, end_section=True)
    return table
