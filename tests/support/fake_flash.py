"""Stand-ins for the flash-attn family that run on the CPU: its signatures, layout and masks by the formula, in float64.

They are not kernels/reference/attention.py again: the forward pass also returns the normalizers' logarithms, and the
backward pass is that of Dao et al. 2022 (FlashAttention, algorithm 4), from these and the output.
"""

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

asked: list[dict[str, object]] = []  # what each call asked for
_modules: dict[str, ModuleType] = {}  # one of a name in a process, as torch's compiler takes for granted


def _seen(q: Tensor, k: Tensor, causal: bool, left: int | None, right: int | None) -> Tensor:
    queries, keys = q.shape[1], k.shape[1]
    lead = torch.arange(keys)[None, :] - torch.arange(keys - queries, keys)[:, None]  # of the key, before the query
    if causal:
        right = 0
    return (lead <= (keys if right is None or right < 0 else right)) & (
        lead >= -(keys if left is None or left < 0 else left)
    )


def _attention(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, left: int | None, right: int | None
) -> tuple[Tensor, Tensor]:
    groups = q.shape[2] // k.shape[2]
    wide = [t.double() for t in (q, k.repeat_interleave(groups, 2), v.repeat_interleave(groups, 2))]
    scores = torch.einsum("bqhd,bkhd->bhqk", wide[0], wide[1]) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~_seen(q, k, causal, left, right), float("-inf"))
    out = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), wide[2])
    return out.to(q.dtype).contiguous(), scores.logsumexp(-1).float()


def flash_attn_func_4(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int | None, int | None] = (None, None),
    deterministic: bool = False,
    return_lse: bool = False,
) -> tuple[Tensor, Tensor | None]:
    out, lse = _attention(q, k, v, causal, *window_size)
    return out, lse if return_lse else None


def flash_attn_bwd_4(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    dout: Tensor,
    lse: Tensor,
    softmax_scale: float | None = None,
    causal: bool = False,
    softcap: float = 0.0,
    window_size_left: int | None = None,
    window_size_right: int | None = None,
    deterministic: bool = False,
    dq: Tensor | None = None,
    dk: Tensor | None = None,
    dv: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    assert dq is not None and dk is not None and dv is not None
    asked.append({"library": "flash-attn-4", "deterministic": deterministic})
    groups, scale = q.shape[2] // k.shape[2], q.shape[-1] ** -0.5
    wide_q, wide_out, wide_dout = q.double(), out.double(), dout.double()
    wide_k, wide_v = (t.double().repeat_interleave(groups, 2) for t in (k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", wide_q, wide_k) * scale
    seen = _seen(q, k, causal, window_size_left, window_size_right)
    p = torch.where(seen, (scores - lse.double()[..., None]).exp(), 0.0)
    dp = torch.einsum("bqhd,bkhd->bhqk", wide_dout, wide_v)
    ds = p * (dp - (wide_out * wide_dout).sum(-1).transpose(1, 2)[..., None]) * scale
    dq.copy_(torch.einsum("bhqk,bkhd->bqhd", ds, wide_k))
    dk.copy_(torch.einsum("bhqk,bqhd->bkhd", ds, wide_q).unflatten(2, (-1, groups)).sum(3))
    dv.copy_(torch.einsum("bhqk,bqhd->bkhd", p, wide_dout).unflatten(2, (-1, groups)).sum(3))
    return dq, dk, dv


def flash_attn_func_2(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
    deterministic: bool = False,
) -> Tensor:
    asked.append({"library": "flash-attn", "deterministic": deterministic})
    return _attention(q, k, v, causal, *window_size)[0]


def flash_attn_func_3(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    softmax_scale: float | None = None,
    causal: bool = False,
    qv: Tensor | None = None,
    window_size: tuple[int, int] = (-1, -1),
    deterministic: bool = False,
) -> tuple[Tensor, Tensor]:
    asked.append({"library": "flash-attn-3", "deterministic": deterministic})
    return _attention(q, k, v, causal, *window_size)


MODULES = {
    "flash-attn-4": {
        "flash_attn": {},
        "flash_attn.cute": {"flash_attn_func": flash_attn_func_4},
        "flash_attn.cute.interface": {"_flash_attn_bwd": flash_attn_bwd_4},
    },
    "flash-attn-3": {"flash_attn_interface": {"flash_attn_func": flash_attn_func_3}},
    "flash-attn": {"flash_attn": {}, "flash_attn.flash_attn_interface": {"flash_attn_func": flash_attn_func_2}},
}


def install(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process find a library, beside those that it finds already."""
    for name, content in MODULES[library].items():
        module = _modules.setdefault(name, ModuleType(name))
        module.__path__ = []
        for key, value in content.items():
            monkeypatch.setattr(module, key, value, raising=False)
        monkeypatch.setitem(sys.modules, name, module)
    asked.clear()
