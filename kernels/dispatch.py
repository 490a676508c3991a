"""Which implementation of an op runs where; kernels/plain.py is of ops that have only a formula and a form in torch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.kernels import choice, flash_attention, monarch, torch_attention
from eutectic.kernels import decode_attention as torch_decode_attention
from eutectic.kernels import fir as torch_fir
from eutectic.kernels import linear_cross_entropy as chunked_cross_entropy
from eutectic.kernels import long_conv as torch_long_conv
from eutectic.kernels import scalar_decay as torch_scalar_decay
from eutectic.kernels.plain import exactly
from eutectic.kernels.reference.attention import causal_attention
from eutectic.kernels.reference.decode_attention import decode_attention as decode_reference
from eutectic.kernels.reference.fir import grouped_fir
from eutectic.kernels.reference.linear_cross_entropy import linear_cross_entropy as cross_entropy_reference
from eutectic.kernels.reference.modal_conv import causal_conv
from eutectic.kernels.reference.scalar_decay import recurrence

LEAST_GROUP = 8  # channels that share a filter: a vector's load
WIDEST_KEYS = 512  # bytes of scalar_decay's, whose programs hold whole rows in shared memory
# On an H100 (bench/long_conv.py, 16,384 tokens of 1,024 channels, bfloat16, there and back): of 1,024 taps direct sums
# take 0.8 ms and Monarch's Fourier matrices 1.8, of 2,048 1.5 and 1.2; torch.fft takes 3.3 or more throughout.
DIRECT_TAPS = 1024


def attention(q: Tensor, k: Tensor, v: Tensor, window: int | None = None) -> Tensor:
    """Causal grouped-query attention; shapes and window as kernels/reference/attention.py.

    float64 is for oracles and takes the reference, which torch's FLOP counter can also read.
    """
    if q.dtype.itemsize == 8:
        return causal_attention(q, k, v, window)
    if torch.is_autocast_enabled(q.device.type):  # which only knows torch's own
        q, k, v = (t.to(torch.get_autocast_dtype(t.device.type)) for t in (q, k, v))
    by = attention_by(q.device, q.dtype, q.shape[-1], q.shape[1] != k.shape[1])
    if by == "reference":
        return causal_attention(q, k, v, window)
    if by == "torch":
        return torch_attention.attend(q, k, v, window)
    return flash_attention.attend(by, q, k, v, window, ordered())


@choice.constant
def attention_by(device: torch.device, dtype: torch.dtype, dim: int, grouped: bool) -> str:
    """`reference`, `torch` or the name of a library of kernels/flash_attention.py; says which, where there is a choice.

    dim: of a head. grouped: whether query heads share those of keys and values.
    """
    if plain := choice.plain("attention"):
        return plain
    if device.type != "cuda":
        return "torch"
    major, _ = torch.cuda.get_device_capability(device)
    library, refusals = flash_attention.choose(major, dtype, dim, grouped, ordered())
    if library is None and ordered():
        refusals.append("torch's cuDNN does not add in a fixed order")
    choice.say("attention", "; ".join([library or "torch", *refusals]))
    return library or "torch"


def decode_attention(q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor) -> Tensor:
    """Attention of one new token to a cache, as kernels/reference/decode_attention.py; without a gradient."""
    by = decode_attention_by(q.device.type, q.dtype)
    if by == "reference":
        return decode_reference(q, keys, values, lengths)
    if by == "torch":
        return torch_decode_attention.masked(q, keys, values, lengths)
    from eutectic.kernels.triton.decode_attention import decode_attention as fused

    return fused(q, keys, values, lengths)


@choice.constant
def decode_attention_by(device: str, dtype: torch.dtype) -> str:
    """`reference`, `torch` or `triton`."""
    if plain := choice.plain("attention to a cache"):
        return plain
    can = choice.has_triton(device) and dtype.itemsize <= 4
    if can and (device == "cuda" or choice.forced() == "triton"):
        choice.say("attention to a cache", "Triton, the cache in parts")
        return "triton"
    return "torch"


@choice.constant
def ordered() -> bool:
    """Whether sums must be in a fixed order. As in torch, a wish that only warns is not worth the time it costs."""
    return torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()


@choice.constant
def fuses_modal_conv(device: str, dtype: torch.dtype) -> bool:
    """Whether gated_modal_conv is quicker than its parts one by one: in bfloat16 on a GPU."""
    if choice.plain("gated modal convolution"):
        return False
    can = choice.has_triton(device) and dtype.itemsize <= 4
    fuses = can and (choice.forced() == "triton" or (device == "cuda" and dtype == torch.bfloat16))
    if fuses:
        choice.say("gated modal convolution", "one Triton kernel for FIRs, gates and convolution")
    return fuses


def gated_modal_conv(qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor) -> Tensor:
    """As kernels/reference/gated_modal_conv.py, but (channels, batch, length), as kernels/triton/ has it."""
    from eutectic.kernels.triton.gated_modal_conv import gated_modal_conv as fused  # torch for CPUs has no Triton

    return fused(qkv, fir, log_poles, residues, skip)


def gated_modal_prefill(
    qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor, initial: Tensor
) -> tuple[Tensor, Tensor]:
    """gated_modal_conv after other tokens, and the state after, as prefill() of kernels/triton/gated_modal_conv.py."""
    from eutectic.kernels.triton.gated_modal_conv import prefill

    return prefill(qkv, fir, log_poles, residues, skip, initial)


def fir(x: Tensor, taps: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
    """The causal FIR whose channels share filters in groups, y_t = sum_s taps_s x_{t-s}, in x's dtype; the new past.

    x (batch, length, channels). taps (groups, n), each for equally many neighbouring channels. past (batch, n - 1,
    channels): inputs before x, zeros where None.
    """
    n = taps.shape[1]
    by = fir_by(x.device.type, x.dtype, n, x.shape[2] // len(taps), torch.compiler.is_compiling())
    if by == "torch":
        return (torch_fir.shifted if n <= torch_fir.FEW_TAPS else torch_fir.blocked)(x, taps, past)
    convolve = _grouped_fir if by == "reference" else _fused_fir
    y = convolve(x, taps) if past is None else convolve(torch.cat([past, x], 1), taps)[:, n - 1 :]
    before = x.new_zeros(len(x), n - 1, x.shape[2]) if past is None else past
    last = torch.cat([before, x[:, -n:]], 1)
    return y, last[:, last.shape[1] - n + 1 :]


def _grouped_fir(x: Tensor, taps: Tensor) -> Tensor:
    return grouped_fir(x, taps).to(x.dtype)


def _fused_fir(x: Tensor, taps: Tensor) -> Tensor:
    from eutectic.kernels.triton.fir import fir as fused

    return fused(x, taps)


@choice.constant
def fir_by(device: str, dtype: torch.dtype, taps: int, group: int, compiling: bool) -> str:
    """`reference`, `torch` or `triton`. group: the channels that share taps, which are columns of a matmul. compiling:
    few taps are quicker as torch's compiler fuses them with the gates around them, by 30% of a layer of Hyena-SE."""
    few = taps <= torch_fir.FEW_TAPS
    op = "short FIR" if few else "FIR"
    if plain := choice.plain(op):
        return plain
    can = choice.has_triton(device) and taps <= torch_fir.MOST_TAPS and dtype.itemsize <= 4
    pays = device == "cuda" and (not compiling if few else dtype.itemsize == 2 and group >= LEAST_GROUP)
    if can and (pays or choice.forced() == "triton"):
        choice.say(op, "Triton, taps in registers" if few else "Triton, Toeplitz matrices on tensor cores")
        return "triton"
    return "torch"


def long_conv(x: Tensor, h: Tensor) -> Tensor:
    """y_t = sum_{s<=t} h_{t-s} x_s of x (batch, length, channels) and h (channels, length or less), in x's dtype."""
    by = long_conv_by(x.device.type, x.dtype, h.shape[1])
    if by == "torch":
        return torch_long_conv.fft(x, h).to(x.dtype)
    if by == "monarch":
        return monarch.causal_conv(x, h)
    if by == "reference":
        return causal_conv(x.to(h.dtype), F.pad(h, (0, x.shape[1] - h.shape[1]))).to(x.dtype)
    from eutectic.kernels.triton.long_conv import long_conv as direct

    return direct(x.permute(2, 0, 1).contiguous(), h).permute(1, 2, 0)


@choice.constant
def long_conv_by(device: str, dtype: torch.dtype, taps: int) -> str:
    """`reference`, `torch`, which is by FFT, `monarch`, which is by FFT in matmuls, or `triton`, which is direct."""
    if plain := choice.plain("long convolution"):
        return plain
    can = choice.has_triton(device) and dtype.itemsize <= 4
    if can and (choice.forced() == "triton" or (device == "cuda" and dtype.itemsize == 2 and taps <= DIRECT_TAPS)):
        choice.say("long convolution", "Triton, Toeplitz matrices on tensor cores")
        return "triton"
    if device == "cuda":
        by = "monarch" if dtype == torch.bfloat16 else "torch"  # whose sums are beyond float16's largest number
        choice.say("long convolution", "Monarch's Fourier matrices" if by == "monarch" else "torch.fft")
        return by
    return "torch"


def scalar_decay(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence of a matrix state that one number per head and step decays; as chunked() of
    kernels/scalar_decay.py."""
    by = scalar_decay_by(v.device.type, v.dtype, q.dtype == k.dtype == v.dtype, q.shape[3])
    if by == "torch":
        return torch_scalar_decay.chunked(q, k, v, log_decay, initial)
    if by == "reference":
        y, last = exactly(recurrence, q, k, v, log_decay, initial)
        return y.to(v.dtype), last
    from eutectic.kernels.triton.scalar_decay import scalar_decay as fused

    return fused(q, k, v, log_decay, initial)


@choice.constant
def scalar_decay_by(device: str, dtype: torch.dtype, alike: bool, d_k: int) -> str:
    """`reference`, `torch` or `triton`. alike: whether q and k have v's dtype."""
    if plain := choice.plain("scalar decay"):
        return plain
    can = choice.has_triton(device) and alike and dtype.itemsize <= 4 and d_k * dtype.itemsize <= WIDEST_KEYS
    if can and (choice.forced() == "triton" or (device == "cuda" and dtype.itemsize == 2)):
        choice.say("scalar decay", "Triton, chunks on tensor cores")
        return "triton"
    return "torch"


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor, cap: float, rows: int) -> Tensor:
    """As kernels/linear_cross_entropy.py; the formula has the logits of all tokens at once."""
    by = linear_cross_entropy_by(x.device.type, x.dtype)
    if by == "reference":
        loss: Tensor = exactly(lambda x, weight: cross_entropy_reference(x, weight, targets, cap), x, weight)
        return loss
    return chunked_cross_entropy.linear_cross_entropy(x, weight, targets, cap, rows, by == "triton")


@choice.constant
def linear_cross_entropy_by(device: str, dtype: torch.dtype) -> str:
    """`reference`, `torch` or `triton`."""
    if plain := choice.plain("linear cross-entropy"):
        return plain
    can = choice.has_triton(device) and dtype.itemsize <= 4
    if can and (device == "cuda" or choice.forced() == "triton"):
        choice.say("linear cross-entropy", "Triton, gradients in place of a chunk's logits")
        return "triton"
    return "torch"
