"""Linear attention against eq. 9 of its paper, with positions eq. 19 of RoFormer, and fla's recurrence."""

import dataclasses

import pytest
import torch
from public import assert_same, fla_naive
from torch.nn import functional as F

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.linear_attn import LinearAttention, feature_map

SHAPE = LayerShape(d_model=24, d_inner=16, n_heads=2, n_kv_heads=1, d_ffn=48, layer=0, n_layers=2, out_scale=0.5)
SHAPES = [SHAPE, dataclasses.replace(SHAPE, d_inner=4, n_heads=1), dataclasses.replace(SHAPE, d_inner=96, n_heads=6)]


def _mixer(shape: LayerShape, rotary: bool) -> tuple[LinearAttention, torch.Tensor]:
    torch.manual_seed(2)
    return LinearAttention(shape, rotary=rotary), 2 * torch.randn(2, 150, 24)


def _heads(mixer: LinearAttention, x: torch.Tensor) -> list[torch.Tensor]:
    return [part.unflatten(2, (mixer.n_heads, -1)) for part in mixer.qkv(x).chunk(3, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_eq_9(shape: LayerShape) -> None:
    """V'_i = sum_{j<=i} sim(Q_i, K_j) V_j / sum_{j<=i} sim(Q_i, K_j), sim(q, k) = phi(q)' phi(k) (eq. 3-4, 7-9)."""
    mixer, x = _mixer(shape, rotary=False)
    mixer, x = mixer.double(), x.double()
    q, k, v = _heads(mixer, x)
    similarity = torch.einsum("bihd,bjhd->bhij", F.elu(q) + 1, F.elu(k) + 1).tril()
    weights = similarity / similarity.sum(-1, keepdim=True)
    assert_same(mixer(x), mixer.out(torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2)), 1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_eq_19_of_roformer(shape: LayerShape) -> None:
    """sum_n (R_m phi(q_m))' (R_n phi(k_n)) v_n / sum_n phi(q_m)' phi(k_n), R_m of blocks [[c, -s], [s, c]] (eq. 15)."""
    mixer, x = _mixer(shape, rotary=True)
    mixer, x = mixer.double(), x.double()
    q, k, v = _heads(mixer, x)
    q, k = F.elu(q) + 1, F.elu(k) + 1
    half = shape.d_head // 2
    angles = torch.arange(150.0).double()[:, None] * shape.rope_base ** -(torch.arange(half).double() / half)
    cos, sin = angles.cos().diag_embed(), angles.sin().diag_embed()
    turn = torch.cat([torch.cat([cos, -sin], 2), torch.cat([sin, cos], 2)], 1)
    turned = torch.einsum("bihd,ied,jef,bjhf->bhij", q, turn, turn, k).tril()
    total = torch.einsum("bihd,bjhd->bhij", q, k).tril().sum(-1, keepdim=True)
    assert_same(mixer(x), mixer.out(torch.einsum("bhij,bjhd->bihd", turned / total, v).flatten(2)), 1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_public_recurrence(shape: LayerShape) -> None:
    mixer, x = _mixer(shape, rotary=False)
    q, k, v = _heads(mixer, x)
    theirs, _ = fla_naive("linear_attn").naive_recurrent_linear_attn(F.elu(q) + 1, F.elu(k) + 1, v, normalize=True)
    assert_same(mixer(x), mixer.out(theirs.flatten(2)))


@pytest.mark.parametrize("rotary", [False, True])
def test_decodes_from_any_position(rotary: bool) -> None:
    mixer, x = _mixer(SHAPE, rotary)
    mixer, x = mixer.double(), x.double()
    parts, state = mixer.prefill(x[:, :77], None)
    more, state = mixer.prefill(x[:, 77:130], state)
    rows = []
    for t in range(130, 150):
        y, state = mixer.step(x[:, t], state)
        rows.append(y)
    assert_same(torch.cat([parts, more, torch.stack(rows, 1)], 1), mixer(x), 1e-12)


@pytest.mark.parametrize("rotary", [False, True])
def test_only_distances_matter_and_only_to_rotary(rotary: bool) -> None:
    """Moved as a whole, a text is read the same; with its past reversed it is not, unless that is a set."""
    mixer, x = _mixer(SHAPE, rotary)
    mixer, x = mixer.double(), x.double()
    s, z, _ = mixer.init_state(2, 0)
    assert_same(mixer.prefill(x, (s, z, torch.tensor([1000, 1000])))[0], mixer(x), 1e-10)
    reversed_past = torch.cat([x[:, :-1].flip(1), x[:, -1:]], 1)
    same = torch.allclose(mixer(reversed_past)[:, -1], mixer(x)[:, -1], rtol=0, atol=1e-10)
    assert same != rotary


def test_a_constant_value_passes_unchanged() -> None:
    """The normaliser makes the weights of the past sum to one."""
    mixer, x = _mixer(SHAPE, rotary=False)
    with torch.no_grad():
        mixer.qkv.weight[32:] = 0
        mixer.qkv.weight[32:, 0] = 1
        mixer.out.weight.copy_(torch.eye(24, 16))
    x[..., 0] = 3.0
    torch.testing.assert_close(mixer(x)[..., :16], torch.full((2, 150, 16), 3.0))


def test_features_stay_positive() -> None:
    x = torch.tensor([-60.0, -20.0, -1.0, 0.0, 2.0, 200.0], requires_grad=True)
    y = feature_map(x)
    torch.testing.assert_close(y, F.elu(x) + 1, rtol=1e-6, atol=1e-6)
    assert (y > 0).all()
    y.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_core_flops_by_hand() -> None:
    """128 tokens in 2 chunks, 2 heads of 8: states of 8 x 8."""
    mixer, _ = _mixer(SHAPE, rotary=True)
    # into z 1, out of it 2, division 1, of each channel
    normaliser = 128 * 16 * 4
    # q k' 2*64*8, with v 2*64*8, states in and out 2*2*8*8; then the sum of both parts, and the states'
    chunked = 128 * 2 * (1024 + 1024 + 256) + 128 * 16 + 2 * 2 * 64 + normaliser
    assert mixer.flops(128, "recurrence").core == 128 * 2 * 64 * 4 + normaliser
    assert mixer.flops(128, "chunked").core == mixer.flops(128, "fft").core == chunked
    assert mixer.flops(128, "chunked").projection == 2 * 128 * (24 * 48 + 16 * 24)


def test_projections_start_at_unit_variance() -> None:
    torch.manual_seed(0)
    mixer = LinearAttention(dataclasses.replace(SHAPE, d_model=256, d_inner=256, n_heads=4))
    assert mixer.qkv.weight.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert mixer.out.weight.std().item() == pytest.approx(0.5 / 16, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_queries_whose_features_underflow_give_no_nan(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mixer = LinearAttention(LayerShape(4, 4, 1, 1, 16, 0, 4, 0.5)).to(dtype)
    x = (1000 * torch.randn(2, 50, 4)).to(dtype).requires_grad_()
    y = mixer(x)
    y.sum().backward()
    assert x.grad is not None and y.isfinite().all() and x.grad.isfinite().all()
