"""The delta rule, with or without a decay per head, in chunks of matmuls, equal to kernels/reference/delta_rule.py.

S_t = a_t (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T, y_t = S_t^T q_t: a step takes back what the state holds for its
key before it writes its value. Within chunks this is the UT transform (Yang et al. 2024, DeltaNet, 3.2; with decays
Yang et al. 2025, Gated DeltaNet, 3.3); between them, an affine map of the state, scanned.
"""

import torch
from torch import Tensor

from eutectic.kernels.scalar_decay import chunks, decays
from eutectic.kernels.scan import affine_products, affine_states

CHUNK = 64


def chunked(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y (batch, length, heads, d_v), in v's dtype, and the state after the last step (batch, heads, d_k, d_v).

    q, k (batch, length, heads, d_k), v (batch, length, heads, d_v). beta, log_decay (batch, length, heads): b_t and
    log a_t, finite and <= 0, in float32 or wider; states have their dtype. initial: the state before the first step,
    zero where None.

    With G_t the sum of log a in a chunk up to t and S the state before it, the chunk writes rows u_t with keys k_t:
    u_t = b_t (v_t - exp(G_t) S^T k_t - sum_{s<t} exp(G_t - G_s) (k_t k_s) u_s), a unit triangular system whose solution
    is affine in S. Then y_t = exp(G_t) S^T q_t + sum_{s<=t} exp(G_t - G_s) (q_t k_s) u_s. No exponent is positive.
    Zeros in front, which change nothing, fill the first chunk.
    """
    length, d_k, d_v = v.shape[1], k.shape[3], v.shape[3]
    chunk = min(CHUNK, length)
    # (b, chunks, heads, T, d), and without d
    q, k, v, beta, log_decay = (chunks(x, chunk).transpose(2, 3) for x in (q, k, v, beta, log_decay))
    since, within = log_decay.cumsum(-1).exp()[..., None], decays(log_decay)

    # rows written where S is zero, and what S^T is multiplied with to be taken from them
    system = beta[..., None] * within * (k @ k.mT)
    right = beta[..., None] * torch.cat([v, since * k], -1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    rows, reads = solved.split([d_v, d_k], -1)

    kept = (within[..., -1, :, None] * k).to(v.dtype).mT
    update, taken = (kept @ solved.to(v.dtype)).to(solved.dtype).split([d_v, d_k], -1)
    identity = torch.eye(d_k, device=k.device, dtype=solved.dtype)
    before, last = affine_states(since[..., -1:, :] * identity - taken, update, initial)

    state = before.to(v.dtype)
    rows = rows - reads.to(v.dtype) @ state
    weights = torch.cat([within * (q @ k.mT), since * q], -1).to(v.dtype)
    y = weights @ torch.cat([rows.to(v.dtype), state], -2)
    return y.transpose(2, 3).flatten(1, 2)[:, -length:], last


def step(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """One token of the recurrence: q, k, v (batch, heads, d), in the state's dtype, to y and the state after it."""
    state = log_decay.exp()[..., None, None] * state
    error = v - torch.einsum("bhkv,bhk->bhv", state, k)
    state = state + k[..., None] * (beta[..., None] * error)[..., None, :]
    return torch.einsum("bhkv,bhk->bhv", state, q), state


def matmul_flops(length: int, n_heads: int, d_k: int, d_v: int) -> int:
    """Of chunked() over one sequence, per head.

    In each chunk of T: k k' and q k' (2 T^2 d_k each), the scores' product with the rows (2 T^2 d_v), the transition
    (2 T d_k^2), its update, what is taken from rows, and the read-out (2 T d_k d_v each). Between them the scan, of
    affine_products: 2 d_k^3 for two transitions, 2 d_k^2 d_v for one and a state.
    """
    chunk = min(CHUNK, length)
    n_chunks = -(-length // chunk)
    inside = chunk**2 * (2 * d_k + d_v) + chunk * d_k * (d_k + 3 * d_v)
    transitions, states = affine_products(n_chunks)
    return 2 * n_heads * (n_chunks * inside + d_k**2 * (transitions * d_k + states * d_v))


def flops(length: int, n_heads: int, d_k: int, d_v: int, algorithm: str) -> int:
    """Over one sequence, as `recurrence`, or else as chunked() computes it: there is no FFT of what changes by input.

    recurrence, per step and entry of the state: decay, prediction of v, write, read-out, 1 + 2 + 2 + 2 in all.
    chunked: the matmuls; in each chunk of T, the triangular system, T (T - 1) / 2 multiply-adds on each of d_k + d_v
    columns, its weights by decay and beta and those of the scores (3 T^2), beta on its right side (T (d_k + d_v)),
    decays on keys twice and queries once (3 T d_k), both sums of d_v (2 T d_v) and the transition's difference (d_k^2);
    and the scan's sums.
    """
    if algorithm == "recurrence":
        return 7 * length * n_heads * d_k * d_v
    chunk = min(CHUNK, length)
    n_chunks = -(-length // chunk)
    solve = chunk * (chunk - 1) * (d_k + d_v)
    elementwise = chunk * (3 * chunk + 4 * d_k + 3 * d_v) + d_k**2
    sums = affine_products(n_chunks)[1] * d_k * d_v
    return matmul_flops(length, n_heads, d_k, d_v) + n_heads * (n_chunks * (solve + elementwise) + sums)
