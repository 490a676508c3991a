"""Chunked form of linear attention with a decay per key channel, equal to kernels/reference/vector_decay.py.

GLA's secondary chunking (Yang et al. 2024, 4.3): chunks of 64 tokens made of sub-chunks of 16. What crosses a
sub-chunk's start is a matmul whose two factors decay to and from that start; within a sub-chunk the decays of all
pairs are formed. So no exponent is positive, and no decay is the difference of sums over more than 16 tokens.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.kernels.scan import decayed_sums

CHUNK, SUB = 64, 16
# e^-64 a step has forgotten the past in any precision; beyond it, sums of logarithms would lose the weaker decays
FORGOTTEN = -64.0


def chunked(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial: Tensor | None = None, bonus: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y (batch, length, heads, d_v) in v's dtype and the last state; arguments as the oracle's.

    log_decay and states are in float32 at least. Pairs within sub-chunks take 16 times the memory of q.
    """
    length = q.shape[1]
    qs, ks, vs, logs = (_blocks(t, _chunk(length)) for t in (q, k, v, log_decay.clamp(min=FORGOTTEN)))
    inside = logs.cumsum(-2)
    read = inside if bonus is None else F.pad(inside, (0, 0, 1, -1))
    between = _between(inside[..., -1, :])
    from_chunk = qs * torch.exp(read + between[..., :-1, 0, None, :])
    rest = inside[..., -1:, :] - inside
    keys = ks[..., None, :, :, :] * torch.exp(rest[..., None, :, :, :] + between[..., 1:, None, :])
    # one row of keys for each sub-chunk that reads them, and the last for the state after the chunk
    keys = keys.flatten(-3, -2).to(v.dtype)
    scores = (qs * torch.exp(read)).to(v.dtype) @ keys[..., :-1, :, :].transpose(-1, -2)
    scores = _with_pairs(scores, _pairs(qs, ks, read, inside, strict=bonus is not None))
    vs = vs.flatten(-3, -2)
    updates = (keys[..., -1, :, :].transpose(-1, -2) @ vs).to(logs.dtype)
    decay = between[..., -1, 0, :, None].exp()
    before, last = decayed_sums(decay, updates, 1, None if initial is None else initial[:, None])
    y = scores.to(v.dtype) @ vs + from_chunk.flatten(-3, -2).to(v.dtype) @ before.to(v.dtype)
    y = y.transpose(2, 3).flatten(1, 2)[:, :length]
    if bonus is not None:
        y = y + ((q * (bonus * k).to(logs.dtype)).sum(-1, keepdim=True) * v).to(y.dtype)
    return y, last[:, 0]


def step(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor, bonus: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence of one token: q, k, log_decay (batch, heads, d_k), v (batch, heads, d_v) to y and the state."""
    own = k[..., None] * v[..., None, :].to(state.dtype)
    after = log_decay[..., None].exp() * state + own
    read = after if bonus is None else state + bonus[..., None] * own
    return (q[..., None] * read).sum(-2).to(v.dtype), after


def flops(length: int, n_heads: int, d_k: int, d_v: int) -> tuple[int, int]:
    """Of chunked() over one sequence: those in matmuls, and the rest. A length is rounded up to whole chunks.

    Matmuls, per token and head: scores and their sums, 2 chunk (d_k + d_v); the state written and read, 4 d_k d_v.
    The rest, per token, head and channel of d_k: two products and a sum for each of 16 pairs; the decays on q twice, on
    k once for each of its chunk / 16 + 1 readers. And per entry of the state, 2 between chunks. Decays are free.
    """
    chunk = _chunk(length)
    n_chunks = -(-length // chunk)
    matmul = 2 * chunk * (d_k + d_v) + 4 * d_k * d_v
    other = (3 * SUB + 2 + chunk // SUB + 1) * d_k
    tokens = n_chunks * chunk * n_heads
    return tokens * matmul, tokens * other + (n_chunks - 1) * n_heads * 2 * d_k * d_v


def recurrence_flops(length: int, n_heads: int, d_k: int, d_v: int) -> int:
    """Per token, head and entry of the state: its decay (1), what it takes in (2), what is read (2)."""
    return 5 * length * n_heads * d_k * d_v


def _chunk(length: int) -> int:
    return min(CHUNK, -(-length // SUB) * SUB)


def _blocks(x: Tensor, chunk: int) -> Tensor:
    """(batch, length, heads, d) to (batch, chunks, heads, sub-chunks, 16, d), zeros behind, which change no state."""
    x = F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % chunk))
    return x.unflatten(1, (-1, chunk // SUB, SUB)).permute(0, 1, 4, 2, 3, 5)


def _between(total: Tensor) -> Tensor:
    """Sums of totals (..., m, d) of whole sub-chunks: (..., m + 1, m + 1, d), at [i, j + 1] of those with j < n < i.

    j is -1 for the chunk's start and i is m for its end; -inf where j >= i.
    """
    m = total.shape[-2]
    i = torch.arange(m + 1, device=total.device)[:, None]
    j = torch.arange(-1, m, device=total.device)[None, :]
    n = torch.arange(m, device=total.device)
    inner = (j[..., None] < n) & (n < i[..., None])
    sums = (total[..., None, None, :, :] * inner[..., None]).sum(-2)
    return sums.masked_fill((j >= i)[..., None], float("-inf"))


def _pairs(q: Tensor, k: Tensor, read: Tensor, inside: Tensor, strict: bool) -> Tensor:
    """sum_c q_tc k_sc exp(read_tc - inside_sc) within sub-chunks, (..., 16, 16), for s <= t or, strictly, s < t."""
    seen = torch.ones(SUB, SUB, dtype=torch.bool, device=q.device).tril(-1 if strict else 0)
    lag = read[..., :, None, :] - inside[..., None, :, :]
    decay = torch.exp(lag.masked_fill(~seen[..., None], float("-inf")))
    return (q[..., :, None, :] * (k[..., None, :, :] * decay)).sum(-1)


def _with_pairs(scores: Tensor, pairs: Tensor) -> Tensor:
    """Scores (..., m, 16, 16 m) of earlier sub-chunks and pairs (..., m, 16, 16) of the same one: (..., 16 m, 16 m)."""
    m = pairs.shape[-3]
    same = torch.eye(m, device=pairs.device, dtype=pairs.dtype)[:, None, :, None]
    return (scores.unflatten(-1, (m, SUB)) + same * pairs[..., None, :]).flatten(-2).flatten(-3, -2)
