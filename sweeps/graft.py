"""Sweeps of grafts: a trained parent with other mixers, trained on at extra budgets, and the same from scratch."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eutectic.arch import layout, registry
from eutectic.arch.model import Model
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.inference import export, graft
from eutectic.inference.load import load
from eutectic.inference.score import held_out
from eutectic.sweeps import foreign, outside, replan
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.plan import Rules
from eutectic.sweeps.recipe import Recipe
from eutectic.train import checkpoint, starts
from eutectic.train.shards import Manifest
from eutectic.train.starts import Origin, Start

SHARE = 0.1  # of training tokens, that new mixers are regressed on by default


@dataclass(frozen=True)
class Parent:
    """A trained model and its run, or what stands in for one. name: of its sweep, or of its folder outside sweeps;
    mixers: where those from files are kept. recipe: by which its grafts are planned. flops: all compute behind its
    weights, None where nobody knows; loss: on validation, as it was logged, None where it was not; sha256: of the
    weights; taught: tokens that new mixers are regressed on by default."""

    run: RunConfig
    model: Model
    name: str
    mixers: Path
    recipe: Recipe
    flops: float | None
    loss: float | None
    sha256: str
    taught: int


@dataclass(frozen=True)
class Choice:
    """What a graft is to have otherwise than its parent's run: the text, by its source, the recipe and the device. A
    model without a run has no text, the CPU, and the recipe `quick`, or `gpu` there."""

    source: str | None = None
    recipe: Recipe | None = None
    device: str | None = None


def parent_of(path: Path, cache: Path, choice: Choice, dry: bool = False) -> Parent:
    """The model of a run, or of any folder that inference/load.py reads, on the CPU. dry: leave nothing in the cache.

    Raises UserError for a run that is not done, and where nothing tells which text it would be.
    """
    folder = (path if path.is_dir() else path.parent).resolve()
    sweep = folder.parent.parent
    trained = load(path, cache, lambda run: foreign.load(run, sweep))
    within = folder.parent.name == "runs" and not export.is_exported(folder)
    if trained.run and within:
        flops, loss = _ended(Ledger(sweep), trained.run)
    else:
        flops, loss = trained.run.budget if trained.run and not trained.run.start else None, None
    recipe = _recipe(trained.run, sweep, choice)
    sha256 = checkpoint.sha256_of({name: p.detach() for name, p in trained.model.named_parameters()})
    if choice.source:
        run, manifest = outside.run_of(trained, choice.source, recipe, cache, identify=dry)
        taught = round(SHARE * (run.tokens or manifest.train_tokens))
    elif trained.run:
        run, taught = trained.run, round(SHARE * trained.run.tokens)
    else:
        raise UserError(f"nothing tells what text {path} was trained on; give some to graft it on, by --source.")
    if choice.source or not within:
        run, loss = replace(run, start=sha256), None  # whose name no run that is trained has
    recipe = replace(recipe, source=run.data.source, tokenizer=run.data.tokenizer, channel=run.model.channel)
    name = sweep.name if within else folder.name
    return Parent(run, trained.model, name, sweep / "mixers", recipe, flops, loss, sha256, taught)


def _ended(ledger: Ledger, run: RunConfig) -> tuple[float | None, float]:
    """All FLOPs behind a run's weights, and its loss."""
    row = ledger.row(run.run_id)
    if row.get("status") != "done":
        raise UserError(f"run {run.run_id} is not done in {ledger.folder}; graft one that is.")
    if not run.start:
        return row["flops"], row["loss"]
    behind = row["parent_flops"]
    return None if behind is None else row["flops"] + behind + row["graft_flops"], row["loss"]


def _recipe(run: RunConfig | None, sweep: Path, choice: Choice) -> Recipe:
    """That which is chosen, or which planned a run, whatever its model became since then."""
    if choice.recipe:
        found = choice.recipe
    elif run is None:
        found = recipes.find("gpu" if choice.device == "cuda" else "quick")
    else:
        name = run.recipe.partition(",")[0]
        if name not in recipes.names() and not (sweep / "recipes" / f"{name}.py").exists():
            raise UserError(
                f"the recipe {name!r}, which planned the run of that model, is not here; choose by --recipe."
            )
        found = replan.recipe_of([replace(run, recipe=name)], sweep)
    return replace(found, device=choice.device or (run.device if run else found.device))


def measured(parent: Parent, manifest: Manifest) -> Parent:
    """With the loss on its text, where that was not logged."""
    if parent.loss is not None:
        return parent
    run = parent.run
    losses = graft.window_losses(parent.model, held_out(run, manifest), run.precision == "bf16")
    return replace(parent, loss=float(losses.mean()))


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


def plan(parent: Parent, archs: Iterable[str], budgets: Iterable[float], seeds: Sequence[int]) -> list[RunConfig]:
    """For each layout and extra budget the runs that train on, by the recipe's rules: with the parent's learning rate
    and the batch of all tokens since its start. The starts are not in them yet."""
    rules = _rules(parent)
    return [
        replace(run, optim=replace(run.optim, lr=parent.run.optim.lr))
        for arch in archs
        for budget in budgets
        for run in rules.of_model(replace(parent.run.model, layout=arch), budget, seeds, parent.run.tokens)
    ]


def from_scratch(parent: Parent, grafted: Iterable[RunConfig], tokens: int) -> list[RunConfig]:
    """For each of these runs one of the same model with all its compute: the parent's, as far as it is known, the
    regression's and its own."""
    rules, found = _rules(parent), list[RunConfig]()
    for run in grafted:
        total = (parent.flops or 0.0) + graft.flops(parent.run, run.model.layout, tokens) + run.budget
        found += rules.of_model(run.model, float(f"{total:.4g}"), [run.seed])
    return found


def _rules(parent: Parent) -> Rules:
    """All have the channel mixers that the parent has, whatever made those comparable."""
    recipe = replace(parent.recipe, match="width")
    return Rules(recipe, parent.run.data, 1 if recipe.device == "cpu" else 0, {})


def start_of(parent: Parent, arch: str, manifest: Manifest, tokens: int, sweep: Path) -> tuple[str, Start]:
    """What runs of a layout begin from, by its hash: as the sweep has it, or made and kept there now. parent: whose
    loss is known."""
    run = parent.run
    assert parent.loss is not None
    taught = graft.steps_of(run, arch, tokens) * run.micro_batch * run.data.seq_len
    origin = Origin(run.run_id, parent.sha256, arch, taught)
    if known := starts.find(sweep, origin):
        return known
    child, report = graft.graft(parent.model, run, arch, manifest, tokens)
    loss = float(graft.window_losses(child, held_out(run, manifest), run.precision == "bf16").mean())
    layers = [asdict(replaced) for replaced in report.layers]
    start = Start(origin, parent.flops, parent.loss, report.flops, loss, layers)
    return starts.write(child, sweep, start), start
