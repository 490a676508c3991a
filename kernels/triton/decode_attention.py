"""Attention of one new token to a cache in Triton: the cache in parts side by side, for a row alone would leave the GPU
idle (Dao et al. 2023, Flash-Decoding). Equal to kernels/reference/decode_attention.py; without a gradient."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # slots at once
LEAST = 16  # queries, and channels, of a matmul
PROGRAMS = 512  # about so many fill a GPU
MOST_PARTS = 64


@torch.library.custom_op("eutectic::decode_attention", mutates_args=())
def decode_attention(q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor) -> Tensor:
    """y of q (batch, heads, dim), keys and values (batch, slots, kv heads, dim), all of one dtype, lengths (batch,)."""
    batch, heads, dim = q.shape
    slots, kv_heads = keys.shape[1:3]
    q, keys, values = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, keys, values))
    wanted = min(MOST_PARTS, PROGRAMS // (batch * kv_heads), triton.cdiv(slots, BLOCK))
    parts = 1 << max(0, wanted.bit_length() - 1)
    group = heads // kv_heads
    sums = torch.empty(batch * heads, parts, dim, device=q.device, dtype=torch.float32)
    tops, norms = (torch.empty(batch * heads, parts, device=q.device, dtype=torch.float32) for _ in range(2))
    sizes = {"HEADS": heads, "DIM": dim, "WIDE": max(LEAST, triton.next_power_of_2(dim)), "PARTS": parts}
    strides = *q.stride()[:2], *keys.stride()[:3], *values.stride()[:3]
    rows = max(LEAST, triton.next_power_of_2(group))
    attend_part[(batch * kv_heads, parts)](
        q, keys, values, lengths, sums, tops, norms, dim**-0.5, *strides, **sizes, GROUP=group, ROWS=rows, BLOCK=BLOCK
    )
    y = torch.empty_like(q, memory_format=torch.contiguous_format)
    join_parts[(batch * heads,)](sums, tops, norms, y, DIM=dim, WIDE=sizes["WIDE"], PARTS=parts)
    return y


@decode_attention.register_fake
def _(q, keys, values, lengths):
    return torch.empty_like(q, memory_format=torch.contiguous_format)


@triton.jit
def attend_part(
    q,
    keys,
    values,
    lengths,
    sums,
    tops,
    norms,
    scale,
    q_row,
    q_head,
    k_row,
    k_slot,
    k_head,
    v_row,
    v_slot,
    v_head,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    WIDE: tl.constexpr,
    PARTS: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Of one row, the queries of one key-value head against one of equal parts of the slots that are there: per query
    the largest score, the sum of exp(score - largest) and that of the values weighed so."""
    kv_heads: tl.constexpr = HEADS // GROUP
    row, kv_head = (tl.program_id(0) // kv_heads).to(tl.int64), tl.program_id(0) % kv_heads
    part = tl.program_id(1)
    length = tl.load(lengths + row).to(tl.int32)
    size = tl.cdiv(tl.cdiv(length, BLOCK), PARTS) * BLOCK
    first, end = part * size, tl.minimum(part * size + size, length)
    member, column, slot = tl.arange(0, ROWS), tl.arange(0, WIDE), tl.arange(0, BLOCK)
    there, within = member < GROUP, column < DIM
    head = kv_head * GROUP + member
    query = tl.load(
        q + row * q_row + head[:, None] * q_head + column[None, :], mask=there[:, None] & within[None, :], other=0.0
    )
    k_at = keys + row * k_row + kv_head * k_head + column[:, None]
    v_at = values + row * v_row + kv_head * v_head + column[None, :]
    top = tl.full([ROWS], float("-inf"), tl.float32)
    norm = tl.zeros([ROWS], tl.float32)
    total = tl.zeros([ROWS, WIDE], tl.float32)
    for start in range(first, end, BLOCK):
        at = (start + slot).to(tl.int64)
        seen = at < end
        key = tl.load(k_at + at[None, :] * k_slot, mask=within[:, None] & seen[None, :], other=0.0)
        value = tl.load(v_at + at[:, None] * v_slot, mask=seen[:, None] & within[None, :], other=0.0)
        scores = tl.where(seen[None, :], tl.dot(query, key, input_precision="ieee") * scale, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        fade = tl.exp(top - higher)
        norm = norm * fade + tl.sum(weights, 1)
        total = total * fade[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        top = higher
    out = (row * HEADS + head) * PARTS + part
    tl.store(tops + out, top, mask=there)
    tl.store(norms + out, norm, mask=there)
    tl.store(sums + out[:, None] * DIM + column[None, :], total, mask=there[:, None] & within[None, :])


@triton.jit
def join_parts(sums, tops, norms, y, DIM: tl.constexpr, WIDE: tl.constexpr, PARTS: tl.constexpr):
    """Of one query, the parts on the scale of the largest score of all; a part without slots weighs nothing."""
    query = tl.program_id(0).to(tl.int64)
    part, column = tl.arange(0, PARTS), tl.arange(0, WIDE)
    within = column < DIM
    top = tl.load(tops + query * PARTS + part)
    scale = tl.exp(top - tl.max(top, 0))
    norm = tl.sum(tl.load(norms + query * PARTS + part) * scale, 0)
    at = (query * PARTS + part[:, None]) * DIM + column[None, :]
    total = tl.sum(tl.load(sums + at, mask=within[None, :], other=0.0) * scale[:, None], 0)
    tl.store(y + query * DIM + column, total / norm, mask=within)
