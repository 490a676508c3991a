"""Models that stand outside sweeps, such as Hugging Face's: a text for them, and what stands in for the run."""

from dataclasses import replace
from pathlib import Path

from eutectic.arch import flops
from eutectic.config import DataConfig, ModelConfig, RunConfig
from eutectic.errors import UserError
from eutectic.inference.load import Trained
from eutectic.sweeps import plan
from eutectic.sweeps.recipe import Recipe
from eutectic.train import shards
from eutectic.train.shards import Manifest
from eutectic.train.tokenizer import OWN, Tokenizer


def run_of(
    found: Trained, source: str, recipe: Recipe, cache: Path, identify: bool = False
) -> tuple[RunConfig, Manifest]:
    """What stands in for the run of a model that reads another text than it was trained on, and that text's tokens, by
    the model's own tokenizer: its run, or, of a model without one, a run of no sequences by the recipe's rules.

    identify: leave nothing in the cache. Raises UserError where the text is too short.
    """
    own = _named(found.tokenizer)
    by = "bytes" if own.name == "bytes" else own
    manifest = (shards.identify if identify else shards.prepare)(source, by, cache)
    if found.run is not None:
        told = found.run.data
        rules = replace(recipe, seq_len=told.seq_len, valid_sequences=told.valid_sequences)
        return replace(found.run, data=_data(rules, manifest, own)), manifest
    return _untrained(found.shape, recipe, _data(recipe, manifest, own)), manifest


def _data(recipe: Recipe, manifest: Manifest, own: Tokenizer) -> DataConfig:
    found = plan.data_of(recipe, manifest)
    if found.valid_sequences < 2:
        raise UserError(
            f"corpus {manifest.source!r} holds out one window of {recipe.seq_len} tokens, and two are needed to tell "
            "an error; give more text."
        )
    rest = sorted(own.ends - {own.separator})
    return replace(found, begin=own.begin, ends=(own.separator, *rest))


def _named(own: Tokenizer) -> Tokenizer:
    """By its contents, whatever its folder is called and whichever corpus it was made of."""
    return own if own.name == "bytes" else replace(own, name=f"{OWN}{own.sha256[:8]}")


def _untrained(shape: ModelConfig, recipe: Recipe, data: DataConfig) -> RunConfig:
    counts = flops.count(shape, data.seq_len, recipe.conv_algorithm)
    micro_batch = max(1, recipe.micro_tokens // data.seq_len)
    return RunConfig(
        recipe=recipe.name,
        budget=0.0,
        convention=recipe.convention,
        conv_algorithm=recipe.conv_algorithm,
        data=data,
        model=shape,
        optim=replace(recipe.optim, lr=plan.three_digits(recipe.lr(counts.params))),
        sequences=0,
        batch_size=micro_batch,
        micro_batch=micro_batch,
        evals=recipe.evals,
        precision=recipe.precision,
        threads=1 if recipe.device == "cpu" else 0,
        seed=0,
    )
