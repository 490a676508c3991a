"""How well a model foretells text: losses of held-out windows, of what ends long texts, and of given continuations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from eutectic.arch.model import Model
from eutectic.config import RunConfig
from eutectic.inference.cache import PREFILL
from eutectic.train.data import validation
from eutectic.train.shards import Manifest

AT_ONCE = 2**14  # tokens: their logits, and what a layer has of them, exist together


@torch.no_grad()
def token_losses(model: Model, rows: Tensor) -> Tensor:
    """Nats (n, length) of each token of rows (n, length + 1), on the CPU, after those before it in its row."""
    device = model.embedding.weight.device
    found = []
    for part in rows.split(max(1, AT_ONCE // rows.shape[1])):
        part = part.to(device)
        logits = model(part[:, :-1]).float()
        found.append(cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="none").cpu())
    return torch.cat(found)


def perplexity(model: Model, rows: Tensor) -> float:
    """exp of the mean loss over all tokens of rows (n, length + 1)."""
    return perplexity_of(token_losses(model, rows))


@torch.no_grad()
def last_losses(model: Model, rows: Tensor, targets: int, chunk: int = PREFILL) -> Tensor:
    """token_losses of the last `targets` tokens alone, (n, targets), of rows as long as one likes.

    They are read a chunk at a time: of all that is before, only what decoding keeps is held, and no logits.
    """
    read, device = rows.shape[1] - 1, model.embedding.weight.device
    found = []
    for part in rows.split(max(1, AT_ONCE // read)):
        part = part.to(device)
        states, losses = model.init_state(len(part), read), []
        for begin in range(0, read, chunk):
            end = min(begin + chunk, read)
            x, states = model.prefill(part[:, begin:end], states)
            first = max(begin, read - targets)
            if first < end:
                logits = model.logits(x[:, first - begin :]).float().transpose(1, 2)
                losses.append(cross_entropy(logits, part[:, first + 1 : end + 1], reduction="none").cpu())
        found.append(torch.cat(losses, 1))
    return torch.cat(found)


@dataclass(frozen=True)
class Likelihood:
    """Of a continuation: its log-probability in nats, and whether each of its tokens was the likeliest."""

    nats: float
    greedy: bool


@torch.no_grad()
def likelihoods(model: Model, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Likelihood]:
    """Of each pair's continuation after its context, of one token or more: those of about equal length together.

    Rows are padded on the right, which a causal model's earlier logits do not see.
    """
    device = model.embedding.weight.device
    order = sorted(range(len(pairs)), key=lambda index: -sum(map(len, pairs[index])))
    found: dict[int, Likelihood] = {}
    while order:
        count = max(1, AT_ONCE // sum(map(len, pairs[order[0]])))
        batch, order = order[:count], order[count:]
        rows = [torch.tensor([*context, *continuation]) for context, continuation in map(pairs.__getitem__, batch)]
        longest = len(rows[0])
        read = torch.stack([pad(row, (0, longest - len(row))) for row in rows]).to(device)
        hidden = model.hidden(read[:, :-1])
        for index, row, own in zip(batch, rows, hidden, strict=True):
            wanted = row[len(pairs[index][0]) :].to(device)
            logs = model.logits(own[len(row) - 1 - len(wanted) : len(row) - 1]).float().log_softmax(-1)
            nats = logs.gather(1, wanted[:, None]).double().sum()
            found[index] = Likelihood(float(nats), bool((logs.argmax(-1) == wanted).all()))
    return [found[index] for index in range(len(pairs))]


def perplexity_of(losses: Tensor) -> float:
    return math.exp(losses.double().mean())


def ratio_interval(before: Tensor, after: Tensor) -> tuple[float, float]:
    """The 95% interval of the ratio of two models' perplexities, after over before, by losses (n, length) of the same
    tokens: normal in the mean of the windows' differences."""
    rise = (after.double() - before.double()).mean(1)
    mean, half = float(rise.mean()), 1.96 * float(rise.std()) / len(rise) ** 0.5
    return math.exp(mean - half), math.exp(mean + half)


def held_out(run: RunConfig, manifest: Manifest) -> Tensor:
    """The windows (valid_sequences, seq_len + 1) of its text that a run was validated on."""
    return torch.from_numpy(validation(manifest, run.data.seq_len, run.data.valid_sequences))
