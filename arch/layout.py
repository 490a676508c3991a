"""Layouts: `hyena*3+attn` names a block of sequence mixers that repeats to the model's depth. No torch here."""

import difflib
import re

from eutectic.errors import UserError

# name -> where its class is; adding a mixer is this line and its file
MIXERS = {
    "attn": "eutectic.arch.mixers.attn:Attention",
    "hyena": "eutectic.arch.mixers.hyena:Hyena",
}
_TERM = re.compile(r"([a-z][a-z0-9_]*)(?:\*([1-9][0-9]*))?")


def parse(layout: str) -> list[str]:
    """The block of mixer names a layout repeats: `hyena*3+attn` -> [hyena, hyena, hyena, attn].

    Raises UserError for a term that is not NAME or NAME*COUNT, or a name that is no mixer.
    """
    block: list[str] = []
    for term in layout.split("+"):
        match = _TERM.fullmatch(term.strip())
        if not match:
            raise UserError(
                f"layout {layout!r} has the term {term!r}; write NAME or NAME*COUNT joined by +, e.g. hyena*3+attn."
            )
        name, count = match[1], int(match[2] or 1)
        if name not in MIXERS:
            near = difflib.get_close_matches(name, MIXERS, 1, 0.4)
            hint = f"did you mean {near[0]!r}?" if near else "choose among those."
            raise UserError(f"unknown mixer {name!r} in {layout!r}; there are {', '.join(MIXERS)}: {hint}")
        block += [name] * count
    return block


def expand(layout: str, n_layers: int) -> list[str]:
    """One mixer name per layer. Raises UserError where the block does not divide the depth."""
    block = parse(layout)
    if n_layers % len(block):
        raise UserError(
            f"layout {layout!r} is a block of {len(block)} layers, which does not divide a depth of {n_layers}; "
            f"use a depth that is a multiple of {len(block)}."
        )
    return block * (n_layers // len(block))


def attention_share(layout: str) -> float:
    """Attention's realized share of the sequence mixers."""
    block = parse(layout)
    return block.count("attn") / len(block)
