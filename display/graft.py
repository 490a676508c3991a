"""What replacing each layer's mixer costs, and what grafts come to."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from eutectic.analysis.graft import Grafts, Point
from eutectic.display.tables import table_of
from eutectic.display.words import compute

if TYPE_CHECKING:  # it imports torch, which showing grafts does without
    from eutectic.inference.graft import Sensitivity


def show_scan(console: Console, found: "Sequence[Sensitivity]", layouts: Mapping[int, str]) -> None:
    """layouts: by how many layers they replace, those of the least rise."""
    names = ("layer", "from", "to", "error as drawn", "as regressed", "loss", "rise")
    words = "error: relative L2, of the new mixer's outputs. Rise: over the parent's loss, ± its standard error over "
    table = table_of(
        *names,
        left=("from", "to"),
        title="one layer's mixer replaced, all else as it was",
        caption=f"{words}validation windows",
    )
    for one in found:
        layer = one.replaced
        rise = f"{one.rise:+.4f} ± {one.error:.4f}"
        errors = f"{layer.before:.3f}", f"{layer.after:.3f}"
        table.add_row(str(layer.layer), layer.old, layer.new, *errors, f"{one.loss:.4f}", rise)
    console.print(table)
    for count, arch in layouts.items():
        console.print(f"{count} least sensitive: --archs '{arch}'", soft_wrap=True)


def show_grafts(console: Console, found: Sequence[Grafts]) -> None:
    """A table for each parent."""
    for grafts in found:
        _show(console, grafts)


def _show(console: Console, grafts: Grafts) -> None:
    names = ("architecture", "regression", "loss after it", "extra FLOPs", "trained on", "from scratch", "gained")
    left_out = f", {grafts.left_out} more did not end" if grafts.left_out else ""
    parent = f"{grafts.arch} of width {grafts.d_model}"
    known = not math.isnan(grafts.flops)
    spent, behind = (f" by {compute(grafts.flops)} FLOPs", "the parent's and these") if known else ("", "these alone")
    table = table_of(
        *names,
        title=f"grafts of {parent}, which has a loss of {grafts.loss:.4f}{spent}",
        caption=f"extra: FLOPs beyond the parent's, the regression's included; from scratch: with {behind}. Gained: "
        f"nats over starting from scratch. {grafts.runs} runs{left_out}, seeds {_list(grafts.seeds)}, brackets: 95%. "
        f"FLOPs by {grafts.convention}, {grafts.tokenizer} tokens",
    )
    for arch in grafts.archs:
        begin = grafts.begins[arch]
        regression = compute(begin.flops) if begin.flops else "-"
        for cell in grafts.of(arch):
            own, beside = cell.trained_on, cell.scratch
            scratch = (_loss(beside), f"{beside.loss - own.loss:+.4f}") if beside else ("", "")
            table.add_row(arch, regression, f"{begin.loss:.4f}", compute(own.extra), _loss(own), *scratch)
    console.print(table)


def _loss(point: Point) -> str:
    brackets = "" if math.isnan(point.low) else f" [{point.low:.4f}, {point.high:.4f}]"
    return f"{point.loss:.4f}{brackets}"


def _list(seeds: Sequence[int]) -> str:
    return " ".join(map(str, seeds))
