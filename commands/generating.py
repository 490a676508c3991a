"""generate and cache."""

import dataclasses
from typing import TYPE_CHECKING

from eutectic.arguments import Options
from eutectic.cli import print_json
from eutectic.commands.console import out
from eutectic.commands.loading import trained
from eutectic.errors import UserError
from eutectic.values import numbers

if TYPE_CHECKING:
    from eutectic.inference.load import Trained


def generate(options: Options) -> int:
    """Continue prompts; the only one as its text becomes certain, several when all have ended."""
    if not 0 < options.top_p <= 1:
        raise UserError(f"--top-p {options.top_p} is not a probability; give one above 0, up to 1.")
    if "" in options.stop:
        raise UserError("--stop '' would end every text at once; give some text, or leave it out.")
    for prompt in options.prompt:
        if any("\ud800" <= character <= "\udfff" for character in prompt):
            raise UserError(f"--prompt {prompt!r} is not text in UTF-8; encode it so.")
    model = trained(options.checkpoint, options.device)
    _refuse_too_long(options, model)
    from eutectic.inference.generate import Limits
    from eutectic.inference.generate import generate as continue_texts
    from eutectic.inference.sample import Sampling

    limits = Limits(options.tokens, tuple(options.stop))
    sampling = Sampling(0.0 if options.greedy else options.temperature, options.top_k, options.top_p, options.seed)
    alone = len(options.prompt) == 1 and not options.json
    if alone:
        print(options.prompt[0], end="", flush=True)
    heard = (lambda number, text: print(text, end="", flush=True)) if alone else (lambda number, text: None)
    texts = continue_texts(model.model, model.tokenizer, options.prompt, limits, sampling, options.rows, heard)
    if options.json:
        told = [{"prompt": options.prompt[t.number], "text": t.text, "ended": t.ended, "ids": t.ids} for t in texts]
        print_json(told)
    elif alone:
        print()
    else:
        for text in texts:
            print(f"{options.prompt[text.number]}{text.text}\n")
    return 0


def _refuse_too_long(options: Options, model: "Trained") -> None:
    """States have room for all that may be written from the start."""
    from eutectic.sweeps.cost import available_memory

    weight = model.model.embedding.weight
    rows = min(options.rows, len(options.prompt))
    needed = rows * model.model.state_size(options.tokens).bytes(weight.dtype)
    has = available_memory(weight.device.type, 1)
    if needed > has:
        raise UserError(
            f"--tokens {options.tokens} of {rows} texts needs {needed / 1e9:.3g} GB of states, and there are "
            f"{has / 1e9:.3g} here; give fewer tokens or --rows."
        )


def cache(options: Options) -> int:
    """Show what decoding keeps; of what half of the memory here does not hold, by formula alone."""
    import torch

    from eutectic.display.cache import cache_table
    from eutectic.inference.size import sizes, with_shape
    from eutectic.sweeps.cost import available_memory

    lengths = numbers(options.lengths, int, "--lengths")
    archs = [word for part in options.archs for word in part]
    dtype = getattr(torch, options.dtype)
    most = available_memory("cpu", 2)
    shapes = {arch: with_shape(options.shape, arch) for arch in archs}
    found = {arch: [sizes(shape, length, dtype, most) for length in lengths] for arch, shape in shapes.items()}
    if options.json:
        print_json({arch: [dataclasses.asdict(of) for of in rows] for arch, rows in found.items()})
    else:
        out().print(cache_table(found))
    return 0
