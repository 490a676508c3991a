"""The passes of scalar_decay.py over chunks of T steps, a program for each chunk of a head; kernels/reference/ has it.

Tensors are (batch, length, heads or groups, dim) as the projections leave them, read by their strides; what is beyond
the length is zero. States are (batch, heads, chunks, d_k, d_v). No exponent is positive, and each is a sum of its own:
a difference of sums from the first step on would lose, in float32, what is small beside a strong decay before it.
"""

import triton
import triton.language as tl


@triton.jit
def _tile(x, stride, t, d, length, D):
    """(T, columns) of one head."""
    return tl.load(x + t[:, None] * stride + d[None, :], mask=(t[:, None] < length) & (d[None, :] < D), other=0.0)


@triton.jit
def _state(x, i, j, K, V):
    return tl.load(x + i[:, None] * V + j[None, :], mask=(i[:, None] < K) & (j[None, :] < V), other=0.0)


@triton.jit
def _dot(a, b):
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _decay_to(log_decay, H, t, length):
    """(T,): what is left of a chunk's first state at each step."""
    return tl.exp(tl.cumsum(tl.load(log_decay + t * H, mask=t < length, other=0.0), 0))


@triton.jit
def _decay_after(log_decay, H, t, length, last):
    """(T,): what is left of each step when the chunk, whose last step is `last`, has ended."""
    later = tl.load(log_decay + (t + 1) * H, mask=(t < last) & (t + 1 < length), other=0.0)
    return tl.exp(tl.cumsum(later, 0, reverse=True))


@triton.jit
def _decay_between(log_decay, H, t, length):
    """(T, T): what is left at row t of step s; zero where s > t."""
    a = tl.load(log_decay + t * H, mask=t < length, other=0.0)[:, None]
    lag = t[:, None] - t[None, :]
    return tl.where(lag >= 0, tl.exp(tl.cumsum(tl.where(lag > 0, a, 0.0), 0)), 0.0)


@triton.jit
def chunk_states(
    k, v, log_decay, states, left, k_batch, k_step, k_head, v_batch, v_step, v_head, H, share, length, K, V,
    BACK: tl.constexpr, T: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """states: what each chunk adds, sum_s decay after s k_s v_s', and left, the decay over it; left alone to the last.

    BACK: of queries and gradients in y, what each chunk adds to the gradient in the state before it, weighed by the
    decay up to them.
    """
    chunks = tl.cdiv(length, T)
    chunk, stream = tl.program_id(0) % chunks, (tl.program_id(0) // chunks).to(tl.int64)
    batch, head = stream // H, stream % H
    t, i, j = chunk * T + tl.arange(0, T), tl.arange(0, BK), tl.program_id(1) * BV + tl.arange(0, BV)
    log_decay += batch * length * H + head
    k_t = _tile(k + batch * k_batch + head // share * k_head, k_step, t, i, length, K)
    v_t = _tile(v + batch * v_batch + head * v_head, v_step, t, j, length, V)
    until = _decay_to(log_decay, H, t, length)
    weight = until if BACK else _decay_after(log_decay, H, t, length, chunk * T + T - 1)
    added = _dot(tl.trans(k_t), (v_t * weight[:, None]).to(v_t.dtype))
    number = stream * chunks + chunk
    at = states + number * K * V + i[:, None] * V + j[None, :]
    tl.store(at, added, mask=(i[:, None] < K) & (j[None, :] < V))
    over = tl.sum(tl.where(t == chunk * T + T - 1, until, 0.0), 0)
    tl.store(left + number, over)


@triton.jit
def pass_states(states, left, initial, met, last, chunks, size, BACK: tl.constexpr, BLOCK: tl.constexpr):
    """met: the states that each chunk meets, from what each adds; last: after all. BACK: from the last chunk on."""
    stream, e = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = e < size
    state = tl.load(initial + stream * size + e, mask=there, other=0.0)
    for number in range(chunks):
        chunk = stream * chunks + (chunks - 1 - number if BACK else number)
        tl.store(met + chunk * size + e, state.to(met.dtype.element_ty), mask=there)
        added = tl.load(states + chunk * size + e, mask=there, other=0.0)
        state = tl.load(left + chunk) * state + added
    tl.store(last + stream * size + e, state, mask=there)


@triton.jit
def outputs(
    q, k, v, log_decay, before, y, q_batch, q_step, q_head, k_batch, k_step, k_head, v_batch, v_step, v_head,
    H, share, length, K, V, T: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """y (batch, length, H, V): a chunk's own share, and what it reads from the state before it."""
    chunks = tl.cdiv(length, T)
    chunk, stream = tl.program_id(0) % chunks, (tl.program_id(0) // chunks).to(tl.int64)
    batch, head = stream // H, stream % H
    t, i, j = chunk * T + tl.arange(0, T), tl.arange(0, BK), tl.program_id(1) * BV + tl.arange(0, BV)
    log_decay += batch * length * H + head
    q_t = _tile(q + batch * q_batch + head // share * q_head, q_step, t, i, length, K)
    k_t = _tile(k + batch * k_batch + head // share * k_head, k_step, t, i, length, K)
    v_t = _tile(v + batch * v_batch + head * v_head, v_step, t, j, length, V)
    state = _state(before + (stream * chunks + chunk) * K * V, i, j, K, V)
    weights = _dot(q_t, tl.trans(k_t)) * _decay_between(log_decay, H, t, length)
    y_t = _dot(weights.to(v_t.dtype), v_t)
    y_t += _dot(q_t, state) * _decay_to(log_decay, H, t, length)[:, None]
    at = y + ((batch * length + t[:, None]) * H + head) * V + j[None, :]
    tl.store(at, y_t.to(y.dtype.element_ty), mask=(t[:, None] < length) & (j[None, :] < V))


@triton.jit
def backward(
    q, k, v, log_decay, before, after, dy, dq, dk, dv, dlog,
    q_batch, q_step, q_head, k_batch, k_step, k_head, v_batch, v_step, v_head,
    H, share, length, K, V, T: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """dq, dk (batch, length, H, K), dv and dlog, from the gradients in y and, `after`, in states after each chunk."""
    chunks = tl.cdiv(length, T)
    chunk, stream = tl.program_id(0) % chunks, (tl.program_id(0) // chunks).to(tl.int64)
    batch, head = stream // H, stream % H
    t, i = chunk * T + tl.arange(0, T), tl.arange(0, BK)
    log_decay += batch * length * H + head
    q_t = _tile(q + batch * q_batch + head // share * q_head, q_step, t, i, length, K)
    k_t = _tile(k + batch * k_batch + head // share * k_head, k_step, t, i, length, K)
    until = _decay_to(log_decay, H, t, length)
    since = _decay_after(log_decay, H, t, length, chunk * T + T - 1)
    between = _decay_between(log_decay, H, t, length)
    products = _dot(q_t, tl.trans(k_t))
    weights = tl.trans((products * between).to(q_t.dtype))
    d_weights, both = tl.zeros([T, T], tl.float32), 0.0
    d_q, d_k = tl.zeros([T, BK], tl.float32), tl.zeros([T, BK], tl.float32)
    number = (stream * chunks + chunk) * K * V
    for block in tl.static_range(BLOCKS):
        j = block * BV + tl.arange(0, BV)
        v_t = _tile(v + batch * v_batch + head * v_head, v_step, t, j, length, V)
        dy_t = _tile(dy + (batch * length * H + head) * V, H * V, t, j, length, V)
        state, later = _state(before + number, i, j, K, V), _state(after + number, i, j, K, V)
        d_weights += _dot(dy_t, tl.trans(v_t))
        d_q += _dot(dy_t, tl.trans(state))
        d_k += _dot(v_t, tl.trans(later))
        both += tl.sum(state.to(tl.float32) * later.to(tl.float32))
        d_v = _dot(weights, dy_t) + _dot(k_t, later) * since[:, None]
        at = dv + ((batch * length + t[:, None]) * H + head) * V + j[None, :]
        tl.store(at, d_v.to(dv.dtype.element_ty), mask=(t[:, None] < length) & (j[None, :] < V))
    d_q, d_k = d_q * until[:, None], d_k * since[:, None]
    d_products = d_weights * between

    # log a at t is in what is read at t and later, in what enters before t, and in weights from before t to t and later
    read, entered = tl.sum(d_q * q_t.to(tl.float32), 1), tl.sum(d_k * k_t.to(tl.float32), 1)
    across = tl.cumsum(d_products * products, 0, reverse=True) + entered[None, :]
    d_log = tl.sum(tl.where(t[None, :] < t[:, None], across, 0.0), 1) + tl.cumsum(read, 0, reverse=True)
    d_log += both * tl.sum(tl.where(t == chunk * T + T - 1, until, 0.0), 0)
    tl.store(dlog + (batch * length + t) * H + head, d_log, mask=t < length)

    d_products = d_products.to(q_t.dtype)
    d_q += _dot(d_products, k_t)
    d_k += _dot(tl.trans(d_products), q_t)
    at = ((batch * length + t[:, None]) * H + head) * K + i[None, :]
    there = (t[:, None] < length) & (i[None, :] < K)
    tl.store(dq + at, d_q.to(dq.dtype.element_ty), mask=there)
    tl.store(dk + at, d_k.to(dk.dtype.element_ty), mask=there)
