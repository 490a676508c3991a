"""The rules of a sweep that is there, from the configs of its runs: to plan more of them exactly as they were."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from eutectic.config import ModelConfig, RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import recipe_file
from eutectic.sweeps.plan import Rules, Tuned
from eutectic.sweeps.recipe import Recipe, Shape
from eutectic.train import shards


def recipe_of(configs: Sequence[RunConfig], folder: Path) -> Recipe:
    """The recipe of these runs, with what they chose of it. folder: of their sweep. Raises UserError where they have
    several, or one that there is not."""
    named = sorted({config.recipe for config in configs})
    if len(named) > 1:
        raise UserError(f"these runs are of several recipes ({', '.join(named)}); extend sweeps of one.")
    one = configs[0]
    return replace(
        recipe_file.find(one.recipe, folder),
        channel=one.model.channel,
        match=one.match,
        source=one.data.source,
        tokenizer=one.data.tokenizer,
        device=one.device,
    )


def settings_of(configs: Sequence[RunConfig]) -> str:
    """The tuning, `name@version`, that these runs were planned by; empty for none. Raises UserError for several."""
    named = sorted({config.settings for config in configs} - {""})
    if len(named) > 1:
        raise UserError(f"these runs were planned by several tunings ({', '.join(named)}); extend sweeps of one.")
    return named[0] if named else ""


def rules_of(recipe: Recipe, configs: Sequence[RunConfig], tuned: Mapping[str, Tuned]) -> Rules:
    """The rules that planned these runs. Raises UserError where they would now plan any of them otherwise."""
    rules = Rules(recipe, configs[0].data, configs[0].threads, tuned)
    for config in configs:
        shape = shape_of(config.model)
        if shape not in recipe.ladder:
            raise UserError(
                f"run {config.run_id} has {shape.n_layers} layers of width {shape.d_model}, which is no rung of recipe "
                f"{recipe.name!r} now; put its ladder back as it was."
            )
        (again,) = rules.runs(config.model.layout, config.budget, shape, [config.seed])
        if again.run_id != config.run_id:
            raise UserError(
                f"recipe {recipe.name!r} plans run {config.run_id} otherwise now ({_difference(config, again)}); "
                "put it back as it was, or sweep anew under another --name."
            )
    return rules


def prepare(configs: Sequence[RunConfig], cache: Path) -> None:
    """Have the tokens that these runs read in the cache. Raises UserError where their corpus is another by now."""
    data = configs[0].data
    made = shards.prepare_for(data, cache)
    if (made.corpus_sha256, made.tokenizer_sha256) != (data.corpus_sha256, data.tokenizer_sha256):
        raise UserError(
            f"corpus {data.source!r} is not what these runs read: its hash is {made.corpus_sha256[:16]} and was "
            f"{data.corpus_sha256[:16]}; put it back as it was."
        )


def shape_of(model: ModelConfig) -> Shape:
    return Shape(model.n_layers, model.d_model, model.n_heads, model.n_kv_heads)


def _difference(then: RunConfig, now: RunConfig) -> str:
    old, new = (
        config.to_dict() | vars(config.model) | vars(config.optim) | vars(config.data) for config in (then, now)
    )
    changed = [k for k in old if old[k] != new[k] and k not in ("model", "optim", "data")]
    return ", ".join(f"{k} was {old[k]} and is {new[k]}" for k in changed)
