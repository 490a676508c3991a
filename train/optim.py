"""AdamW (Loshchilov and Hutter 2019) and its learning-rate schedules."""

import math

import torch
from torch import nn

from eutectic.arch.layers import is_weight
from eutectic.config import OptimConfig


def adamw(model: nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """Weight decay on matrices only; gains, biases and parameters marked `no_weight_decay` go without.

    A group's `lr_scale` is what its parameters' mark of that name says, 1 without one. On a GPU a group's learning rate
    is a tensor there, so that a captured step reads the one of the day.
    """
    on_gpu = next(model.parameters()).is_cuda
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(optim.weight_decay, 1.0): [], (0.0, 1.0): []}
    for parameter in model.parameters():
        kind = (optim.weight_decay if is_weight(parameter) else 0.0, getattr(parameter, "lr_scale", 1.0))
        groups.setdefault(kind, []).append(parameter)
    made = [{"params": p, "weight_decay": decay, "lr_scale": scale} for (decay, scale), p in groups.items()]
    if on_gpu:
        made = [{**group, "lr": torch.tensor(optim.lr, device="cuda")} for group in made]
    return torch.optim.AdamW(
        made,
        lr=optim.lr,
        betas=(optim.beta1, optim.beta2),
        eps=optim.eps,
        fused=True,
        capturable=on_gpu,
    )


def set_lr(optimizer: torch.optim.AdamW, lr: float) -> None:
    """Of the groups that adamw made, each by its scale."""
    for group in optimizer.param_groups:
        rate = lr * group["lr_scale"]
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def lr_at(optim: OptimConfig, step: int, steps: int) -> float:
    """Learning rate of a step (from 0): linear warm-up, then `cosine` to the floor, or `wsd`: flat, then linear down.

    Warmup-stable-decay is Hu et al. 2024 (MiniCPM); both end at lr * lr_min_ratio on the last step.
    """
    warmup = max(1, round(optim.warmup_fraction * steps))
    if step < warmup:
        return optim.lr * (step + 1) / warmup
    if optim.schedule == "cosine":
        share = (1 + math.cos(math.pi * _progress(step, warmup, steps))) / 2
    else:
        share = 1 - _progress(step, steps - max(1, round(optim.decay_fraction * steps)), steps)
    return optim.lr * (optim.lr_min_ratio + (1 - optim.lr_min_ratio) * share)


def _progress(step: int, start: int, steps: int) -> float:
    """0 at `start` or before, 1 on the last step."""
    return min(1.0, max(0.0, (step - start) / max(1, steps - 1 - start)))
