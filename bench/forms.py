"""An op's forms beside each other: forward and backward, captured as CUDA graphs, and their errors against float64."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from types import EllipsisType
from typing import Any

import pandas as pd
import torch
from rows import milliseconds
from torch import Tensor

INPUTS = 3  # in rotation

Form = Callable[..., Tensor]
# of the op's tensors in float64, y in parts, each with its place in y: whole, what a long sequence needs does not fit
Place = tuple[slice | EllipsisType, ...]
Oracle = Callable[..., Iterator[tuple[Place, Tensor]]]


def blocks(channels: int, size: int) -> Iterator[slice]:
    """All channels in order, size at a time."""
    for first in range(0, channels, size):
        yield slice(first, min(first + size, channels))


def there_and_back(run: Form, tensors: list[Tensor], dy: Tensor) -> list[Tensor]:
    """y and all gradients."""
    tensors = [t.requires_grad_() for t in tensors]
    y = run(*tensors)
    return [y.detach(), *torch.autograd.grad(y, tensors, dy)]


def measured(
    run: Form, oracle: Oracle, tensors: list[Tensor], dy: Tensor, compiled: bool, captured: bool = True
) -> dict[str, Any]:
    """Of a form, there and back, ms and, of y and every gradient of that very program, the relative errors in L2.

    captured: as CUDA graphs; else its launches are in the time.

    Columns: ms, error (what went wrong, where ms is infinite), worst_error, error_y and an error_NAME for each of the
    oracle's arguments; no errors where there is no outcome, or no room for float64's.
    """
    ms, outcome, went_wrong = timed(run, tensors, dy, compiled, captured)
    torch.cuda.empty_cache()  # of graphs that are gone
    row = {"ms": ms, "error": went_wrong, "worst_error": float("nan")}
    if outcome is None:
        return row
    try:
        errors = against(oracle, outcome, tensors, dy)
    except torch.OutOfMemoryError:
        return row
    finally:
        torch.cuda.empty_cache()
    return row | {"worst_error": max(errors.values())} | {f"error_{name}": error for name, error in errors.items()}


def timed(
    run: Form, tensors: list[Tensor], dy: Tensor, compiled: bool, captured: bool
) -> tuple[float, list[Tensor] | None, str]:
    """Milliseconds there and back, y and all gradients, and what went wrong, where they are infinite and None."""
    torch.compiler.reset()
    if compiled:
        run = torch.compile(run, dynamic=False)
    calls: list[tuple[Callable[[], object], list[Tensor]]] = []  # with what a graph reads and writes
    try:
        for _ in range(INPUTS):
            mine = [tensors[0].detach().clone(), *(t.detach() for t in tensors[1:])]
            outcome = there_and_back(run, mine, dy)
            torch.cuda.synchronize()
            if captured:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    outcome = there_and_back(run, mine, dy)
                calls.append((graph.replay, mine + outcome))
            else:
                calls.append((partial(there_and_back, run, mine, dy), mine))
        ms = milliseconds(lambda number: calls[number % INPUTS][0]())
        return ms, [t.clone() for t in outcome], ""
    except Exception as error:
        return float("inf"), None, f"{type(error).__name__}: {' '.join(str(error)[:100].split())}"


def against(oracle: Oracle, outcome: list[Tensor], tensors: list[Tensor], dy: Tensor) -> dict[str, float]:
    """Relative errors in L2 of y and all gradients, by name, against the oracle in float64 on the same inputs."""
    wide = [t.detach().to(torch.promote_types(t.dtype, torch.float64)).requires_grad_() for t in tensors]
    y = torch.empty_like(dy, dtype=torch.float64)
    for place, part in oracle(*wide):
        y[place] = part.detach()
        part.backward(dy[place].double())
    names = ["y", *inspect.signature(oracle).parameters]
    expected = [y, *(t.grad for t in wide)]
    return {name: _distance(a, b) for name, a, b in zip(names, outcome, expected, strict=True)}


def _distance(a: Tensor, b: Tensor | None) -> float:
    assert b is not None
    return float((a.to(b.dtype) - b).norm() / b.norm())


def table(found: pd.DataFrame, title: str, script: str, note: str = "") -> str:
    """Markdown of rows with batch, length, channels and perhaps taps, form, ms, limit_ms, worst_error and error.

    checked: the shape of a row's error where that is not its own, as in rows from before each had its own.
    """
    lines = [f"# {title}\n", f"Written by `bench/{script} --table`.{note}\n"]
    checked = found["checked"].dropna().unique() if "checked" in found else ()
    for shape in checked:
        lines.append(f"\\* an error at {shape}, not at the row's own shape.\n")
    lines.append("| device | batch x length x channels | form | ms | over the memory's limit | worst error |")
    lines.append("|---|---|---|--:|--:|--:|")
    shape = [name for name in ("taps", "batch", "length", "channels") if name in found]
    for _, row in found.sort_values(["device", *shape, "ms"]).iterrows():
        size = f"{row['batch']} x {row['length']:,} x {row['channels']:,}"
        if "taps" in found:
            size += f", {row['taps']} taps"
        took = (row["error"].split(".")[0], "") if row["error"] else _took(row)
        error = "" if pd.isna(row["worst_error"]) else f"{row['worst_error']:.1e}"
        if error and pd.notna(row.get("checked")):
            error += " \\*"
        lines.append("| " + " | ".join((row["device"], size, row["form"], *took, error)) + " |")
    return "\n".join(lines) + "\n"


def _took(row: pd.Series) -> tuple[str, str]:
    return f"{row['ms']:.3f}", f"{row['ms'] / row['limit_ms']:.1f}"
