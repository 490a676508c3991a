"""Sweeps of grafts: a trained parent with other mixers, trained on at extra budgets, and the same from scratch."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eutectic.arch import layout, registry
from eutectic.arch.model import Model
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.inference import graft
from eutectic.inference.load import load
from eutectic.inference.score import held_out
from eutectic.sweeps import foreign
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.plan import Rules
from eutectic.sweeps.recipe import Recipe
from eutectic.train import checkpoint, starts
from eutectic.train.shards import Manifest
from eutectic.train.starts import Origin, Start


@dataclass(frozen=True)
class Parent:
    """A trained run and its model. sweep: the folder of its sweep; flops: all compute behind its weights; loss: on
    validation, as it was logged; sha256: of the weights."""

    run: RunConfig
    model: Model
    sweep: Path
    flops: float
    loss: float
    sha256: str


def parent_of(path: Path, cache: Path) -> Parent:
    """The run of a folder, its model on the CPU. Raises UserError where it is none that a sweep has trained."""
    folder = (path if path.is_dir() else path.parent).resolve()
    trained = load(path, cache, lambda run: foreign.load(run, folder.parents[1]))
    if trained.run is None:
        raise UserError(f"{path} is no run of a sweep, whose data its mixers would be regressed on; name such a run.")
    row = Ledger(folder.parents[1]).row(trained.run.run_id)
    if row.get("status") != "done":
        raise UserError(f"run {trained.run.run_id} is not done in {folder.parents[1]}; graft one that is.")
    flops = row["flops"] + (row["parent_flops"] or 0.0) + (row["graft_flops"] or 0.0)
    sha256 = checkpoint.sha256_of({name: p.detach() for name, p in trained.model.named_parameters()})
    return Parent(trained.run, trained.model, folder.parents[1], flops, row["loss"], sha256)


def canonical(run: RunConfig, arch: str) -> str:
    """A layout for the parent's shape. Raises UserError for one that does not fit it."""
    named = registry.canonical(registry.filled(arch, "max_length", run.data.seq_len))
    parsed = layout.parse(named)
    layout.expand(parsed, run.model.n_layers)
    if run.model.n_heads % parsed.head_multiple:
        raise UserError(
            f"{named} needs heads in multiples of {parsed.head_multiple}, and the parent has {run.model.n_heads}; "
            "use other shares."
        )
    return named


def plan(
    parent: Parent, recipe: Recipe, archs: Iterable[str], budgets: Iterable[float], seeds: Sequence[int]
) -> list[RunConfig]:
    """For each layout and extra budget the runs that train on, by the recipe's rules: with the parent's learning rate
    and the batch of all tokens since its start. The starts are not in them yet."""
    rules = _rules(parent, recipe)
    return [
        replace(run, optim=replace(run.optim, lr=parent.run.optim.lr))
        for arch in archs
        for budget in budgets
        for run in rules.of_model(replace(parent.run.model, layout=arch), budget, seeds, parent.run.tokens)
    ]


def from_scratch(parent: Parent, recipe: Recipe, grafted: Iterable[RunConfig], tokens: int) -> list[RunConfig]:
    """For each of these runs one of the same model with all its compute: the parent's, the regression's and its own."""
    rules, found = _rules(parent, recipe), list[RunConfig]()
    for run in grafted:
        total = parent.flops + graft.flops(parent.run, run.model.layout, tokens) + run.budget
        found += rules.of_model(run.model, float(f"{total:.4g}"), [run.seed])
    return found


def _rules(parent: Parent, recipe: Recipe) -> Rules:
    """All have the channel mixers that the parent has, whatever made those comparable."""
    return Rules(replace(recipe, match="width"), parent.run.data, 1 if recipe.device == "cpu" else 0, {})


def start_of(parent: Parent, arch: str, manifest: Manifest, tokens: int, sweep: Path) -> tuple[str, Start]:
    """What runs of a layout begin from, by its hash: as the sweep has it, or made and kept there now."""
    run = parent.run
    taught = graft.steps_of(run, arch, tokens) * run.micro_batch * run.data.seq_len
    origin = Origin(run.run_id, parent.sha256, arch, taught)
    if known := starts.find(sweep, origin):
        return known
    child, report = graft.graft(parent.model, run, arch, manifest, tokens)
    loss = float(graft.window_losses(child, held_out(run, manifest), run.precision == "bf16").mean())
    layers = [asdict(replaced) for replaced in report.layers]
    start = Start(origin, parent.flops, parent.loss, report.flops, loss, layers)
    return starts.write(child, sweep, start), start
