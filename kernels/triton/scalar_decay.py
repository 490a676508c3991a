"""The recurrence of a matrix state under a scalar decay as a differentiable op on the GPU: scalar_decay_passes.py."""

from typing import Any

import torch
import triton
from torch import Tensor

from eutectic.kernels.triton.scalar_decay_passes import backward, chunk_states, outputs, pass_states

CHUNK = 64
COLUMNS = 64  # of values at once
LEAST = 16  # columns of a matmul
STATES = 1024  # numbers of a state that a program of pass_states carries


def scalar_decay(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """As chunked() of kernels/scalar_decay.py: q, k and v of one dtype, bfloat16 or float32, all else in float32."""
    if initial is None:
        initial = log_decay.new_zeros(len(v), v.shape[2], q.shape[3], v.shape[3])
    y, last, _ = _op(_rows(q), _rows(k), _rows(v), log_decay.contiguous(), initial.contiguous())
    return y, last


def _rows(x: Tensor) -> Tensor:
    """x with the numbers of a head side by side."""
    return x if x.stride(3) == 1 else x.contiguous()


@torch.library.custom_op("eutectic::scalar_decay", mutates_args=())
def _op(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y, the state after, and the states before each chunk, in v's dtype."""
    launch = _Launch(q, v)
    before, last = launch.states(k, v, log_decay, initial, back=False)
    y = v.new_empty(v.shape)
    tensors = q, k, v, log_decay, before, y
    launch(outputs, tensors, (q, k, v), launch.value_blocks)
    return y, last, before


@torch.library.custom_op("eutectic::scalar_decay_backward", mutates_args=())
def _backward_op(
    dy: Tensor, dlast: Tensor, before: Tensor, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    launch = _Launch(q, v)
    after, dinitial = launch.states(q, dy, log_decay, dlast, back=True)
    dq, dk = (q.new_empty(*v.shape[:3], q.shape[3]) for _ in range(2))
    dv, dlog = v.new_empty(v.shape), torch.empty_like(log_decay)
    tensors = q, k, v, log_decay, before, after, dy, dq, dk, dv, dlog
    launch(backward, tensors, (q, k, v), 1, BLOCKS=launch.value_blocks)
    groups = q.shape[2]
    dq, dk = (x.unflatten(2, (groups, -1)).sum(3) if groups < v.shape[2] else x for x in (dq, dk))
    return dq, dk, dv, dlog, dinitial


class _Launch:
    """Starts kernels, a program for each chunk of a head and, of some, for each block of columns of values."""

    def __init__(self, q: Tensor, v: Tensor):
        batch, length, self.heads, self.d_v = v.shape
        self.groups, self.d_k, self.length = q.shape[2], q.shape[3], length
        self.chunks, self.streams = triton.cdiv(length, CHUNK), batch * self.heads
        self.block_k = max(LEAST, triton.next_power_of_2(self.d_k))
        self.block_v = min(COLUMNS, max(LEAST, triton.next_power_of_2(self.d_v)))
        self.value_blocks = triton.cdiv(self.d_v, self.block_v)

    def __call__(
        self, kernel: Any, tensors: tuple[Tensor, ...], strided: tuple[Tensor, ...], blocks: int, **fixed: Any
    ) -> None:
        sizes = self.heads, self.heads // self.groups, self.length, self.d_k, self.d_v
        strides = [stride for x in strided for stride in x.stride()[:3]]
        fixed |= {"T": CHUNK, "BK": self.block_k, "BV": self.block_v}
        warps = 4 if self.block_k <= 64 else 8
        kernel[(self.streams * self.chunks, blocks)](*tensors, *strides, *sizes, **fixed, num_warps=warps)

    def states(self, k: Tensor, v: Tensor, log_decay: Tensor, initial: Tensor, back: bool) -> tuple[Tensor, Tensor]:
        """The states that each chunk meets, and the one after all."""
        size = self.d_k * self.d_v
        added = initial.new_empty(self.streams, self.chunks, size)
        left = initial.new_empty(self.streams, self.chunks)
        self(chunk_states, (k, v, log_decay, added, left), (k, v), self.value_blocks, BACK=back)
        met, last = v.new_empty(self.streams, self.chunks, size), torch.empty_like(initial)
        grid = self.streams, triton.cdiv(size, STATES)
        pass_states[grid](added, left, initial, met, last, self.chunks, size, BACK=back, BLOCK=STATES, num_warps=4)
        return met, last


@_op.register_fake
def _(q, k, v, log_decay, initial):
    batch, length, heads, d_v = v.shape
    return (
        v.new_empty(v.shape),
        torch.empty_like(initial),
        v.new_empty(batch * heads, -(-length // CHUNK), q.shape[3] * d_v),
    )


@_backward_op.register_fake
def _(dy, dlast, before, q, k, v, log_decay):
    return (
        q.new_empty(q.shape),
        k.new_empty(k.shape),
        v.new_empty(v.shape),
        torch.empty_like(log_decay),
        torch.empty_like(dlast),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, _ = inputs
    _, last, before = output
    ctx.mark_non_differentiable(before)
    ctx.set_materialize_grads(False)  # or zeros as large as it would be written
    ctx.save_for_backward(last, before, *tensors)


def _differentiate(ctx: Any, dy: Tensor | None, dlast: Tensor | None, _: None) -> tuple[Tensor, ...]:
    last, before, q, k, v, log_decay = ctx.saved_tensors
    dy = v.new_zeros(v.shape) if dy is None else dy.contiguous()
    dlast = torch.zeros_like(last) if dlast is None else dlast.contiguous()
    return _backward_op(dy, dlast, before, q, k, v, log_decay)


_op.register_autograd(_differentiate, setup_context=_keep)
