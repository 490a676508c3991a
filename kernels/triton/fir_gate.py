"""The three-tap FIRs of queries, keys and values and the gate of the last two: what gated_modal_conv.py begins with.

Steps are taken in pairs, (even, odd): a tap further back is then the other of the pair or of the pair before, which is
read from an address that vectors can start at.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

TAPS = 3
STEPS = 512  # of a program of the backward pass


@triton.jit
def _pairs(
    x, t, length, SHIFT: tl.constexpr, LEAD: tl.constexpr, EXACT: tl.constexpr, N: tl.constexpr, T: tl.constexpr
):  # fmt: skip
    """Even and odd steps of x at (N, T) steps t + SHIFT, in float32; zeros beyond its ends, LEAD before its first.

    EXACT: all t are in [0, length), so that fewer of them are looked at.
    """
    if EXACT:
        if SHIFT + LEAD < 0:
            seen = tl.load(x + t + SHIFT, mask=t >= -SHIFT - LEAD, other=0.0)
        elif SHIFT > 0:
            seen = tl.load(x + t + SHIFT, mask=t < length - SHIFT, other=0.0)
        else:
            seen = tl.load(x + t + SHIFT)
    else:
        there = (t + SHIFT >= -LEAD) & (t + SHIFT < length)
        seen = tl.load(x + t + SHIFT, mask=there, other=0.0)
    return tl.split(tl.reshape(seen.to(tl.float32), [N, T // 2, 2]))


@triton.jit
def three(taps, channel):
    """The taps of some channels."""
    return tl.load(taps + channel * 3), tl.load(taps + channel * 3 + 1), tl.load(taps + channel * 3 + 2)


@triton.jit
def _weighted(w0, w1, w2, even, odd, even_before, odd_before):
    return w0 * even + w1 * odd_before + w2 * even_before, w0 * odd + w1 * even + w2 * odd_before


@triton.jit
def filtered(x, w0, w1, w2, t, length, LEAD: tl.constexpr, EXACT: tl.constexpr, N: tl.constexpr, T: tl.constexpr):
    """(N, T), float32: the FIR of x at steps t; LEAD steps lie before the first."""
    even, odd = _pairs(x, t, length, 0, LEAD, EXACT, N, T)
    even_before, odd_before = _pairs(x, t, length, -2, LEAD, EXACT, N, T)
    even, odd = _weighted(w0, w1, w2, even, odd, even_before, odd_before)
    return tl.reshape(tl.join(even, odd), [N, T])


@triton.jit
def _back(w0, w1, w2, dtaps, dx, at, there, even, odd, d_even, d_odd, d_even_after, d_odd_after,
          EXACT: tl.constexpr, T: tl.constexpr):  # fmt: skip
    """dx_t = sum_s taps_s dz_{t+s}, and what that adds to the gradient in each tap."""
    dx_even = w0 * d_even + w1 * d_odd + w2 * d_even_after
    dx_odd = w0 * d_odd + w1 * d_even_after + w2 * d_odd_after
    both = tl.reshape(tl.join(dx_even, dx_odd), [1, T]).to(dx.dtype.element_ty)
    if EXACT:
        tl.store(dx + at, both)
    else:
        tl.store(dx + at, both, mask=there)
    tl.store(dtaps, tl.sum(d_even * even + d_odd * odd))
    tl.store(dtaps + 1, tl.sum(d_odd * even + d_even_after * odd))
    tl.store(dtaps + 2, tl.sum(d_even_after * even + d_odd_after * odd))


@triton.jit
def _backward(
    qkv, taps, dq, du, dqkv, dtaps, D, tokens, length,
    LEAD: tl.constexpr, EXACT: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """dqkv, and dtaps (programs along the tokens, 3 D, 3): what each adds to the gradient in the taps."""
    # what the pass before this one has written last may still be in the cache: first steps, of last sequences
    channel, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    sequence, t = tl.num_programs(2) - 1 - tl.program_id(2), tile * T + tl.arange(0, T)[None, :] - LEAD
    rows = LEAD + length
    width = tokens // length * rows
    row, at = sequence * rows + LEAD, channel * width + sequence * rows + LEAD + t
    there = t < length
    out = channel * tokens + sequence * length
    to = dtaps + ((sequence * tl.num_programs(1) + tile) * 3 * D + channel) * 3
    e, o = _pairs(qkv + channel * width + row, t, length, 0, LEAD, EXACT, 1, T)
    d_e, d_o = _pairs(dq + out, t, length, 0, 0, EXACT, 1, T)
    d_e2, d_o2 = _pairs(dq + out, t, length, 2, 0, EXACT, 1, T)
    w0, w1, w2 = three(taps, channel)
    _back(w0, w1, w2, to, dqkv, at, there, e, o, d_e, d_o, d_e2, d_o2, EXACT, T)

    d_e, d_o = _pairs(du + out, t, length, 0, 0, EXACT, 1, T)
    d_e2, d_o2 = _pairs(du + out, t, length, 2, 0, EXACT, 1, T)
    k, v = D + channel, 2 * D + channel
    k0, k1, k2 = three(taps, k)
    v0, v1, v2 = three(taps, v)
    k_e0, k_o0 = _pairs(qkv + k * width + row, t, length, -2, LEAD, EXACT, 1, T)
    k_e, k_o = _pairs(qkv + k * width + row, t, length, 0, LEAD, EXACT, 1, T)
    k_e2, k_o2 = _pairs(qkv + k * width + row, t, length, 2, LEAD, EXACT, 1, T)
    v_e0, v_o0 = _pairs(qkv + v * width + row, t, length, -2, LEAD, EXACT, 1, T)
    v_e, v_o = _pairs(qkv + v * width + row, t, length, 0, LEAD, EXACT, 1, T)
    v_e2, v_o2 = _pairs(qkv + v * width + row, t, length, 2, LEAD, EXACT, 1, T)
    z_e, z_o = _weighted(v0, v1, v2, v_e, v_o, v_e0, v_o0)
    z_e2, z_o2 = _weighted(v0, v1, v2, v_e2, v_o2, v_e, v_o)
    _back(
        k0, k1, k2, to + 3 * D, dqkv + D.to(tl.int64) * width, at, there,
        k_e, k_o, d_e * z_e, d_o * z_o, d_e2 * z_e2, d_o2 * z_o2, EXACT, T,
    )  # fmt: skip
    z_e, z_o = _weighted(k0, k1, k2, k_e, k_o, k_e0, k_o0)
    z_e2, z_o2 = _weighted(k0, k1, k2, k_e2, k_o2, k_e, k_o)
    _back(
        v0, v1, v2, to + 6 * D, dqkv + 2 * D.to(tl.int64) * width, at, there,
        v_e, v_o, d_e * z_e, d_o * z_o, d_e2 * z_e2, d_o2 * z_o2, EXACT, T,
    )  # fmt: skip


def fir_gate_backward(qkv: Tensor, taps: Tensor, dq: Tensor, du: Tensor, lead: int) -> tuple[Tensor, Tensor]:
    """The gradients in qkv (3 D, batch, lead + length) and in taps (3 D, 3), of those in q and in u = k * v."""
    D, batch, length = dq.shape
    tiles = triton.cdiv(lead + length, STEPS)
    dqkv, dtaps = torch.empty_like(qkv), taps.new_empty(batch * tiles, 3 * D, TAPS)
    _backward[(D, tiles, batch)](
        qkv, taps, dq, du, dqkv, dtaps, D, batch * length, length,
        LEAD=lead, EXACT=lead == 0 and length % STEPS == 0, T=STEPS, num_warps=1,
    )  # fmt: skip
    return dqkv, dtaps.sum(0)
