"""RWKV-7's generalised delta rule in chunks of matmuls, equal to kernels/reference/dplr.py.

S_t = (diag(w_t) + b_t a_t^T) S_{t-1} + k_t v_t^T, y_t = S_t^T q_t: a transition diagonal plus low rank, with a decay
for each key channel. Within chunks it is the delta rule's triangular system (Yang et al. 2024, DeltaNet, 3.2), with
decays as in GLA's secondary chunking (Yang et al. 2024, 4.3); between them, an affine map of the state, scanned.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.kernels.scalar_decay import chunks
from eutectic.kernels.scan import affine_products, affine_states

CHUNK, BLOCK = 64, 16


def chunked(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, log_decay: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y (batch, length, heads, d_v), in v's dtype, and the state after the last step (batch, heads, d_k, d_v).

    q, k, a, b (batch, length, heads, d_k), v (batch, length, heads, d_v). log_decay (batch, length, heads, d_k): log w,
    in [-10, 0], in float32 or wider; states have its dtype. initial: the state before the first step, zero where None.

    u_t = S_{t-1}^T a_t solves a unit triangular system in a chunk, affine in the state S before it: with G_t the sum of
    log w up to t, u_t = S^T exp(G_{t-1}) a_t + sum_{s<t} (a_t exp(G_{t-1} - G_s) b_s) u_s + (the same with k_s) v_s.
    Then y_t = S^T exp(G_t) q_t + sum_{s<=t} (q_t exp(G_t - G_s) b_s) u_s + (the same with k_s) v_s. Zeros in front,
    which change nothing, fill the first chunk.
    """
    length, d_k, d_v = v.shape[1], k.shape[3], v.shape[3]
    # (b, chunks, heads, T, d)
    parts = (chunks(x, _chunk(length)).transpose(2, 3) for x in (q, k, v, a, b, log_decay))
    q, k, v, a, b, log_decay = parts
    since = log_decay.cumsum(-2)
    a_since, q_since = F.pad(since[..., :-1, :], (0, 0, 1, 0)), since
    a_scores, q_scores = _scores(a, q, b, k, a_since, q_since)
    (a_b, a_k), (q_b, q_k) = a_scores.chunk(2, -1), q_scores.chunk(2, -1)

    # u where S is zero, and what S^T is multiplied with to be added to it
    right = torch.cat([(a_k.to(v.dtype) @ v).to(since.dtype), a_since.exp() * a], -1)
    solved = torch.linalg.solve_triangular(-a_b, right, upper=False, unitriangular=True)
    u, reads = solved.split([d_v, d_k], -1)

    left = (since[..., -1:, :] - since).exp()
    from_b, from_k = ((left * x).to(v.dtype).mT for x in (b, k))
    update = torch.cat([from_b, from_k], -1) @ torch.cat([u.to(v.dtype), v], -2)
    transition = torch.diag_embed(since[..., -1, :].exp()) + (from_b @ reads.to(v.dtype)).to(since.dtype)
    before, last = affine_states(transition, update.to(since.dtype), initial)

    state = before.to(v.dtype)
    u = u + reads.to(v.dtype) @ state
    weights = torch.cat([q_b, q_k, q_since.exp() * q], -1).to(v.dtype)
    y = weights @ torch.cat([u.to(v.dtype), v, state], -2)
    return y.transpose(2, 3).flatten(1, 2)[:, -length:], last


def step(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, log_decay: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """One token of the recurrence: q to log_decay (batch, heads, d), in the state's dtype, to y and the state after."""
    u = torch.einsum("bhkv,bhk->bhv", state, a)
    state = log_decay.exp()[..., None] * state + b[..., None] * u[..., None, :] + k[..., None] * v[..., None, :]
    return torch.einsum("bhkv,bhk->bhv", state, q), state


def matmul_flops(length: int, n_heads: int, d_k: int, d_v: int) -> int:
    """Of chunked() over one sequence, per head.

    In each chunk of T: four kinds of scores (2 T^2 d_k each), a's with v and q's with u and v (2 T^2 d_v each), the
    transition (2 T d_k^2), the update from u and from v, what is added to u, and the read-out (2 T d_k d_v each).
    Between them the scan, as of the delta rule: 2 d_k^3 for two transitions, 2 d_k^2 d_v for one and a state.
    """
    chunk = _chunk(length)
    n_chunks = -(-length // chunk)
    inside = chunk**2 * (4 * d_k + 3 * d_v) + chunk * d_k * (d_k + 4 * d_v)
    transitions, states = affine_products(n_chunks)
    return 2 * n_heads * (n_chunks * inside + d_k**2 * (transitions * d_k + states * d_v))


def flops(length: int, n_heads: int, d_k: int, d_v: int, algorithm: str) -> int:
    """Over one sequence, as `recurrence`, or else as chunked() computes it: there is no FFT of what changes by input.

    recurrence, per step and entry of the state: decay, u, b u', k v', read-out, 1 + 2 + 2 + 2 + 2 in all.
    chunked: the matmuls; in each chunk of T, the triangular system, T (T - 1) / 2 multiply-adds on each of d_k + d_v
    columns, decays on a and q twice, on b and k once and once for each block that reads them (2 T d_k (3 + T / 16)),
    the sum of u (T d_v), and that of the transition (d_k^2); and the scan's sums.
    """
    if algorithm == "recurrence":
        return 9 * length * n_heads * d_k * d_v
    chunk = _chunk(length)
    n_chunks = -(-length // chunk)
    solve = chunk * (chunk - 1) * (d_k + d_v)
    elementwise = chunk * (2 * d_k * (3 + chunk // BLOCK) + d_v) + d_k**2
    sums = affine_products(n_chunks)[1] * d_k * d_v
    return matmul_flops(length, n_heads, d_k, d_v) + n_heads * (n_chunks * (solve + elementwise) + sums)


def _chunk(length: int) -> int:
    return min(CHUNK, -(-length // BLOCK) * BLOCK)


def _scores(a: Tensor, q: Tensor, b: Tensor, k: Tensor, a_since: Tensor, q_since: Tensor) -> tuple[Tensor, Tensor]:
    """a_t exp(a_since_t - G_s) b_s and the same with k_s side by side, (..., T, 2 T), for s < t; q's for s <= t.

    Both factors of a product are scaled to the middle of the reader's block, so that an exponent is positive over 8
    steps at most. With log w >= -10 no factor leaves float32's range, and none of a seen product is lost in it.
    """
    size, n_blocks = a.shape[-2], a.shape[-2] // BLOCK
    middle = q_since[..., BLOCK // 2 - 1 :: BLOCK, :]
    readers = [
        x.unflatten(-2, (n_blocks, BLOCK)) * (since.unflatten(-2, (n_blocks, BLOCK)) - middle[..., None, :]).exp()
        for x, since in ((a, a_since), (q, q_since))
    ]
    block, step = torch.arange(n_blocks, device=a.device), torch.arange(size, device=a.device)
    later = step > block[:, None] * BLOCK + BLOCK - 1
    decays = (middle[..., None, :] - q_since[..., None, :, :]).masked_fill(later[..., None], float("-inf")).exp()
    written = torch.cat([decays * x[..., None, :, :] for x in (b, k)], -2).to(b.dtype)
    # (..., blocks, a or q, 16, 2 T) to (..., a or q, T, 2 T)
    scores = torch.cat(readers, -2).to(b.dtype) @ written.mT
    scores = scores.unflatten(-2, (2, BLOCK)).transpose(-4, -3).flatten(-3, -2).to(decays.dtype)
    lag = step[:, None] - step.repeat(2)
    return scores[..., 0, :, :].masked_fill(lag < 1, 0.0), scores[..., 1, :, :].masked_fill(lag < 0, 0.0)
