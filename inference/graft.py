"""Grafting: other mixers into a trained model, all else kept, each taught what the one in its place does.

A new mixer is regressed on the inputs and outputs of the old one in the parent, all layers at once and each by itself,
and is then trained on with the rest, as Chandrasegaran et al. 2025 graft diffusion transformers (activation
distillation, then fine-tuning) and Bick et al. 2024 turn Transformers into Mamba (MOHAWK, its second and third stage).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from eutectic.arch import layout
from eutectic.arch.base import Mixer
from eutectic.arch.layout import LayerTerm
from eutectic.arch.model import Block, Model, blank, build
from eutectic.config import ModelConfig, OptimConfig, RunConfig
from eutectic.inference.score import token_losses
from eutectic.train.data import Batches
from eutectic.train.optim import adamw, lr_at, set_lr
from eutectic.train.shards import Manifest


@dataclass(frozen=True)
class Replaced:
    """A layer, from 0, whose mixer is another now. before and after regression: relative L2 error of its outputs, on a
    batch of training text that was not regressed on."""

    layer: int
    old: str
    new: str
    before: float
    after: float


@dataclass(frozen=True)
class Report:
    """tokens: of training text that new mixers were regressed on. flops: what that took, the parent's pass included, by
    the parent run's convention; both 0 where no mixer is new."""

    layers: tuple[Replaced, ...]
    tokens: int
    flops: float


@dataclass(frozen=True)
class Sensitivity:
    """What replacing one layer's mixer alone costs. loss: nats per token over held-out windows; rise: over the parent's
    there, and error: its standard error, over windows."""

    replaced: Replaced
    loss: float
    rise: float
    error: float


def graft(parent: Model, run: RunConfig, arch: str, manifest: Manifest, tokens: int) -> tuple[Model, Report]:
    """The model of another layout that has all else from a trained parent, and new mixers regressed on about so many
    tokens of training text, at least a batch.

    run: the parent's, whose windows, precision and optimizer the regression has; the windows come in the same order.
    The model is on the parent's device. Where no mixer is new it is the parent, to the bit.
    """
    shape = replace(run.model, layout=arch)
    child = build(shape, run.seed).to(parent.embedding.weight.device)
    new = new_layers(run.model, shape)
    kept = {k: v for k, v in parent.state_dict().items() if not any(k.startswith(f"blocks.{i}.mixer.") for i in new)}
    child.load_state_dict(kept, strict=False)
    if not new:
        return child.eval(), Report((), 0, 0.0)
    batches = Batches(manifest, run.data.seq_len, run.micro_batch, run.seed)
    mixers = {i: child.layers()[i].mixer for i in new}

    def inputs(step: int) -> Tensor:
        return torch.from_numpy(batches.batch(step, run.micro_batch)[:, :-1]).to(parent.embedding.weight.device)

    steps = steps_of(run, arch, tokens)
    errors = regress(parent, mixers, inputs, steps, run.optim, run.precision == "bf16")
    old = layout.expand(layout.parse(run.model.layout), shape.n_layers)
    layers = tuple(Replaced(i, str(old[i]), str(term), *errors[i]) for i, term in new.items())
    return child.eval(), Report(layers, steps * run.micro_batch * run.data.seq_len, flops(run, arch, tokens))


def scan(
    parent: Model, run: RunConfig, term: str, manifest: Manifest, tokens: int, held_out: Tensor
) -> list[Sensitivity]:
    """The loss on held-out windows (n, seq_len + 1) when each layer's mixer alone is replaced by the mixer named, for
    the layers that have another. All are regressed at once, as `graft` does."""
    child, report = graft(parent, run, term, manifest, tokens)
    bf16 = run.precision == "bf16"
    before, found = window_losses(parent, held_out, bf16), list[Sensitivity]()
    for replaced in report.layers:
        ours, theirs = (model.layers()[replaced.layer] for model in (parent, child))
        kept, ours.mixer = ours.mixer, theirs.mixer
        after = window_losses(parent, held_out, bf16)
        ours.mixer = kept
        rise = after - before
        error = float(rise.std()) / len(rise) ** 0.5
        found.append(Sensitivity(replaced, float(after.mean()), float(rise.mean()), error))
    return found


def least_sensitive(run: RunConfig, found: Sequence[Sensitivity], count: int) -> str:
    """The run's stack with so many layers replaced as they were scanned, those of the least rises, as a layout."""
    layers = layout.expand(layout.parse(run.model.layout), run.model.n_layers)
    for one in sorted(found, key=lambda one: one.rise)[:count]:
        (layers[one.replaced.layer],) = layout.parse(one.replaced.new).block
    return layout.stack(layers)


def window_losses(model: Model, rows: Tensor, bf16: bool) -> Tensor:
    """Mean loss, nats per token, of each of rows (n, length + 1), in float64 on the CPU."""
    with _precision(model, bf16):
        return token_losses(model.eval(), rows).double().mean(1)


def regress(
    parent: Model,
    mixers: Mapping[int, Mixer],
    inputs: Callable[[int], Tensor],
    steps: int,
    optim: OptimConfig,
    bf16: bool = False,
) -> dict[int, tuple[float, float]]:
    """Train each mixer to do what the parent's in its layer does: to the least |f(x) - y|^2 / |y|^2 of a batch, x and y
    that mixer's inputs and outputs, by AdamW without weight decay.

    inputs: token ids (n, length) of a step. Returns by layer the relative L2 error before and after, of one step more.
    """
    trained = nn.ModuleList(mixers.values()).train()
    optimizer = adamw(trained, replace(optim, weight_decay=0.0))

    def losses(step: int) -> dict[int, Tensor]:
        with _precision(parent, bf16):
            with torch.no_grad(), _watched(parent, mixers) as seen:
                parent.eval().hidden(inputs(step))
            return {i: _relative(mixer(seen[i][0]), seen[i][1]) for i, mixer in mixers.items()}

    def errors() -> dict[int, float]:
        with torch.no_grad():
            return {i: float(loss.sqrt()) for i, loss in losses(steps).items()}

    before = errors()
    for step in range(steps):
        set_lr(optimizer, lr_at(optim, step, steps))
        torch.stack(list(losses(step).values())).sum().backward()
        for mixer in mixers.values():  # or one's large gradient would keep the others from learning
            nn.utils.clip_grad_norm_(mixer.parameters(), optim.clip)
        optimizer.step()
        optimizer.zero_grad()
    after = errors()
    return {i: (before[i], after[i]) for i in mixers}


def steps_of(run: RunConfig, arch: str, tokens: int) -> int:
    """Batches, each a forward pass of the run's, that come nearest to so many tokens; none where no mixer is new."""
    if not new_layers(run.model, replace(run.model, layout=arch)):
        return 0
    return max(1, round(tokens / (run.micro_batch * run.data.seq_len)))


def new_layers(parent: ModelConfig, child: ModelConfig) -> dict[int, LayerTerm]:
    """Layers whose mixer the parent has otherwise, with the child's."""
    old, new = (layout.expand(layout.parse(shape.layout), shape.n_layers) for shape in (parent, child))
    return {i: term for i, term in enumerate(new) if term != old[i]}


def flops(run: RunConfig, arch: str, tokens: int) -> float:
    """Of the regression: forward through the parent's blocks, forward and backward through each new mixer."""
    shape = replace(run.model, layout=arch)
    made = blank(shape).layers()
    forward = sum(_block(block, run) for block in blank(run.model).layers())
    new = sum(_mixer(made[i].mixer, run) for i in new_layers(run.model, shape))
    return float(steps_of(run, arch, tokens) * run.micro_batch * (forward + 3 * new))


def _block(block: Block, run: RunConfig) -> int:
    """Forward FLOPs over one sequence, as arch/flops.py counts them."""
    length = run.data.seq_len
    if run.convention in ("exact-causal", "exact-full"):
        return _mixer(block.mixer, run) + block.channel.flops(length)
    idle = sum(p.numel() for p in block.channel.parameters()) - block.channel.active_params()
    return 2 * length * (sum(p.numel() for p in block.parameters()) - idle)


def _mixer(mixer: Mixer, run: RunConfig) -> int:
    length = run.data.seq_len
    if run.convention in ("exact-causal", "exact-full"):
        found = mixer.flops(length, run.conv_algorithm)
        return found.projection + (found.core if run.convention == "exact-causal" else found.core_full)
    return 2 * length * sum(p.numel() for p in mixer.parameters())


def _relative(got: Tensor, expected: Tensor) -> Tensor:
    """|got - expected|^2 / |expected|^2 in float32; of zeros, |got|^2."""
    got, expected = got.float(), expected.float()
    size = expected.square().sum()
    return (got - expected).square().sum() / torch.where(size == 0, 1.0, size)


@contextmanager
def _watched(parent: Model, layers: Mapping[int, Mixer]) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Within, a forward pass leaves the inputs and outputs of these layers' mixers here."""
    seen: dict[int, tuple[Tensor, Tensor]] = {}

    def note(layer: int, mixer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen[layer] = inputs[0], output

    hooks = [parent.layers()[i].mixer.register_forward_hook(partial(note, i)) for i in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _precision(model: Model, bf16: bool) -> AbstractContextManager[object]:
    return torch.autocast(model.embedding.weight.device.type, torch.bfloat16) if bf16 else nullcontext()
