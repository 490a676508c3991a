"""How long a model takes for one more token."""

import copy
import statistics
import time

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from eutectic.arch.model import Model
from eutectic.inference.cache import Cache

BURSTS, STEPS = 7, 16  # timed, and of a burst
ROOM = (1 + BURSTS) * STEPS


def decode_milliseconds(model: Model, length: int) -> float:
    """For one more token of one sequence of `length` tokens, as `eutectic generate` decodes: on the model's device, in
    bfloat16 on a GPU, where the step is compiled and captured."""
    tokens = torch.zeros(1, dtype=torch.long, device=model.embedding.weight.device)
    if tokens.is_cuda:
        torch.compiler.reset()  # or it would count the models that were compiled before, and give up
        model = copy.deepcopy(model).to(torch.bfloat16)
    return step_milliseconds(filled(Cache(model, 1, length + ROOM), length), tokens)


def filled(cache: Cache, length: int) -> Cache:
    """As if every row had seen so many tokens."""
    for leaf in tree_leaves(cache.states):
        if leaf.is_floating_point() or leaf.is_complex():
            leaf.normal_(std=0.1)
        else:
            leaf.fill_(length)
    cache.seen = [length] * len(cache.seen)
    return cache


def step_milliseconds(cache: Cache, tokens: Tensor) -> float:
    """Of a step with tokens (rows,): the median of bursts of steps, after one of which nothing is told."""
    times = []
    for _ in range(1 + BURSTS):
        began = time.perf_counter()
        for _ in range(STEPS):
            cache.step(tokens)
        if tokens.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times[1:]) / STEPS
