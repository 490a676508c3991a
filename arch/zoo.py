"""Writes docs/zoo.md: every mixer with its paper, its equation, what holds it to them, and what it costs by count."""

from eutectic.arch import registry
from eutectic.arch.base import Card, ChannelMixer, Layer, Mixer
from eutectic.arch.flops import Counts, count
from eutectic.arch.model import blank
from eutectic.config import ModelConfig

D_MODEL, N_HEADS, D_FFN, LENGTHS = 1024, 16, 2752, (2048, 32768)
INTRODUCTION = """\
# The zoo

Generated from the mixers' cards and counted from the real modules by `make zoo`.

Symbols: L length, d channels, d_head channels of a head, W window, n order of a state. Layouts set a mixer's options,
as in `swa(window=128)*3+attn`; what is given here is their default. "Held to" is what a test compares the mixer with at
equal weights. Every mixer, further, passes the contract of `tests/arch/test_mixers.py`: causality, `step` and `prefill`
equal to `forward`, gradients equal to finite differences, FLOPs equal to torch's counter, states of the size claimed.
"""
COUNTED = f"""
## Counted

One layer of width {D_MODEL} with {N_HEADS} heads, none shared, and {D_FFN} hidden channels in the channel mixer. FLOPs
are of a forward pass, a token, over {LENGTHS[0]:,} tokens, a multiply-add being two. Mixing the positions is charged by
`recurrence`, `chunked` or `fft`, causal attention halved; what has no such form is charged by the one it has. `matmuls`
are those that torch's FlopCounterMode sees of the mixer in float64, where attention is computed whole. States are in
real numbers for one sequence.

| mixer | params | projection | recurrence | chunked | fft | matmuls | state at {LENGTHS[0]:,} | at {LENGTHS[1]:,} |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
"""
WIDTHS = (64, 256, 1024)
SIZES = f"""
## Parameters by width

Of one layer, in units of the width squared; attention has four. Parts of a fixed size, such as states, low ranks and
filters, weigh at small widths, and some papers give their mixer more than four and its channel mixer less than
SwiGLU's eight: Mega and RetNet four, Mamba none. Compare at equal parameters or FLOPs (`--match`), not at equal width.

| mixer | {" | ".join(map(str, WIDTHS))} |
|---|{"--:|" * len(WIDTHS)}
"""
CHANNELS = """
## Channel mixers, counted

| mixer | parameters | active on a token | FLOPs a token | state |
|---|--:|--:|--:|--:|
"""


def markdown() -> str:
    """The text of docs/zoo.md."""
    return "".join(
        [
            INTRODUCTION,
            *_cards("Sequence mixers", list(registry.SEQUENCE), Mixer),
            *_cards("Channel mixers", list(registry.CHANNEL), ChannelMixer),
            COUNTED,
            *(_sequence_row(name) for name in registry.SEQUENCE),
            SIZES,
            *(_sizes_row(name) for name in registry.SEQUENCE),
            CHANNELS,
            *(_channel_row(name) for name in registry.CHANNEL),
        ]
    )


def _cards(title: str, names: list[str], kind: type[Layer]) -> list[str]:
    head = f"\n## {title}\n\n| mixer | paper | what it computes | state | time | held to |\n|---|---|---|---|---|---|\n"
    rows = []
    for name in names:
        found = registry.find(name, kind)
        card: Card = found.card
        options = ", ".join(f"{k}={registry.written(v)}" for k, v in registry.option_defaults(found).items())
        first = f"`{name}`" + (f"<br>({options})" if options else "")
        cells = [first, card.paper, card.equation, card.state, card.time, card.oracle]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return [head, *rows]


def _model(layout: str, channel: str) -> ModelConfig:
    return ModelConfig(layout, 1, D_MODEL, N_HEADS, N_HEADS, D_FFN, 1, channel=channel)


def _sequence_row(name: str) -> str:
    model, length = _model(name, "none"), LENGTHS[0]
    by: dict[str, Counts] = {
        algorithm: count(model, length, algorithm) for algorithm in ("recurrence", "chunked", "fft")
    }
    any_ = by["chunked"]
    states = [count(model, n).state.dim for n in LENGTHS]
    numbers = [any_.params_mixer, any_.projection // length, *(c.core // length for c in by.values())]
    numbers += [(any_.matmul - any_.head) // length, *states]
    return f"| `{name}` | " + " | ".join(f"{n:,}" for n in numbers) + " |\n"


def _sizes_row(name: str) -> str:
    counts = [count(ModelConfig(name, 1, d, d // 16, d // 16, 8, 1, channel="none"), 64).params_mixer for d in WIDTHS]
    return f"| `{name}` | " + " | ".join(f"{n / d**2:.1f}" for n, d in zip(counts, WIDTHS, strict=True)) + " |\n"


def _channel_row(name: str) -> str:
    model, length = _model("attn", name), LENGTHS[0]
    counts = count(model, length)
    channel = blank(model).layers()[0].channel
    numbers = [counts.params_channel, channel.active_params(), counts.channel // length, channel.state_size(length).dim]
    return f"| `{name}` | " + " | ".join(f"{n:,}" for n in numbers) + " |\n"


if __name__ == "__main__":
    print(markdown(), end="")
