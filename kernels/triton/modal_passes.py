"""StripedHyena's operator in one pass forward and one back, on tensor cores; equal to kernels/reference/.

A sequence is cut into segments of many chunks. A program walks the chunks of several segments side by side, for one
channel, and carries the modes' states: with U the gated inputs of a chunk, (segments, steps),

    Y = U H' + S O',    S' = S A' + U I'

where H is the Toeplitz matrix of the filter's first taps, I how inputs enter the state, O how it is read, and A its
decay over a chunk; small real matrices of every channel, made from poles and residues by `matrices`, through which
autograd brings their gradients back. A first, lighter pass gates the inputs and finds what each segment leaves behind,
and a scan the state before each. The way back is the same in reverse, with the gated inputs and the states before each
chunk kept from the way forward.

Tensors are (channels, batch, length), as a projection W x' gives them: a tensor core multiplies along steps, which
then lie side by side.
"""

import triton
import triton.language as tl

from eutectic.kernels.triton.fir_gate import filtered, three


@triton.jit
def _place(D, chunks, segments, T: tl.constexpr, N: tl.constexpr):
    """Of a program: its channel, segments of all sequences (N, 1), their sequences, and their first steps."""
    stream = tl.program_id(0) // D * N + tl.arange(0, N)[:, None]
    return (tl.program_id(0) % D).to(tl.int64), stream, stream // segments, stream % segments * chunks * T


@triton.jit
def _load(x, mask, EXACT: tl.constexpr):
    """x, zero where the mask says so; EXACT: it never does, and need not be made."""
    return tl.load(x) if EXACT else tl.load(x, mask=mask, other=0.0)


@triton.jit
def _store(x, y, mask, EXACT: tl.constexpr):
    if EXACT:
        tl.store(x, y.to(x.dtype.element_ty))
    else:
        tl.store(x, y.to(x.dtype.element_ty), mask=mask)


@triton.jit
def _matrix(m, channel, ROWS: tl.constexpr, COLUMNS: tl.constexpr, like):
    """A channel's of m (channels, ROWS, COLUMNS), as wide as what `like` points to."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    return tl.load(m + (channel * ROWS + row) * COLUMNS + column).to(like.dtype.element_ty)


@triton.jit
def _toeplitz(h, channel, T: tl.constexpr, like):
    """(T, T) with h_{t-s} at row t, column s."""
    lag = tl.arange(0, T)[:, None] - tl.arange(0, T)[None, :]
    return tl.load(h + channel * T + lag, mask=lag >= 0, other=0.0).to(like.dtype.element_ty)


@triton.jit
def _carry(state, decay, new, matrix):
    """state decayed over a chunk, and what the chunk adds to it; a state keeps 16 bits of its products at least."""
    added = _dot(new, matrix, tl.zeros_like(state))
    if new.dtype == tl.float32:
        return _dot(state, decay, added)
    state_high, decay_high = state.to(new.dtype), decay.to(new.dtype)
    added = _dot((state - state_high).to(new.dtype), decay_high, added)
    added = _dot(state_high, (decay - decay_high).to(new.dtype), added)
    return _dot(state_high, decay_high, added)


@triton.jit
def _dot(a, b, added):
    return tl.dot(a, b, added, input_precision="ieee")


@triton.jit
def enter(
    qkv, fir, u, into, decay, left, D, tokens, length, chunks, segments, streams,
    LEAD: tl.constexpr, EXACT: tl.constexpr, T: tl.constexpr, N: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """u, the gated input, and left (streams, channels, R), the state that each segment leaves if it began with none."""
    channel, stream, sequence, first = _place(D, chunks, segments, T, N)
    step, state_row = tl.arange(0, T)[None, :], tl.arange(0, R)[None, :]
    i_m, a_m = _matrix(into, channel, R, T, u).T, _matrix(decay, channel, R, R, decay).T
    state = tl.zeros([N, R], tl.float32)
    width = tokens // length * (LEAD + length)
    k, v = qkv + (D + channel) * width, qkv + (2 * D + channel) * width
    k0, k1, k2 = three(fir, D + channel)
    v0, v1, v2 = three(fir, 2 * D + channel)
    row, present = sequence * (LEAD + length) + LEAD, stream < streams
    for chunk in range(chunks):
        t = first + chunk * T + step
        u_t = filtered(k, k0, k1, k2, row, t, present, length, LEAD, EXACT, N, T)
        u_t = (u_t * filtered(v, v0, v1, v2, row, t, present, length, LEAD, EXACT, N, T)).to(u.dtype.element_ty)
        _store(u + channel * tokens + sequence * length + t, u_t, present & (t < length), EXACT)
        state = _carry(state, a_m, u_t, i_m)
    _store(left + (stream.to(tl.int64) * D + channel) * R + state_row, state, present, EXACT)


@triton.jit
def enter_back(
    qkv, fir, dy, g, out, decay, left, D, tokens, length, chunks, segments, streams,
    LEAD: tl.constexpr, EXACT: tl.constexpr, T: tl.constexpr, N: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """g, q times the gradient in y, and left, the gradient in the state before each segment if it ends with none."""
    channel, stream, sequence, first = _place(D, chunks, segments, T, N)
    step, state_row = tl.arange(0, T)[None, :], tl.arange(0, R)[None, :]
    o_m, a_m = _matrix(out, channel, T, R, g), _matrix(decay, channel, R, R, decay)
    state = tl.zeros([N, R], tl.float32)
    q = qkv + channel * (tokens // length * (LEAD + length))
    w0, w1, w2 = three(fir, channel)
    row, present = sequence * (LEAD + length) + LEAD, stream < streams
    for back in range(chunks):
        t = first + (chunks - 1 - back) * T + step
        at = channel * tokens + sequence * length + t
        g_t = filtered(q, w0, w1, w2, row, t, present, length, LEAD, EXACT, N, T)
        g_t = (g_t * _load(dy + at, present & (t < length), EXACT).to(tl.float32)).to(g.dtype.element_ty)
        _store(g + at, g_t, present & (t < length), EXACT)
        state = _carry(state, a_m, g_t, o_m)
    _store(left + (stream.to(tl.int64) * D + channel) * R + state_row, state, present, EXACT)


@triton.jit
def _then(a_re, a_im, x_re, x_im, b_re, b_im, y_re, y_im):
    """First S -> a S + x, then S -> b S + y."""
    return (
        b_re * a_re - b_im * a_im,
        b_re * a_im + b_im * a_re,
        b_re * x_re - b_im * x_im + y_re,
        b_re * x_im + b_im * x_re + y_im,
    )


@triton.jit
def scan(
    left, jump, initial, before, last, D, segments, modes,
    M: tl.constexpr, R: tl.constexpr, G: tl.constexpr, COMPLEX: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    """before (batch, segments, D, R): the state that meets each segment, and last (batch, D, R), from what each leaves.

    jump (2, D, modes): real and imaginary parts of the modes' decay over a segment. BACK: from the last segment to the
    first, by the conjugate, as gradients go.
    """
    channel, sequence = tl.program_id(0), tl.program_id(1).to(tl.int64)
    m, j = tl.arange(0, M)[None, :], tl.arange(0, G)[:, None]
    is_mode = m < modes
    a_re = tl.load(jump + channel * modes + m, mask=is_mode, other=0.0)
    a_im = tl.load(jump + (D + channel) * modes + m, mask=is_mode & COMPLEX, other=0.0)
    a_im = -a_im if BACK else a_im
    start = initial + (sequence * D + channel) * R + m
    s_re = tl.load(start, mask=is_mode, other=0.0)
    s_im = tl.load(start + modes, mask=is_mode & COMPLEX, other=0.0)
    a_re, a_im = tl.broadcast_to(a_re, [G, M]), tl.broadcast_to(a_im, [G, M])
    for first in range(0, segments, G):
        number = first + j
        at = ((sequence * segments + (segments - 1 - number if BACK else number)) * D + channel) * R + m
        there = (number < segments) & is_mode
        x_re = tl.load(left + at, mask=there, other=0.0)
        x_im = tl.load(left + at + modes, mask=there & COMPLEX, other=0.0)
        p_re, p_im, x_re, x_im = tl.associative_scan((a_re, a_im, x_re, x_im), 0, _then)
        x_re, x_im = x_re + p_re * s_re - p_im * s_im, x_im + p_re * s_im + p_im * s_re
        tl.store(before + at, tl.broadcast_to(s_re, [G, M]), mask=there & (j == 0))
        tl.store(before + at + modes, tl.broadcast_to(s_im, [G, M]), mask=there & (j == 0) & COMPLEX)
        step = -D * R if BACK else D * R
        there = there & (j < G - 1) & (number < segments - 1)
        tl.store(before + at + step, x_re, mask=there)
        tl.store(before + at + step + modes, x_im, mask=there & COMPLEX)
        final = j == tl.minimum(G, segments - first) - 1
        s_re = tl.sum(tl.where(final, x_re, 0.0), 0)[None, :]
        s_im = tl.sum(tl.where(final, x_im, 0.0), 0)[None, :]
    end = last + (sequence * D + channel) * R + m
    tl.store(end, s_re, mask=is_mode)
    tl.store(end + modes, s_im, mask=is_mode & COMPLEX)


@triton.jit
def forward(
    qkv, fir, u, h, into, out, decay, before, y, saved, D, tokens, length, chunks, segments, streams,
    LEAD: tl.constexpr, EXACT: tl.constexpr, T: tl.constexpr, N: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """y, and saved (streams, chunks, channels, R): the states before each chunk."""
    channel, stream, sequence, first = _place(D, chunks, segments, T, N)
    step, state_at = tl.arange(0, T)[None, :], channel * R + tl.arange(0, R)[None, :]
    h_m, o_m = _toeplitz(h, channel, T, u).T, _matrix(out, channel, T, R, u).T
    i_m, a_m = _matrix(into, channel, R, T, u).T, _matrix(decay, channel, R, R, decay).T
    row, present, stream = sequence * (LEAD + length) + LEAD, stream < streams, stream.to(tl.int64)
    state = _load(before + stream * D * R + state_at, present, EXACT)
    q = qkv + channel * (tokens // length * (LEAD + length))
    w0, w1, w2 = three(fir, channel)
    for chunk in range(chunks):
        t = first + chunk * T + step
        at = channel * tokens + sequence * length + t
        u_t = _load(u + at, present & (t < length), EXACT)
        s = state.to(u_t.dtype)
        _store(saved + (stream * chunks + chunk) * D * R + state_at, s, present, EXACT)
        conv = _dot(s, o_m, _dot(u_t, h_m, tl.zeros(u_t.shape, tl.float32)))
        q_t = filtered(q, w0, w1, w2, row, t, present, length, LEAD, EXACT, N, T)
        _store(y + at, q_t * conv, present & (t < length), EXACT)
        state = _carry(state, a_m, u_t, i_m)


@triton.jit
def backward(
    g, u, h, into, out, decay, saved, after, dy, dq, du, dh, dinto, dout, ddecay,
    D, tokens, length, chunks, segments, streams,
    LEAD: tl.constexpr, EXACT: tl.constexpr, T: tl.constexpr, N: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """dq, du, and dh, dinto, dout, ddecay in the matrices, by group of segments; dh (groups, channels, T, T) holds what
    adds to h_lag at (lag, s) for every s."""
    channel, stream, sequence, first = _place(D, chunks, segments, T, N)
    step, state_at = tl.arange(0, T)[None, :], channel * R + tl.arange(0, R)[None, :]
    h_m, o_m = _toeplitz(h, channel, T, u).T, _matrix(out, channel, T, R, u).T
    h_back, o_back = _toeplitz(h, channel, T, u), _matrix(out, channel, T, R, u)
    i_back, a_back = _matrix(into, channel, R, T, u), _matrix(decay, channel, R, R, decay)
    present, stream = stream < streams, stream.to(tl.int64)
    later = _load(after + stream * D * R + state_at, present, EXACT)
    d_h, d_o = tl.zeros([T, T], tl.float32), tl.zeros([T, R], tl.float32)
    d_i, d_a = tl.zeros([R, T], tl.float32), tl.zeros([R, R], tl.float32)
    for back in range(chunks):
        chunk = chunks - 1 - back
        t = first + chunk * T + step
        at, there = channel * tokens + sequence * length + t, present & (t < length)
        u_t, g_t = _load(u + at, there, EXACT), _load(g + at, there, EXACT)
        s = _load(saved + (stream * chunks + chunk) * D * R + state_at, present, EXACT)
        conv = _dot(s, o_m, _dot(u_t, h_m, tl.zeros(u_t.shape, tl.float32)))
        _store(dq + at, _load(dy + at, there, EXACT).to(tl.float32) * conv, there, EXACT)
        lam = later.to(u_t.dtype)
        d_u = _dot(lam, i_back, _dot(g_t, h_back, tl.zeros(g_t.shape, tl.float32)))
        _store(du + at, d_u, there, EXACT)
        g_turned, lam_turned = g_t.T, lam.T
        d_h = _dot(g_turned, u_t, d_h)
        d_o = _dot(g_turned, s, d_o)
        d_i = _dot(lam_turned, u_t, d_i)
        d_a = _dot(lam_turned, s, d_a)
        later = _carry(later, a_back, g_t, o_back)
    channel += tl.program_id(0) // D * D
    rows, columns = tl.arange(0, T)[:, None], tl.arange(0, R)[:, None]
    lag = rows - step
    tl.store(dh + (channel * T + (lag + T) % T) * T + step, tl.where(lag >= 0, d_h, 0.0))
    tl.store(dout + (channel * T + rows) * R + tl.arange(0, R)[None, :], d_o)
    tl.store(dinto + (channel * R + columns) * T + step, d_i)
    tl.store(ddecay + (channel * R + columns) * R + tl.arange(0, R)[None, :], d_a)
