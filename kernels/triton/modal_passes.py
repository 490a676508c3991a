"""StripedHyena's operator in one pass forward and one back, on tensor cores; equal to kernels/reference/.

A program walks the sequences of one channel, a block of N chunks of T steps at a time. With U the gated inputs of a
block, (chunks, steps), and S the modes' states before each chunk, in real and imaginary parts side by side,

    Y = U H' + S O',    E = U I,    S_{j+1} = a S_j + E_j

where H is the Toeplitz matrix of the filter's first T taps, O reads the states out, I takes inputs into them, and a is
the decay of a chunk: small, of every channel, made from poles and residues outside, where autograd brings their
gradients back. The recurrence over a block's chunks is a scan, and a block leaves its state to the next one. The way
back is the same in reverse, to the gradients of filtered queries and of U; U and S are kept from the way forward.

Tensors are (channels, batch, length), as a projection W x' gives them: a tensor core multiplies along steps, which
then lie side by side. Real poles are complex ones without imaginary parts.
"""

import triton
import triton.language as tl

from eutectic.kernels.triton.fir_gate import filtered, three
from eutectic.kernels.triton.toeplitz import dot


@triton.jit
def _times(a_re, a_im, b_re, b_im):
    return a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re


@triton.jit
def _joined(re, im, ROWS: tl.constexpr, M: tl.constexpr):
    """(ROWS, 2 M): parts side by side."""
    return tl.reshape(tl.join(re, im), [ROWS, 2 * M])


@triton.jit
def _parts(x, ROWS: tl.constexpr, M: tl.constexpr):
    return tl.split(tl.reshape(x, [ROWS, M, 2]))


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
def _matrices(h, into, out, decay, channel, like, T: tl.constexpr, M: tl.constexpr):
    """Of a channel: H (T, T), with h_{t-s} at row t, column s, I and O (T, 2 M), as wide as `like`, and a in parts."""
    t, s = tl.arange(0, T)[:, None], tl.arange(0, T)[None, :]
    h_m = tl.load(h + channel * T + t - s, mask=t >= s, other=0.0).to(like)
    at = (channel * T + t) * 2 * M + tl.arange(0, 2 * M)[None, :]
    a_re, a_im = _parts(tl.load(decay + channel * 2 * M + tl.arange(0, 2 * M)[None, :]), 1, M)
    return h_m, tl.load(into + at).to(like), tl.load(out + at).to(like), a_re, a_im


@triton.jit
def _then(a_re, a_im, x_re, x_im, b_re, b_im, y_re, y_im):
    """First S -> a S + x, then S -> b S + y."""
    c_re, c_im = _times(b_re, b_im, a_re, a_im)
    z_re, z_im = _times(b_re, b_im, x_re, x_im)
    return c_re, c_im, z_re + y_re, z_im + y_im


@triton.jit
def _states(e, state, a_re, a_im, within, N: tl.constexpr, M: tl.constexpr):
    """From a state (1, 2 M) and what each chunk adds, e (N, 2 M): the states after each chunk, (N, 2 M), and after all.

    A chunk that is not `within` the sequence leaves it as it is.
    """
    e_re, e_im = _parts(e, N, M)
    s_re, s_im = _parts(state, 1, M)
    a_re, a_im = tl.where(within, a_re, 1.0), tl.where(within, a_im, 0.0)
    p_re, p_im, x_re, x_im = tl.associative_scan((a_re, a_im, e_re, e_im), 0, _then)
    moved_re, moved_im = _times(p_re, p_im, s_re, s_im)
    after = _joined(x_re + moved_re, x_im + moved_im, N, M)
    end = tl.where(tl.arange(0, N)[:, None] == N - 1, after, 0.0)
    return after, tl.sum(end, 0, keep_dims=True)


@triton.jit
def _before(after, state, like, N: tl.constexpr, M: tl.constexpr):
    """(N, 2 M), as wide as `like`: the state before each chunk, of those after them; a shift, exact."""
    i, j = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    moved = dot(tl.where(i == j + 1, 1.0, 0.0).to(like), after.to(like), tl.zeros([N, 2 * M], tl.float32))
    return tl.where(i == 0, state, moved).to(like)


@triton.jit
def forward(
    qkv, fir, h, into, out, decay, initial, y, u, saved, last, D, batch, length, share, chunks,
    LEAD: tl.constexpr, EXACT: tl.constexpr, T: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """y; u, the gated inputs; saved (D, batch, blocks N, 2 M), the states before each chunk; last (batch, D, 2 M)."""
    channel, first = (tl.program_id(0) % D).to(tl.int64), tl.program_id(0) // D * share
    row, step, part = tl.arange(0, N)[:, None], tl.arange(0, T)[None, :], tl.arange(0, 2 * M)[None, :]
    like = y.dtype.element_ty
    h_m, i_m, o_m, a_re, a_im = _matrices(h, into, out, decay, channel, like, T, M)
    h_m, o_m = h_m.T, o_m.T
    q0, q1, q2 = three(fir, channel)
    k0, k1, k2 = three(fir, D + channel)
    v0, v1, v2 = three(fir, 2 * D + channel)
    state, blocks = tl.zeros([1, 2 * M], tl.float32), tl.cdiv(chunks, N)
    for number in range(tl.minimum(share, batch - first) * blocks):
        sequence, block = first + number // blocks, number % blocks
        at = (sequence * D + channel) * 2 * M + part
        state = tl.where(block == 0, tl.load(initial + at, mask=part < tl.where(block == 0, 2 * M, 0)), state)
        chunk = block * N + row
        t, kept = chunk * T + step, (channel * batch + sequence) * blocks * N + chunk
        q = qkv + (channel * batch + sequence) * (LEAD + length) + LEAD
        k, v = q + D * batch * (LEAD + length), q + 2 * D * batch * (LEAD + length)
        u_t = filtered(k, k0, k1, k2, t, length, LEAD, EXACT, N, T)
        u_t = (u_t * filtered(v, v0, v1, v2, t, length, LEAD, EXACT, N, T)).to(like)
        if not EXACT:
            u_t = tl.where(t < length, u_t, 0.0)  # FIRs go on beyond the end
        _store(u + (channel * batch + sequence) * length + t, u_t, t < length, EXACT)
        e = dot(u_t, i_m, tl.zeros([N, 2 * M], tl.float32))
        after, end = _states(e, state, a_re, a_im, chunk < chunks, N, M)
        s = _before(after, state, like, N, M)
        tl.store(saved + kept * 2 * M + part, s)
        conv = dot(s, o_m, dot(u_t, h_m, tl.zeros([N, T], tl.float32)))
        y_t = filtered(q, q0, q1, q2, t, length, LEAD, EXACT, N, T) * conv
        _store(y + (channel * batch + sequence) * length + t, y_t, t < length, EXACT)
        state = end
        tl.store(last + at, state, mask=part < tl.where(block == blocks - 1, 2 * M, 0))


@triton.jit
def backward(
    q, fir, h, into, out, decay, u, saved, dy, dlast, dq, du, dh, dinto, dout, ddecay, dinitial,
    D, batch, length, share, chunks,
    LEAD: tl.constexpr, EXACT: tl.constexpr, T: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """dq and du, of the filtered q and of u, and dinitial; and by group of sequences dh, dinto, dout, ddecay in the
    matrices. dh (groups, channels, T, T) holds what adds to h_lag at (lag, s) for every s."""
    channel, group = (tl.program_id(0) % D).to(tl.int64), tl.program_id(0) // D
    row, step, part = tl.arange(0, N)[:, None], tl.arange(0, T)[None, :], tl.arange(0, 2 * M)[None, :]
    like = dy.dtype.element_ty
    h_m, i_m, o_m, a_re, a_im = _matrices(h, into, out, decay, channel, like, T, M)
    w0, w1, w2 = three(fir, channel)
    d_h, d_o, d_i = tl.zeros([T, T], tl.float32), tl.zeros([T, 2 * M], tl.float32), tl.zeros([T, 2 * M], tl.float32)
    da_re, da_im = tl.zeros([N, M], tl.float32), tl.zeros([N, M], tl.float32)
    later, blocks = tl.zeros([1, 2 * M], tl.float32), tl.cdiv(chunks, N)
    for number in range(tl.minimum(share, batch - group * share) * blocks):
        sequence, block = group * share + number // blocks, blocks - 1 - number % blocks
        at = (sequence * D + channel) * 2 * M + part
        ends = part < tl.where(block == blocks - 1, 2 * M, 0)
        later = tl.where(block == blocks - 1, tl.load(dlast + at, mask=ends), later)
        chunk = block * N + N - 1 - row  # as gradients go, from the last
        t, kept = chunk * T + step, (channel * batch + sequence) * blocks * N + chunk
        s = tl.load(saved + kept * 2 * M + part)
        there, of = t < length, (channel * batch + sequence) * length + t
        dy_t, u_t = _load(dy + of, there, EXACT).to(tl.float32), _load(u + of, there, EXACT)
        x = q + (channel * batch + sequence) * (LEAD + length) + LEAD
        g_t = (filtered(x, w0, w1, w2, t, length, LEAD, EXACT, N, T) * dy_t).to(like)

        conv = dot(s, o_m.T, dot(u_t, h_m.T, tl.zeros([N, T], tl.float32)))
        _store(dq + of, dy_t * conv, there, EXACT)
        read = dot(g_t, o_m, tl.zeros([N, 2 * M], tl.float32))
        after, end = _states(read, later, a_re, -a_im, chunk < chunks, N, M)
        lam = _before(after, later, like, N, M)
        d_u = dot(lam, i_m.T, dot(g_t, h_m, tl.zeros([N, T], tl.float32)))
        _store(du + of, d_u, there, EXACT)
        later = end
        tl.store(dinitial + at, later, mask=part < tl.where(block == 0, 2 * M, 0))

        g_turned = g_t.T
        d_h = dot(g_turned, u_t, d_h)
        d_o = dot(g_turned, s, d_o)
        d_i = dot(u_t.T, lam, d_i)
        s_re, s_im = _parts(s.to(tl.float32), N, M)
        lam_re, lam_im = _parts(tl.where(chunk < chunks, lam.to(tl.float32), 0.0), N, M)
        da_re += lam_re * s_re + lam_im * s_im
        da_im += lam_im * s_re - lam_re * s_im
    channel += group * D
    rows = tl.arange(0, T)[:, None]
    lag = rows - step
    tl.store(dh + (channel * T + (lag + T) % T) * T + step, tl.where(lag >= 0, d_h, 0.0))
    tl.store(dout + (channel * T + rows) * 2 * M + part, d_o)
    tl.store(dinto + (channel * T + rows) * 2 * M + part, d_i)
    d_a = _joined(tl.sum(da_re, 0, keep_dims=True), tl.sum(da_im, 0, keep_dims=True), 1, M)
    tl.store(ddecay + channel * 2 * M + part, d_a)
