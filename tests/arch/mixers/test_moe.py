"""The mixture of experts against Mixtral's, its sparsity, its losses by hand, and how its tokens are sorted."""

from typing import Any

import pytest
import torch
from public import assert_same
from torch.utils.flop_counter import FlopCounterMode
from zoo import shape

from eutectic.arch.flops import count
from eutectic.arch.mixers.moe import MoE
from eutectic.arch.mixers.swiglu import SwiGLU
from eutectic.arch.model import build, layer_shape
from eutectic.errors import UserError
from eutectic.kernels.grouped_matmul import grouped_matmul

SHAPE = layer_shape(shape("attn"), 0)  # width 32, d_ffn 48


def _moe(**options: Any) -> MoE:
    torch.manual_seed(11)
    return MoE(SHAPE, **options)


@pytest.mark.parametrize(("experts", "top_k"), [(8, 2), (4, 3), (16, 4)])
def test_equals_mixtrals_block_and_its_balance(experts: int, top_k: int) -> None:
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    ours = _moe(experts=experts, top_k=top_k, balance=1.0, z=0.0)
    config = mixtral.MixtralConfig(
        hidden_size=32, intermediate_size=48 // top_k, num_local_experts=experts, num_experts_per_tok=top_k
    )
    theirs = mixtral.MixtralSparseMoeBlock(config).eval()
    theirs.load_state_dict(
        {"gate.weight": ours.router.weight, "experts.gate_up_proj": ours.up, "experts.down_proj": ours.down}
    )
    x = torch.randn(2, 50, 32)
    with torch.no_grad():
        assert_same(ours(x), theirs(x), 1e-5)
    # theirs sums over the k choices where ours averages
    balance = mixtral.load_balancing_loss_func((ours.router(x.flatten(0, 1)),), experts, top_k)
    assert ours.penalty is not None
    torch.testing.assert_close(ours.penalty * top_k, balance)


@pytest.mark.parametrize("norm_topk_prob", [True, False])
def test_is_the_sum_over_the_chosen_experts(norm_topk_prob: bool) -> None:
    """Token by token, expert by expert."""
    moe = _moe(norm_topk_prob=norm_topk_prob).double()
    x = torch.randn(20, 32, dtype=torch.float64)
    rows = []
    for token in x:
        p = torch.exp(moe.router.weight @ token) / torch.exp(moe.router.weight @ token).sum()
        top = p.argsort(descending=True)[:2]
        total = p[top].sum() if norm_topk_prob else 1.0
        parts = []
        for i in top:
            gate, up = (moe.up[i] @ token).chunk(2)
            parts.append(p[i] / total * (moe.down[i] @ (torch.nn.functional.silu(gate) * up)))
        rows.append(sum(parts))
    torch.testing.assert_close(moe(x[None])[0], torch.stack(rows), rtol=1e-12, atol=1e-12)


def test_experts_that_a_token_did_not_choose_are_absent() -> None:
    """Softmax comes before the choice: what is not among the top k has no weight, not a small one."""
    moe = _moe()
    x = torch.randn(1, 200, 32)
    before = moe(x)
    chosen = (moe.router(x)[0].topk(2).indices == 5).any(-1)
    assert 0 < chosen.sum() < 200
    (reach,) = torch.autograd.grad(before[0, ~chosen].sum(), moe.up)
    assert not reach[5].any()
    with torch.no_grad():
        moe.up[5].fill_(1e6)
    changed = (moe(x) != before)[0].any(-1)
    assert torch.equal(changed, chosen)


@pytest.mark.parametrize("options", [{}, {"top_k": 1, "norm_topk_prob": False}, {"experts": 2}])
def test_the_task_trains_the_router(options: dict[str, Any]) -> None:
    moe = _moe(**options, balance=0.0, z=0.0)
    moe(torch.randn(1, 50, 32)).square().sum().backward()
    assert moe.router.weight.grad is not None
    assert moe.router.weight.grad.abs().amax(-1).min() > 0


def test_losses_by_hand() -> None:
    """Two tokens, three experts, their logits log 6, log 3, log 1 and log 1, log 3, log 4, top one."""
    moe = _moe(experts=3, top_k=1, norm_topk_prob=False, balance=1.0, z=0.0)
    logits = torch.tensor([[6.0, 3.0, 1.0], [1.0, 3.0, 4.0]]).log()
    with torch.no_grad():
        moe.router.weight.zero_()
        moe.router.weight[:, :2] = logits.T
    x = torch.eye(2, 32)[None]
    moe(x)
    # shares 1/2, 0, 1/2; mean probabilities (6/10 + 1/8) / 2, ., (1/10 + 4/8) / 2
    assert moe.penalty is not None
    assert moe.penalty.item() == pytest.approx(3 * (0.5 * 0.3625 + 0.5 * 0.3))
    moe.balance, moe.z = 0.0, 1.0
    moe(x)
    assert moe.penalty.item() == pytest.approx((torch.tensor([10.0, 8.0]).log() ** 2).mean().item())
    moe.eval()(x)
    assert moe.penalty is None


def test_perfect_balance_costs_one_and_collapse_costs_the_experts() -> None:
    moe = _moe(experts=4, top_k=2, balance=1.0, z=0.0)
    with torch.no_grad():
        moe.router.weight.copy_(torch.eye(4, 32))
    pairs = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    even = torch.nn.functional.pad(pairs * 30, (0, 28))
    moe(even[None])
    assert moe.penalty is not None
    assert moe.penalty.item() == pytest.approx(1.0)
    moe(even[None, :1])
    assert moe.penalty.item() == pytest.approx(2.0)  # all on two of four


def test_penalties_reach_the_router() -> None:
    for options in ({"balance": 0.0}, {"z": 0.0}):
        moe = _moe(**options)
        moe(torch.randn(1, 50, 32))
        assert moe.penalty is not None
        moe.penalty.backward()
        assert moe.router.weight.grad is not None and moe.router.weight.grad.abs().max() > 0


def test_meets_as_many_parameters_as_a_dense_swiglu_and_the_router() -> None:
    for options in ({}, {"experts": 16}, {"top_k": 4}):
        moe = _moe(**options)
        dense = sum(p.numel() for p in SwiGLU(SHAPE).parameters())
        assert moe.active_params() == dense + moe.router.weight.numel()


@pytest.mark.parametrize("channel", ["moe", "moe(experts=16)", "moe(experts=3,top_k=1,norm_topk_prob=false)"])
def test_flops_are_those_of_active_experts(channel: str) -> None:
    """However tokens fall: 2 for each of the router's and the chosen experts' weights, for each token."""
    moe = build(shape("attn", channel), 0).layers()[0].channel.double()
    assert isinstance(moe, MoE)
    expected = 2 * 33 * (32 * moe.experts + 3 * 32 * 48)
    assert count(shape("attn", channel), 33).channel == 2 * expected
    with FlopCounterMode(display=False) as counter:
        moe(torch.randn(1, 33, 32, dtype=torch.float64))
    assert counter.get_total_flops() == expected


def test_a_choice_made_alike_gives_the_same_in_bfloat16() -> None:
    """Rounding of the input moves a token that stands between two experts; the others agree."""
    moe = _moe()
    x = torch.randn(1, 200, 32)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = moe(x)
    assert rounded.dtype == torch.bfloat16
    assert_same(rounded.float(), moe(x), 2e-2)


def test_autocast_reaches_the_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's grouped matmul is chosen by dtype, which autocast does not change for it."""
    seen = []

    def recorded(x: torch.Tensor, weights: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        seen.extend([x.dtype, weights.dtype])
        return grouped_matmul(x, weights, counts)

    monkeypatch.setattr("eutectic.arch.mixers.moe.grouped_matmul", recorded)
    with torch.autocast("cpu", torch.bfloat16):
        _moe()(torch.randn(1, 9, 32))
    assert seen == [torch.bfloat16] * 4


def test_initial_spread() -> None:
    """As a dense SwiGLU: 1 / sqrt(fan-in), the outputs' scaled by depth."""
    torch.manual_seed(1)
    moe = MoE(layer_shape(shape("attn"), 0), experts=64)
    assert moe.router.weight.std().item() == pytest.approx(32**-0.5, rel=0.1)
    assert moe.up.std().item() == pytest.approx(32**-0.5, rel=0.03)
    assert moe.down.std().item() == pytest.approx(24**-0.5 / 2, rel=0.03)


def test_impossible_choices_are_refused() -> None:
    with pytest.raises(UserError, match="top_k=9 of experts=8"):
        _moe(top_k=9)
    with pytest.raises(UserError, match="trains no router"):
        _moe(top_k=1)
