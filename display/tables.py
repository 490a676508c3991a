"""How tables begin: a title, and a column for each name that is never wrapped."""

from collections.abc import Collection
from typing import Any

from rich.table import Table


def table_of(*names: str, left: Collection[str] = ("architecture",), **look: Any) -> Table:
    """Columns by name, numbers to the right and what is in `left` to the left. look: title, caption and the like."""
    table = Table(**look)
    for name in names:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    return table
