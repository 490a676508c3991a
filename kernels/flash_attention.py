"""Causal attention by a library of the flash-attn family, where one is installed and fits.

The libraries read grouped queries and windows as they are, keys and values unrepeated, blocks out of a window's reach
skipped. Where queries are fewer than keys they take them for the last, as kernels/reference/attention.py does.
"""

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eutectic.kernels import choice


@dataclass(frozen=True)
class Library:
    """A library, by the name it is installed under, and what it has a forward and a backward pass for.

    largest_dim: of a head, by the major number of the GPU's compute capability. unordered: pairs of that number and
    whether queries are grouped, for which its backward pass cannot add in a fixed order.
    """

    name: str
    module: str
    largest_dim: Mapping[int, int]
    unordered: tuple[tuple[int, bool], ...] = ()

    def refusal(self, capability: int, dtype: torch.dtype, dim: int, grouped: bool, ordered: bool) -> str | None:
        """Why it is not for such an attention, if it is not."""
        largest = self.largest_dim.get(capability)
        if largest is None:
            return f"is not for compute capability {capability}"
        if dtype not in (torch.bfloat16, torch.float16):
            return f"does not take {dtype}"
        if dim % 8 or dim > largest:
            return f"does not take heads of {dim}, but of multiples of 8 to {largest}"
        if ordered and (capability, grouped) in self.unordered:
            return "does not add in a fixed order here"
        return None


# the fastest first
LIBRARIES = (
    Library("flash-attn-4", "flash_attn.cute", {9: 256, 10: 128, 11: 128, 12: 128}, ((12, False), (12, True))),
    # the order of grouped queries hangs on semaphores that it does not set to zero
    Library("flash-attn-3", "flash_attn_interface", {9: 256}, ((9, True),)),
    Library("flash-attn", "flash_attn.flash_attn_interface", {8: 256, 9: 256}),
)


# by library and module, what is called beside the module's flash_attn_func
CALLED = {"flash-attn-4": {"flash_attn.cute.interface": "_flash_attn_bwd"}}


@functools.cache
def importable(name: str, module: str) -> bool:
    """Whether a library is there with all that is called of it. Says, where it is installed and yet cannot be imported,
    for what error."""
    try:
        for place, called in {module: "flash_attn_func", **CALLED.get(name, {})}.items():
            getattr(importlib.import_module(place), called)
    except Exception as error:  # of any kind: their imports load drivers and compilers
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is None or not f"{module}.".startswith(f"{missing}."):
            reason = (str(error).splitlines() or [""])[0]
            choice.say(name, f"cannot be imported ({type(error).__name__}: {reason}); attention does without")
        return False
    return True


def choose(capability: int, dtype: torch.dtype, dim: int, grouped: bool, ordered: bool) -> tuple[str | None, list[str]]:
    """The name of the library to use, None if there is none that fits, and why those before it that are there do not.

    capability: the major number of the GPU's. dim: of a head. grouped: whether query heads share those of keys.
    ordered: whether the backward pass must add in a fixed order.
    """
    refusals: list[str] = []
    for library in LIBRARIES:
        if importable(library.name, library.module):
            refusal = library.refusal(capability, dtype, dim, grouped, ordered)
            if refusal is None:
                return library.name, refusals
            refusals.append(f"{library.name} {refusal}")
    return None, refusals


def attend(library: str, q: Tensor, k: Tensor, v: Tensor, window: int | None, ordered: bool) -> Tensor:
    """As kernels/reference/attention.py, by the library of that name (Dao 2023; Shah et al. 2024), on a GPU.

    ordered: have the backward pass add in a fixed order.
    """
    left = window - 1 if window and window < k.shape[2] else None
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    if library == "flash-attn-4":
        return attention_4(q, k, v, left, ordered)[0].transpose(1, 2)
    if library == "flash-attn-3":
        from flash_attn_interface import flash_attn_func
    else:
        from flash_attn.flash_attn_interface import flash_attn_func
    sides = (-1, -1) if left is None else (left, 0)
    y = flash_attn_func(q, k, v, causal=True, window_size=sides, deterministic=ordered)
    return (y[0] if isinstance(y, tuple) else y).transpose(1, 2)  # some releases of 3 return the normalizers as well


# flash-attn-4 compiles its kernels when they are first called, which torch's compiler cannot look into: ops of our own
# hide it. The others are ops already.
@torch.library.custom_op("eutectic::flash_attention_4", mutates_args=())
def attention_4(q: Tensor, k: Tensor, v: Tensor, left: int | None, ordered: bool) -> tuple[Tensor, Tensor]:
    """q (batch, length, heads, dim), k and v (batch, past + length, kv heads, dim); left: keys seen before one's own.

    Returns q's shape and, without a gradient, the logarithms of the softmax's normalizers, (batch, heads, length).
    """
    from flash_attn.cute import flash_attn_func

    sides = (None, None) if left is None else (left, 0)
    out, lse = flash_attn_func(q, k, v, causal=True, window_size=sides, return_lse=True)
    return out, lse


@attention_4.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, left: int | None, ordered: bool) -> tuple[Tensor, Tensor]:
    batch, length, heads, _ = q.shape
    return q.new_empty(q.shape), q.new_empty(batch, heads, length, dtype=torch.float32)


@torch.library.custom_op("eutectic::flash_attention_4_backward", mutates_args=())
def backward_4(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, left: int | None, ordered: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v, from that of out, dout."""
    from flash_attn.cute.interface import _flash_attn_bwd

    dq, dk, dv = (t.new_empty(t.shape) for t in (q, k, v))
    sides = {} if left is None else {"window_size_left": left, "window_size_right": 0}
    _flash_attn_bwd(q, k, v, out, dout, lse, causal=True, deterministic=ordered, dq=dq, dk=dk, dv=dv, **sides)
    return dq, dk, dv


@backward_4.register_fake
def _(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, left: int | None, ordered: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *qkv, ctx.left, ctx.ordered = inputs
    ctx.save_for_backward(*qkv, *output)


def _gradients(ctx: Any, dout: Tensor, dlse: Tensor) -> tuple[Tensor | None, ...]:
    return *backward_4(dout, *ctx.saved_tensors, ctx.left, ctx.ordered), None, None


attention_4.register_autograd(_gradients, setup_context=_keep)
