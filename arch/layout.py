"""Layouts: text that names a stack of mixers, read without torch.

    hyena*3+attn            a block that repeats to the model's depth; as long as the depth, it is an explicit list
    hyena*3+attn@middle     the block's ratio over the whole depth; what is not of its first kind stands in the middle
    swa(window=128)+attn    options of a mixer
    [mamba2*3|attn]+mamba2  mixers side by side in one layer, with 3/4 and 1/4 of its channels

Placements of the kinds after the first, mixed evenly among themselves: `spread` apart, at the `front`, in the `middle`,
at the `back`, or half at each of the `ends`. Ratios are rounded to whole layers by largest remainder.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from eutectic.errors import UserError

PLACEMENTS = ("spread", "front", "middle", "back", "ends")
_NAME = r"[a-z][a-z0-9_]*"
_TERM = re.compile(rf"({_NAME})(?:\(([^()]*)\))?(?:\*([1-9][0-9]*))?")
_OPTION = re.compile(rf"({_NAME})=([A-Za-z0-9_.+-]+)")


@dataclass(frozen=True)
class MixerTerm:
    """A mixer's name and its options as written."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.name + (f"({','.join(f'{k}={v}' for k, v in self.options)})" if self.options else "")


@dataclass(frozen=True)
class LayerTerm:
    """One layer: mixers side by side, each with its share of the channels; nearly always one with all of them."""

    parts: tuple[tuple[MixerTerm, Fraction], ...]

    def __str__(self) -> str:
        if len(self.parts) == 1:
            return str(self.parts[0][0])
        common = min(share for _, share in self.parts)
        weights = [share / common for _, share in self.parts]
        scale = max(weight.denominator for weight in weights)
        texts = [(str(term), int(weight * scale)) for (term, _), weight in zip(self.parts, weights, strict=True)]
        return f"[{'|'.join(text if n == 1 else f'{text}*{n}' for text, n in texts)}]"

    def share(self, name: str) -> Fraction:
        return sum((share for term, share in self.parts if term.name == name), Fraction(0))


@dataclass(frozen=True)
class Layout:
    block: tuple[LayerTerm, ...]
    placement: str | None = None

    def __str__(self) -> str:
        runs: list[tuple[LayerTerm, int]] = []
        for layer in self.block:
            if runs and runs[-1][0] == layer:
                runs[-1] = (layer, runs[-1][1] + 1)
            else:
                runs.append((layer, 1))
        text = "+".join(str(layer) if n == 1 else f"{layer}*{n}" for layer, n in runs)
        return f"{text}@{self.placement}" if self.placement else text

    def share(self, name: str) -> float:
        """A mixer's share of the block's channels, each layer counting one."""
        return float(sum(layer.share(name) for layer in self.block) / len(self.block))

    def with_terms(self, change: Callable[[MixerTerm], MixerTerm]) -> "Layout":
        """The same layout of changed mixers."""
        block = (LayerTerm(tuple((change(term), share) for term, share in layer.parts)) for layer in self.block)
        return Layout(tuple(block), self.placement)

    @property
    def head_multiple(self) -> int:
        """What a model's number of heads must be a multiple of, for mixers side by side to have whole heads."""
        return math.lcm(*(share.denominator for layer in self.block for _, share in layer.parts))


def parse(text: str) -> Layout:
    """Read a layout. Raises UserError for what is not one; whether its mixers exist, the registry says."""
    body, at, placement = text.partition("@")
    if at and placement not in PLACEMENTS:
        raise UserError(f"layout {text!r} has the placement {placement!r}; there are {', '.join(PLACEMENTS)}.")
    block: list[LayerTerm] = []
    for part in _split(body, "+"):
        inside = re.fullmatch(r"\[(.*)\](?:\*([1-9][0-9]*))?", part)
        if inside:
            weighted = [_term(text, side) for side in _split(inside[1], "|")]
            total = sum(weight for _, weight in weighted)
            layer = LayerTerm(tuple((term, Fraction(weight, total)) for term, weight in weighted))
            block += [layer] * int(inside[2] or 1)
        else:
            term, count = _term(text, part)
            block += [LayerTerm(((term, Fraction(1)),))] * count
    layout = Layout(tuple(block), placement or None)
    if layout.placement and len(set(block)) == 1:
        raise UserError(f"layout {text!r} places layers of one kind; leave {'@' + placement!r} out.")
    return layout


def expand(layout: Layout, n_layers: int) -> list[LayerTerm]:
    """The stack, a term per layer. Raises UserError where the layout does not fit the depth."""
    if layout.placement:
        return _placed(layout, n_layers)
    block = list(layout.block)
    if n_layers % len(block):
        raise UserError(
            f"layout {str(layout)!r} is a block of {len(block)} layers, which does not divide a depth of {n_layers}; "
            f"use a depth that is a multiple of {len(block)}, or a placement such as {str(layout) + '@spread'!r}."
        )
    return block * (n_layers // len(block))


def stack(layers: list[LayerTerm]) -> str:
    """The realized stack as a layout that lists it."""
    return str(Layout(tuple(layers)))


def attention_share(layers: list[LayerTerm]) -> float:
    """Realized share of full attention among the sequence mixers, a side-by-side layer counting by channels."""
    return Layout(tuple(layers)).share("attn")


def _split(text: str, separator: str) -> list[str]:
    """Parts between separators that stand outside brackets and parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _term(layout: str, text: str) -> tuple[MixerTerm, int]:
    """`swa(window=8)*3` -> the mixer and 3."""
    match = _TERM.fullmatch(text)
    options = [_OPTION.fullmatch(option) for option in _split(match[2], ",")] if match and match[2] else []
    if not match or not all(options):
        raise UserError(
            f"layout {layout!r} has the term {text!r}; write NAME, NAME*COUNT or NAME(OPTION=VALUE) joined by +, "
            "e.g. hyena*3+attn."
        )
    given = sorted((o[1], o[2]) for o in options if o)
    if len(dict(given)) < len(given):
        raise UserError(f"layout {layout!r} sets an option twice in {text!r}; leave one.")
    return MixerTerm(match[1], tuple(given)), int(match[3] or 1)


def _placed(layout: Layout, n_layers: int) -> list[LayerTerm]:
    counts = Counter(layout.block)
    base, *others = counts
    whole = _largest_remainder([Fraction(n, len(layout.block)) for n in counts.values()], n_layers)
    if 0 in whole:
        missing = list(counts)[whole.index(0)]
        raise UserError(
            f"layout {str(layout)!r} gives a depth of {n_layers} no layer of {missing}; use a greater depth."
        )
    # the j-th of n layers of a kind is due at (j + 1/2) / n
    due = [(Fraction(2 * j + 1, 2 * n), k) for k, n in enumerate(whole[1:]) for j in range(n)]
    placed = [others[k] for _, k in sorted(due)]
    layers = [base] * n_layers
    for position, layer in zip(_positions(str(layout.placement), len(placed), n_layers), placed, strict=True):
        layers[position] = layer
    return layers


def _positions(placement: str, count: int, n_layers: int) -> list[int]:
    first = -(-count // 2)
    return {
        "spread": [(2 * i + 1) * n_layers // (2 * count) for i in range(count)],
        "front": list(range(count)),
        "middle": list(range((n_layers - count) // 2, (n_layers - count) // 2 + count)),
        "back": list(range(n_layers - count, n_layers)),
        "ends": [*range(first), *range(n_layers - count + first, n_layers)],
    }[placement]


def _largest_remainder(shares: list[Fraction], total: int) -> list[int]:
    whole = [int(share * total) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: whole[i] - shares[i] * total)
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole
