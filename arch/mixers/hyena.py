"""StripedHyena's gated convolution in modal form (Poli et al. 2023; Massaroli et al. 2023, eq. 3.2)."""

import math

import torch
from torch import Tensor

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import exempt, identity_taps, linear, short_conv, short_conv_step, wide
from eutectic.kernels import dispatch, modal_conv

FIR_TAPS = 3
# poles start with memories of 1 to 256 tokens, evenly in log
SHORTEST_MEMORY, LONGEST_MEMORY = 1.0, 256.0


class Hyena(Mixer):
    """y = W_out(q * (h conv u + D u)), u = k * v, with q, k, v = FIR3(W_in x) and h_t = Re sum_n R_n p_n^t.

    The filter is computed in float32 at least, and its parameters are exempt from weight decay: they are positions of
    poles, not weights.
    """

    card = Card(
        paper="Poli et al. 2023, StripedHyena; Massaroli et al. 2023, Laughing Hyena",
        equation="y = W_out(q * (h conv u + D u)), u = k * v, h_t = Re sum_n R_n p_n^t (eq. 3.2)",
        state="2 n d (1 n d if poles are real) + 6 d of the FIR",
        time="L",
        oracle="stripedhyena's ParallelHyenaFilter",
    )

    def __init__(self, shape: LayerShape, *, conv: str = "chunked"):
        super().__init__()
        d_inner, n = shape.d_inner, shape.n_modes
        self.d_inner, self.n_modes, self.complex_poles = d_inner, n, shape.poles == "complex"
        self.conv = dispatch.MODAL_CONVS[conv]
        self.qkv = linear(shape.d_model, 3 * d_inner)
        self.out = linear(d_inner, shape.d_model, shape.out_scale)
        self.fir = exempt(identity_taps(3 * d_inner, FIR_TAPS))
        memory = torch.logspace(math.log10(SHORTEST_MEMORY), math.log10(LONGEST_MEMORY), n)
        self.log_decay = exempt(-memory.log().repeat(d_inner, 1))
        self.residues = exempt(torch.randn(d_inner, n, 1 + self.complex_poles) * n**-0.5 / memory[:, None] ** 0.5)
        if self.complex_poles:
            self.angle = exempt(torch.rand(d_inner, n) * math.pi / memory)
        self.skip = exempt(torch.ones(d_inner))

    def poles(self) -> tuple[Tensor, Tensor]:
        """log p and R, both (d_inner, n_modes). |p| = exp(-exp(log_decay)) < 1 always: the filter is stable."""
        decay, residues = -wide(self.log_decay).exp(), wide(self.residues)
        if not self.complex_poles:
            return decay, residues[..., 0]
        return torch.complex(decay, wide(self.angle)), torch.complex(residues[..., 0], residues[..., 1])

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = short_conv(self.qkv(x), self.fir, None)[0].chunk(3, -1)
        u = k * v
        return self._gated(q, u, self.conv(u, *self.poles()))

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the inputs of the FIR, (batch, 2, 3 d_inner), and the modes, (batch, d_inner, n_modes)."""
        past, modes = state or (None, None)
        qkv, past = short_conv(self.qkv(x), self.fir, past)
        q, k, v = qkv.chunk(3, -1)
        u = k * v
        y, modes = modal_conv.prefill(u, *self.poles(), modes)
        return self._gated(q, u, y), (past, modes)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past, modes = state
        qkv, past = short_conv_step(self.qkv(x), self.fir, past)
        q, k, v = qkv.chunk(3, -1)
        u = k * v
        log_poles, residues = self.poles()
        modes = modes * log_poles.exp() + u[..., None]
        return self._gated(q, u, (modes * residues).sum(-1).real), (past, modes)

    def _gated(self, q: Tensor, u: Tensor, y: Tensor) -> Tensor:
        return self.out(q * (y.to(u.dtype) + self.skip.to(u.dtype) * u))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """Per token and channel: FIR 2 taps each on q, k, v; two gates; the skip; and the long convolution.

        recurrence: n modes of a complex multiply-add (8) and a real read-out (4), or 2 and 2 where poles are real.
        chunked: 2T of Toeplitz, 2 x 2 real rows of states in and out, the states' recurrence once a chunk.
        fft: three real transforms of 2 length at 2.5 (2 length) log2(2 length), the filter's shared by a batch and
        left out, and a complex product at 6 for length + 1 frequencies.
        """
        d_inner, rows = self.d_inner, self.n_modes * (1 + self.complex_poles)
        projection = 2 * length * (self.qkv.weight.numel() + self.out.weight.numel())
        chunk = min(modal_conv.CHUNK, length)
        n_chunks = -(-length // chunk)
        matmul = 2 * n_chunks * chunk * d_inner * (chunk + (2 * rows if n_chunks > 1 else 0))
        per_mode = 8 if self.complex_poles else 2
        doubled = 2 * length
        conv = {
            "recurrence": length * d_inner * self.n_modes * (12 if self.complex_poles else 4),
            "chunked": matmul + (n_chunks - 1) * d_inner * self.n_modes * per_mode,
            "fft": round(d_inner * (2 * 2.5 * doubled * math.log2(doubled) + 6 * (length + 1))),
        }[conv_algorithm]
        core = conv + length * d_inner * (3 * 2 * FIR_TAPS + 4)
        return MixerFlops(projection, core, core, projection + matmul)

    def init_state(self, batch: int) -> State:
        log_poles, _ = self.poles()
        past = self.qkv.weight.new_zeros(batch, FIR_TAPS - 1, self.qkv.out_features)
        return past, log_poles.new_zeros(batch, *log_poles.shape)

    def state_size(self, length: int) -> StateSize:
        modes = self.d_inner * self.n_modes * (1 + self.complex_poles)
        return StateSize(cached=3 * self.d_inner * (FIR_TAPS - 1), wide=modes)
