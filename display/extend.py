"""What a sweep is extended by, and why."""

from collections.abc import Collection, Mapping

from rich.console import Console

from eutectic.analysis.extend import TARGET, Extension
from eutectic.display.words import compute, duration
from eutectic.sweeps.cost import Cost, worker_seconds


def show_extension(console: Console, extension: Extension, costs: Mapping[str, Cost]) -> None:
    """A line for each proposal, their total, and a line for each minimum that is not reached. costs: by run_id."""
    for proposal in extension.proposals:
        own = [costs[run.run_id] for run in proposal.runs]
        console.print(f"{proposal.reason}: {_cost(own)}", soft_wrap=True)
    if extension.proposals:
        console.print(f"in all {_cost(costs.values())}")
    else:
        words = f"every best size lies between those trained, and is known to a factor of {TARGET:g}."
        console.print(f"nothing to add: {words}", soft_wrap=True)
    for limit in extension.limits:
        console.print(f"not reached: {limit}", soft_wrap=True)


def _cost(costs: Collection[Cost]) -> str:
    runs = "1 run" if len(costs) == 1 else f"{len(costs)} runs"
    flops = sum(cost.flops for cost in costs)
    return f"{runs}, {compute(flops)} FLOPs, {duration(worker_seconds(costs, 1))} of a worker"
