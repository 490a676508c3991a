"""From a recipe, budgets and architectures to the runs to train, each within 1% of its budget."""

import bisect
import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from eutectic.arch import flops, layout, registry
from eutectic.arch.base import ChannelMixer
from eutectic.config import DataConfig, ModelConfig, RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import match
from eutectic.sweeps.recipe import PowerRule, Recipe, Shape
from eutectic.train.data import windows_per_epoch
from eutectic.train.shards import Manifest

# half a sequence is the most that rounding can miss, so this many keep a row within 1% of its budget
FEWEST_SEQUENCES = 50
FEWEST_STEPS = 10
CONSTANT = PowerRule(1.0, 1.0, 0.0)


@dataclass(frozen=True)
class Tuned:
    """An architecture's own rules, instead of its recipe's. lr_tokens: by the run's tokens, what the rule of `lr` by
    parameters is multiplied with. source: name and version of the tuning they are from."""

    lr: PowerRule
    batch_tokens: PowerRule
    source: str
    lr_tokens: PowerRule = CONSTANT


@dataclass(frozen=True)
class Rules:
    """What a run follows from, beside its architecture, budget, rung and seed. tuned: by architecture; others go by the
    rules of the one that the recipe names, or by its own."""

    recipe: Recipe
    data: DataConfig
    threads: int
    tuned: Mapping[str, Tuned]

    def runs(self, arch: str, budget: float, shape: Shape, seeds: Iterable[int]) -> list[RunConfig]:
        """A run for each seed. Raises UserError where the budget is too small or the architecture cannot be matched."""
        model = _model(self.recipe, self.data, arch, shape)
        if self.recipe.match != "width":
            model = _matched(self.recipe, self.data, model)
        return self.of_model(model, budget, seeds)

    def of_model(self, model: ModelConfig, budget: float, seeds: Iterable[int], before: int = 0) -> list[RunConfig]:
        """The same of a model that is given, on the ladder or not. before: tokens that its weights were trained on, to
        count for the batch with those to come."""
        own = Tuned(self.recipe.lr, self.recipe.batch_tokens, "")
        rules = self.tuned.get(model.layout, self.tuned.get(self.recipe.tuned_like, own))
        row = _row(self.recipe, self.data, model, rules, budget, self.threads, before)
        return [dataclasses.replace(row, seed=seed) for seed in seeds]


def plan(recipe: Recipe, manifest: Manifest, threads: int, tuned: Mapping[str, Tuned] | None = None) -> list[RunConfig]:
    """A row per seed, budget, architecture and size, in that order.

    Raises UserError for an architecture that is none, a budget the ladder cannot bracket, or too small a corpus.
    """
    data = data_of(recipe, manifest)
    recipe = dataclasses.replace(recipe, channel=registry.canonical(recipe.channel, ChannelMixer))
    rules = Rules(recipe, data, threads, tuned or {})
    seeds = tuple(dict.fromkeys(recipe.seeds))
    if max(seeds) >= 2**63:
        raise UserError(f"seed {max(seeds)} is too large; give whole numbers below 2^63.")
    rows = []
    for budget in sorted(set(recipe.budgets)):
        for arch in dict.fromkeys(_arch(recipe, arch) for arch in recipe.archs):
            for shape in _rungs(recipe, data, arch, budget):
                rows += rules.runs(arch, budget, shape, seeds)
    return rows


def within_epochs(recipe: Recipe, manifest: Manifest, runs: Iterable[RunConfig]) -> tuple[list[RunConfig], list[str]]:
    """The runs of a plan that read the text no oftener than the recipe allows, and what is left out, cell by cell."""
    kept, left_out = [], dict[tuple[object, ...], str]()
    for run in runs:
        epochs = run.sequences / windows_per_epoch(manifest.train_tokens, run.data.seq_len)
        if not recipe.max_epochs or epochs <= recipe.max_epochs:
            kept.append(run)
            continue
        model = run.model
        words = f"{model.layout} of width {model.d_model} at {run.budget:.3g}: {epochs:.1f} epochs of the text"
        left_out[model.layout, model.n_layers, model.d_model, run.budget] = words
    return kept, [*left_out.values()]


def _arch(recipe: Recipe, arch: str) -> str:
    """The layout in its canonical form; filters that are made for a length are made for the recipe's."""
    return registry.canonical(registry.filled(arch, "max_length", recipe.seq_len))


def data_of(recipe: Recipe, manifest: Manifest) -> DataConfig:
    """What a recipe's runs read of a corpus. Raises UserError where that is too short."""
    held_out = (manifest.valid_tokens - 1) // recipe.seq_len
    if held_out < 1 or windows_per_epoch(manifest.train_tokens, recipe.seq_len) < 1:
        raise UserError(
            f"corpus {manifest.source!r} gives {manifest.train_tokens} training and {manifest.valid_tokens} validation "
            f"tokens, too few for sequences of {recipe.seq_len}; give more text."
        )
    return DataConfig(
        manifest.source,
        manifest.tokenizer,
        manifest.corpus_sha256,
        manifest.tokenizer_sha256,
        manifest.vocab_size,
        recipe.seq_len,
        min(recipe.valid_sequences, held_out),
    )


def _model(recipe: Recipe, data: DataConfig, arch: str, shape: Shape) -> ModelConfig:
    return ModelConfig(
        arch,
        shape.n_layers,
        shape.d_model,
        shape.n_heads,
        shape.n_kv_heads,
        shape.d_ffn,
        data.vocab_size,
        recipe.n_modes,
        recipe.poles,
        channel=recipe.channel,
        mup_base=recipe.mup_base,
    )


def _matched(recipe: Recipe, data: DataConfig, model: ModelConfig) -> ModelConfig:
    def size(model: ModelConfig) -> int:
        counts = flops.count(model, data.seq_len, recipe.conv_algorithm)
        return counts.params if recipe.match == "params" else counts.training_flops(recipe.convention, data.seq_len)

    return match.to_attention(model, size, recipe.match)


def ladder_of(recipe: Recipe, parsed: layout.Layout) -> list[Shape]:
    """The rungs whose heads the layers of a layout can share out."""
    return [shape for shape in recipe.ladder if shape.n_heads % parsed.head_multiple == 0]


def _rungs(recipe: Recipe, data: DataConfig, arch: str, budget: float) -> list[Shape]:
    """Neighbours on the ladder around the size expected best, as many above it as below.

    Where architectures are matched, all stand on the rungs that pure attention does.
    """
    parsed = layout.parse(arch)
    ladder = ladder_of(recipe, parsed)
    if len(ladder) < recipe.sizes:
        raise UserError(
            f"{arch} needs heads in multiples of {parsed.head_multiple}, which {len(ladder)} shapes of recipe "
            f"{recipe.name!r} have and {recipe.sizes} are needed; use shares of halves or quarters."
        )
    for shape in ladder:
        layout.expand(parsed, shape.n_layers)
    models = [_model(recipe, data, arch, shape) for shape in ladder]
    sized = models
    if recipe.match != "width":
        sized = [dataclasses.replace(model, layout="attn", channel=match.REFERENCE_CHANNEL) for model in models]

    def params(k: int) -> int:
        return flops.count(sized[k], data.seq_len, recipe.conv_algorithm).params

    target = recipe.optimal_params(budget)
    # the nearest by its logarithm: each geometric mean of neighbours below the target has it one rung higher
    steps = range(len(sized) - 1)
    centre = bisect.bisect_left(steps, target, key=lambda k: math.sqrt(params(k) * params(k + 1)))
    half = recipe.sizes // 2
    if centre < half:
        lowest = recipe.optimal_params.reference * (params(half) / recipe.optimal_params.at) ** (
            1 / recipe.optimal_params.exponent
        )
        raise UserError(
            f"budget {budget:.3g} is too small: {half} sizes of {arch} are needed below its expected best of "
            f"{target:,.0f} parameters, and the smallest has {params(0):,}; use about {lowest:.1g} FLOPs or more."
        )
    if centre + half >= len(models):
        raise UserError(
            f"budget {budget:.3g} is too large for the ladder of recipe {recipe.name!r}, whose largest {arch} has "
            f"{params(len(sized) - 1):,} parameters; add shapes to it."
        )
    return ladder[centre - half : centre + half + 1]


def _row(
    recipe: Recipe, data: DataConfig, model: ModelConfig, rules: Tuned, budget: float, threads: int, before: int
) -> RunConfig:
    counts = flops.count(model, data.seq_len, recipe.conv_algorithm)
    sequences = round(budget / counts.training_flops(recipe.convention, data.seq_len))
    if sequences < FEWEST_SEQUENCES:
        raise UserError(
            f"budget {budget:.3g} is too small: it pays for {sequences} sequences of {data.seq_len} tokens through "
            f"{model.layout} of width {model.d_model}, and {FEWEST_SEQUENCES} are needed; raise the budget."
        )
    lr = rules.lr(counts.params) * rules.lr_tokens(sequences * data.seq_len)
    batch_tokens = rules.batch_tokens(before + sequences * data.seq_len)
    micro_batch, batch_size = _batch(recipe, batch_tokens, data.seq_len, sequences)
    return RunConfig(
        recipe=recipe.name,
        budget=budget,
        convention=recipe.convention,
        conv_algorithm=recipe.conv_algorithm,
        data=data,
        model=model,
        optim=dataclasses.replace(recipe.optim, lr=three_digits(lr)),
        sequences=sequences,
        batch_size=batch_size,
        micro_batch=micro_batch,
        evals=recipe.evals,
        precision=recipe.precision,
        threads=threads,
        seed=0,
        match=recipe.match,
        mixers=registry.origins(model.layout, model.channel),
        settings=rules.source,
    )


def _batch(recipe: Recipe, batch_tokens: float, seq_len: int, sequences: int) -> tuple[int, int]:
    """Sequences a forward pass and an optimizer step, the second a multiple of the first.

    The rule's batch is kept to; only a run so short that it would take fewer than FEWEST_STEPS gets a smaller one.
    """
    wished = max(1, round(batch_tokens / seq_len))
    batch = min(wished, sequences // FEWEST_STEPS)
    parts = -(-batch // max(1, recipe.micro_tokens // seq_len))
    micro = -(-batch // parts)
    return micro, micro * parts


def three_digits(value: float) -> float:
    """Rounded so that a learning rate reads well and hashes alike on every machine's libm."""
    return float(f"{value:.3g}")
