"""StripedHyena's gated convolution in modal form (Poli et al. 2023; Massaroli et al. 2023, eq. 3.2)."""

import math

import torch
from torch import Tensor

from eutectic.arch.base import Card, LayerShape, State, StateSize
from eutectic.arch.gated_conv import GatedConv, gated
from eutectic.arch.layers import StaysWide, exempt, wide, working_dtype
from eutectic.errors import UserError
from eutectic.kernels import dispatch, modal_conv, plain

# poles start with memories of 1 to 256 tokens, evenly in log
SHORTEST_MEMORY, LONGEST_MEMORY = 1.0, 256.0


class ModalFilter(StaysWide):
    """Filters h_t = Re sum_n R_n p_n^t (Massaroli et al. 2023, eq. 3.2), as many as channels.

    They are kept and computed in float32 at least, as StripedHyena's are, and exempt from weight decay: the parameters
    are positions of poles, not weights. Fewer modes that do the work of many cancel, and in bfloat16 would be another
    filter. scale: of the initial residues.
    """

    def __init__(self, channels: int, n_modes: int, complex_poles: bool, scale: float = 1.0):
        super().__init__()
        self.n_modes, self.complex_poles = n_modes, complex_poles
        self.rows = n_modes * (1 + complex_poles)
        memory = torch.logspace(math.log10(SHORTEST_MEMORY), math.log10(LONGEST_MEMORY), n_modes)
        self.log_decay = exempt(-memory.log().repeat(channels, 1))
        residues = torch.randn(channels, n_modes, 1 + complex_poles) * (scale * n_modes**-0.5)
        self.residues = exempt(residues / memory[:, None] ** 0.5)
        if complex_poles:
            self.angle = exempt(torch.rand(channels, n_modes) * math.pi / memory)

    def poles(self) -> tuple[Tensor, Tensor]:
        """log p and R, both (channels, n_modes). |p| = exp(-exp(log_decay)) < 1 always: the filter is stable."""
        decay, residues = -wide(self.log_decay).exp(), wide(self.residues)
        if not self.complex_poles:
            return decay, residues[..., 0]
        return torch.complex(decay, wide(self.angle)), torch.complex(residues[..., 0], residues[..., 1])


class Hyena(GatedConv):
    """y = W_out(q * (h conv u + D u)), u = k * v, with q, k, v = FIR3(W_in x).

    conv: the form in which forward computes the convolution, chunked, fft or naive; they agree to rounding.
    """

    card = Card(
        paper="Poli et al. 2023, StripedHyena; Massaroli et al. 2023, Laughing Hyena",
        equation="y = W_out(q * (h conv u + D u)), u = k * v, h_t = Re sum_n R_n p_n^t (eq. 3.2)",
        state="2 n d (1 n d if poles are real) + 6 d of the FIR",
        time="L",
        oracle="stripedhyena's ParallelHyenaFilter",
    )

    def __init__(self, shape: LayerShape, *, conv: str = "chunked"):
        super().__init__(shape)
        if conv not in modal_conv.FORMS:
            raise UserError(f"hyena has no conv {conv!r}; there are {', '.join(modal_conv.FORMS)}.")
        self.conv = modal_conv.FORMS[conv]
        self.filter = ModalFilter(shape.d_inner, shape.n_modes, shape.poles == "complex")
        self.skip = exempt(torch.ones(shape.d_inner))

    def forward(self, x: Tensor) -> Tensor:
        """Where it is fused, projections are made to (channels, tokens), which a matmul gives as readily."""
        if not self._fuses(x):
            return super().forward(x)
        y = dispatch.gated_modal_conv(self._channels_first(x), wide(self.fir), *self.filter.poles(), wide(self.skip))
        return self.out(y.flatten(1).T).view(x.shape)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        if not self._fuses(x):
            return super().prefill(x, state)
        past, modes = state or self.init_state(len(x), 0)
        qkv = self._channels_first(x)
        qkv = torch.cat([past.permute(2, 0, 1).to(qkv.dtype), qkv], 2)
        filters = wide(self.fir), *self.filter.poles(), wide(self.skip)
        y, modes = dispatch.gated_modal_prefill(qkv, *filters, modes)
        past = qkv[:, :, qkv.shape[2] - past.shape[1] :].permute(1, 2, 0).contiguous()  # or it would hold all of qkv
        return self.out(y.flatten(1).T).view(x.shape), (past, modes)

    def _fuses(self, x: Tensor) -> bool:
        return self.conv is modal_conv.chunked and dispatch.fuses_modal_conv(x.device.type, working_dtype(x))

    def _channels_first(self, x: Tensor) -> Tensor:
        """q, k and v before their FIRs, (3 d_inner, batch, length)."""
        return (self.qkv.weight @ x.flatten(0, 1).T).unflatten(1, x.shape[:2])

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        u = k * v
        return gated(q, u, plain.modal_conv(u, *self.filter.poles(), self.conv), self.skip)

    def mix_after(self, q: Tensor, k: Tensor, v: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the modes, (batch, d_inner, n_modes)."""
        u = k * v
        y, state = plain.modal_prefill(u, *self.filter.poles(), state)
        return gated(q, u, y, self.skip), state

    def mix_step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        u = k * v
        log_poles, residues = self.filter.poles()
        state = state * log_poles.exp() + u[..., None]
        return gated(q, u, (state * residues).sum(-1).real, self.skip), state

    def mix_flops(self, length: int, conv_algorithm: str) -> tuple[int, int]:
        """Per token and channel, two gates and the skip at 2; and the convolution as kernels/modal_conv.py."""
        modes = self.filter.n_modes, self.filter.complex_poles
        conv, matmul = modal_conv.flops(length, self.d_inner, *modes, conv_algorithm)
        return conv + 4 * length * self.d_inner, matmul

    def init_mix(self, batch: int, capacity: int) -> State:
        log_poles, _ = self.filter.poles()
        return log_poles.new_zeros(batch, *log_poles.shape)

    def mix_size(self, length: int) -> StateSize:
        return StateSize(wide=self.d_inner * self.filter.rows)
