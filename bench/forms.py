"""An op's forms beside each other: forward and backward, captured as CUDA graphs, and their errors in float64."""

from collections.abc import Callable

import pandas as pd
import torch
from rows import milliseconds
from torch import Tensor

INPUTS = 3  # in rotation

Form = Callable[..., Tensor]


def there_and_back(run: Form, tensors: list[Tensor], dy: Tensor) -> list[Tensor]:
    """y and all gradients."""
    tensors = [t.requires_grad_() for t in tensors]
    y = run(*tensors)
    return [y.detach(), *torch.autograd.grad(y, tensors, dy)]


def timed(run: Form, tensors: list[Tensor], dy: Tensor, compiled: bool) -> tuple[float, str]:
    """Milliseconds there and back, and what went wrong, where they are infinite."""
    torch.compiler.reset()
    if compiled:
        run = torch.compile(run, dynamic=False)
    try:
        graphs = []
        for _ in range(INPUTS):
            mine = [tensors[0].detach().clone(), *(t.detach() for t in tensors[1:])]
            there_and_back(run, mine, dy)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outcome = there_and_back(run, mine, dy)
            graphs.append((graph, mine, outcome))
        return milliseconds(lambda number: graphs[number % INPUTS][0].replay()), ""
    except Exception as error:
        return float("inf"), f"{type(error).__name__}: {str(error)[:100]}"
    finally:
        torch.cuda.empty_cache()


def worst_error(run: Form, oracle: Form, tensors: list[Tensor], dy: Tensor) -> float:
    """Of y and all gradients, relative, in L2, against the oracle in float64 on the same inputs."""
    got = there_and_back(run, tensors, dy)
    wide = [t.detach().cpu().to(torch.complex128 if t.is_complex() else torch.float64) for t in tensors]
    expected = there_and_back(oracle, wide, dy.cpu().double())
    return max(float((a.cpu() - b).norm() / b.norm()) for a, b in zip(got, expected, strict=True))


def table(found: pd.DataFrame, title: str, script: str) -> str:
    """Markdown of rows with batch, length, channels and perhaps taps, form, ms, limit_ms, worst_error and error."""
    lines = [f"# {title}\n", f"Written by `bench/{script} --table`.\n"]
    lines.append("| device | batch x length x channels | form | ms | over the memory's limit | worst error |")
    lines.append("|---|---|---|--:|--:|--:|")
    shape = [name for name in ("taps", "batch", "length", "channels") if name in found]
    for _, row in found.sort_values(["device", *shape, "ms"]).iterrows():
        size = f"{row['batch']} x {row['length']:,} x {row['channels']:,}"
        if "taps" in found:
            size += f", {row['taps']} taps"
        took = row["error"] or f"{row['ms']:.3f} | {row['ms'] / row['limit_ms']:.1f}"
        lines.append(f"| {row['device']} | {size} | {row['form']} | {took} | {row['worst_error']:.1e} |")
    return "\n".join(lines) + "\n"
