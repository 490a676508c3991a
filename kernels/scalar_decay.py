"""The recurrence of a matrix state that one number per head and step decays, as kernels/reference/scalar_decay.py.

S_t = a_t S_{t-1} + k_t v_t^T, y_t = S_t^T q_t, in chunks of matmuls (Dao and Gu 2024, Mamba-2, 6; Sun et al. 2023,
RetNet, eq. 7). Linear attention, retention, Mamba-2 and the mLSTM are this with their own q, k, v and a.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.kernels.scan import decayed_sums

CHUNK = 64


def chunked(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """y (batch, length, heads, d_v), in v's dtype, and the state after the last step (batch, heads, d_k, d_v).

    q, k (batch, length, groups, d_k): head i reads group i // (heads / groups). v (batch, length, heads, d_v).
    log_decay (batch, length, heads): log a_t, finite and <= 0, in float32 or wider; states have its dtype.
    initial (batch, heads, d_k, d_v): the state before the first step, zero where None.

    With G_t the sum of log a in a chunk up to t, a chunk's own share of y_t is sum_{s<=t} (q_t k_s) exp(G_t - G_s) v_s,
    and that of the state S before it exp(G_t) S^T q_t. It leaves exp(G_T) S + sum_s exp(G_T - G_s) k_s v_s^T. No
    exponent is positive. Zeros in front, which change nothing, fill the first chunk.
    """
    length, n_groups = v.shape[1], q.shape[2]
    chunk = min(CHUNK, length)
    # heads are (group, head in group): (b, chunks, group, T, d_k), (b, chunks, group, T, head, d_v) and without d_v
    q, k = (chunks(x, chunk).transpose(2, 3) for x in (q, k))
    v, log_decay = (chunks(x, chunk).unflatten(3, (n_groups, -1)).transpose(2, 3) for x in (v, log_decay))
    since, within = log_decay.cumsum(3).exp()[..., None], decays(log_decay.movedim(4, 3))

    weights = (q @ k.mT)[:, :, :, None] * within
    own = weights.to(v.dtype) @ v.transpose(3, 4)

    weighted = (v * within[..., -1, :].mT[..., None]).to(v.dtype)
    ends = (k.mT @ weighted.flatten(4)).unflatten(4, v.shape[4:]).to(log_decay.dtype)
    if initial is not None:
        initial = initial.unflatten(1, (n_groups, -1)).transpose(2, 3)[:, None]
    before, last = decayed_sums(since[:, :, :, -1:], ends, 1, initial)
    read = (q @ before.to(q.dtype).flatten(4)).unflatten(4, v.shape[4:]) * since

    y = (own.transpose(3, 4) + read).to(v.dtype).transpose(2, 3).flatten(1, 2).flatten(2, 3)
    return y[:, -length:], last[:, 0].transpose(2, 3).flatten(1, 2)


def matmul_flops(length: int, n_heads: int, n_groups: int, d_k: int, d_v: int) -> int:
    """Of chunked() over one sequence: q k', its product with v, the states' updates, and their read-outs."""
    chunk = min(CHUNK, length)
    padded = -(-length // chunk) * chunk
    return 2 * padded * (n_groups * chunk * d_k + n_heads * (chunk * d_v + 2 * d_k * d_v))


def flops(length: int, n_heads: int, n_groups: int, d_k: int, d_v: int, algorithm: str) -> int:
    """Over one sequence, as `recurrence`, or else as chunked() computes it: there is no FFT of what decays by input.

    recurrence, per step and entry of the state: decay, multiply-add of k v', read-out, 5 in all.
    chunked: the matmuls; per step and head, a decay for each place of the chunk and three multiples of d_v (weights of
    values and read-outs, and the sum of both parts); per chunk, 2 for each entry of the state.
    """
    if algorithm == "recurrence":
        return 5 * length * n_heads * d_k * d_v
    chunk = min(CHUNK, length)
    n_chunks = -(-length // chunk)
    elementwise = n_chunks * n_heads * (chunk * (chunk + 3 * d_v) + 2 * d_k * d_v)
    return matmul_flops(length, n_heads, n_groups, d_k, d_v) + elementwise


def chunks(x: Tensor, chunk: int) -> Tensor:
    """x (batch, length, ...) to (batch, chunks, chunk, ...), with zeros in front."""
    padded = F.pad(x, (0, 0) * (x.ndim - 2) + (-x.shape[1] % chunk, 0))
    return padded.unflatten(1, (-1, chunk))


def decays(log_decay: Tensor) -> Tensor:
    """exp(G_t - G_s) (..., t, s) of log_decay (..., T), zero where s > t.

    The sums from s to t are taken one by one: a difference of sums from 0 would lose, in float32, what is small beside
    a strong decay before s.
    """
    size = log_decay.shape[-1]
    earlier = torch.ones(size, size, dtype=torch.bool, device=log_decay.device).tril(-1)
    sums = (log_decay[..., :, None] * earlier).cumsum(-2)
    return sums.masked_fill(earlier.mT, float("-inf")).exp()
