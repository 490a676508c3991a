"""StripedHyena's gated convolution in modal form (Poli et al. 2023; Massaroli et al. 2023, eq. 3.2)."""

import math

import torch
from torch import Tensor, nn

from eutectic.arch.base import Mixer, MixerFlops
from eutectic.arch.layers import linear
from eutectic.config import ModelConfig
from eutectic.kernels import dispatch
from eutectic.kernels.modal_conv import CHUNK

FIR_TAPS = 3
# poles start with memories of 1 to 256 tokens, evenly in log
SHORTEST_MEMORY, LONGEST_MEMORY = 1.0, 256.0

State = tuple[Tensor, Tensor]


class Hyena(Mixer):
    """y = W_out(q * (h conv u + D u)), u = k * v, with q, k, v = FIR3(W_in x) and h_t = Re sum_n R_n p_n^t.

    The filter's parameters stay in float32 (in float64 models, float64) and are exempt from weight decay: they are
    positions of poles, not weights.
    """

    def __init__(self, model: ModelConfig, out_scale: float, conv: str = "chunked"):
        super().__init__()
        d_model, n = model.d_model, model.n_modes
        self.n_modes, self.complex_poles = n, model.poles == "complex"
        self.conv = dispatch.MODAL_CONVS[conv]
        self.qkv = linear(d_model, 3 * d_model)
        self.out = linear(d_model, d_model, out_scale)
        self.fir = _exempt(torch.zeros(3 * d_model, FIR_TAPS).index_fill_(1, torch.tensor([0]), 1.0))
        memory = torch.logspace(math.log10(SHORTEST_MEMORY), math.log10(LONGEST_MEMORY), n)
        self.log_decay = _exempt(-memory.log().repeat(d_model, 1))
        self.residues = _exempt(torch.randn(d_model, n, 1 + self.complex_poles) * n**-0.5 / memory[:, None] ** 0.5)
        if self.complex_poles:
            self.angle = _exempt(torch.rand(d_model, n) * math.pi / memory)
        self.skip = _exempt(torch.ones(d_model))

    def poles(self) -> tuple[Tensor, Tensor]:
        """log p and R, both (d_model, n_modes). |p| = exp(-exp(log_decay)) < 1 always: the filter is stable."""
        decay = -self.log_decay.exp()
        if not self.complex_poles:
            return decay, self.residues[..., 0]
        return torch.complex(decay, self.angle), torch.complex(self.residues[..., 0], self.residues[..., 1])

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._short_conv(self.qkv(x)).chunk(3, -1)
        u = k * v
        y = self.conv(u, *self.poles()).to(u.dtype) + self.skip.to(u.dtype) * u
        return self.out(q * y)

    def _short_conv(self, x: Tensor) -> Tensor:
        """Depthwise causal FIR of x (batch, length, 3 d_model): sum_s fir_s x_{t-s}."""
        taps = self.fir.to(x.dtype)
        padded = nn.functional.pad(x, (0, 0, FIR_TAPS - 1, 0))
        length = x.shape[1]
        y = taps[:, 0] * x
        for lag in range(1, FIR_TAPS):
            start = FIR_TAPS - 1 - lag
            y = y + taps[:, lag] * padded[:, start : start + length]
        return y

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """Per token and channel: FIR 2 taps each on q, k, v; two gates; the skip; and the long convolution.

        recurrence: n modes of a complex multiply-add (8) and a real read-out (4), or 2 and 2 where poles are real.
        chunked: 2T of Toeplitz, 2 x 2 real rows of states in and out, the states' recurrence once a chunk.
        fft: three real transforms of 2 length at 2.5 (2 length) log2(2 length), the filter's shared by a batch and
        left out, and a complex product at 6 for length + 1 frequencies.
        """
        d_model, rows = self.qkv.in_features, self.n_modes * (1 + self.complex_poles)
        projection = 2 * length * (self.qkv.weight.numel() + self.out.weight.numel())
        chunk = min(CHUNK, length)
        n_chunks = -(-length // chunk)
        matmul = 2 * n_chunks * chunk * d_model * (chunk + (2 * rows if n_chunks > 1 else 0))
        per_mode = 8 if self.complex_poles else 2
        doubled = 2 * length
        conv = {
            "recurrence": length * d_model * self.n_modes * (12 if self.complex_poles else 4),
            "chunked": matmul + (n_chunks - 1) * d_model * self.n_modes * per_mode,
            "fft": round(d_model * (2 * 2.5 * doubled * math.log2(doubled) + 6 * (length + 1))),
        }[conv_algorithm]
        core = conv + length * d_model * (3 * 2 * FIR_TAPS + 4)
        return MixerFlops(projection, core, core, projection + matmul)

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        d_model = self.qkv.in_features
        modes = d_model * self.n_modes * (1 + self.complex_poles) * self.log_decay.dtype.itemsize
        return modes + 3 * d_model * (FIR_TAPS - 1) * dtype.itemsize

    def init_state(self, batch: int) -> State:
        log_poles, _ = self.poles()
        past = self.qkv.weight.new_zeros(batch, FIR_TAPS - 1, self.qkv.out_features)
        return past, log_poles.new_zeros(batch, *log_poles.shape)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past, modes = state
        window = torch.cat([past, self.qkv(x)[:, None]], 1)
        q, k, v = torch.einsum("btc,ct->bc", window.flip(1), self.fir.to(x.dtype)).chunk(3, -1)
        u = k * v
        log_poles, residues = self.poles()
        modes = modes * log_poles.exp() + u[..., None]
        y = (modes * residues).sum(-1).real.to(u.dtype) + self.skip.to(u.dtype) * u
        return self.out(q * y), (window[:, 1:], modes)


def _exempt(value: Tensor) -> nn.Parameter:
    """A parameter that weight decay leaves alone."""
    parameter = nn.Parameter(value)
    parameter.no_weight_decay = True  # type: ignore[attr-defined]
    return parameter
