"""H3 against its two dense state spaces, run as recurrences in float64."""

import pytest
import torch
from zoo import perturb

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.h3 import H3
from eutectic.errors import UserError
from eutectic.kernels.reference.state_space import recurrence, zero_order_hold


def _shape(d_model: int = 16, d_inner: int = 16) -> LayerShape:
    return LayerShape(d_model, d_inner, 2, 2, 24, 0, 2, 0.5)


def shift_ssm(k: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Section 3.1: A moves the state's entries by one, B = e_1."""
    channels, n = c.shape
    a = torch.diag(torch.ones(n - 1, dtype=c.dtype), -1).expand(channels, n, n)
    return recurrence(k, a, torch.eye(n, dtype=c.dtype)[0].expand(channels, n), c)[0]


def diagonal_ssm(u: torch.Tensor, ssm: torch.nn.Module) -> torch.Tensor:
    half = torch.complex(-ssm.log_decay.exp(), ssm.angle)
    a, b = zero_order_hold(torch.diag_embed(half), torch.ones_like(half), ssm.log_dt.exp())
    y, _ = recurrence(u.to(a.dtype), a, b, torch.complex(*ssm.readout.unbind(-1)))
    return 2 * y.real + ssm.skip * u


@pytest.mark.parametrize(
    ("d_model", "d_inner", "options"),
    [(16, 16, {}), (8, 4, {"d_state": 6, "shift": 5, "head_dim": 2}), (6, 12, {"shift": 1, "head_dim": 3})],
)
def test_it_is_two_state_spaces(d_model: int, d_inner: int, options: dict) -> None:
    torch.manual_seed(1)
    mixer = perturb(H3(_shape(d_model, d_inner), **options).double()).requires_grad_(False)
    x = torch.randn(2, 131, d_model, dtype=torch.float64)
    q, k, v = mixer.qkv(x).chunk(3, -1)
    k, dim = shift_ssm(k, mixer.taps), mixer.head_dim
    # equation by equation: head h of channels h dim .. (h + 1) dim, entry (i, j) of its outer product
    read = torch.zeros_like(v)
    for i in range(dim):
        for j in range(dim):
            read[..., j::dim] += q[..., i::dim] * diagonal_ssm(k[..., i::dim] * v[..., j::dim], mixer.ssm)
    expected = mixer.out(read)
    scale = float(expected.abs().max())
    torch.testing.assert_close(mixer(x), expected, rtol=1e-9, atol=1e-10 * scale)
    assert (mixer.float()(x.float()) - expected).abs().max() < 1e-4 * scale


def test_steps_equal_forward_with_heads() -> None:
    torch.manual_seed(2)
    mixer = perturb(H3(_shape(), shift=7, head_dim=4).double()).requires_grad_(False)
    x = torch.randn(2, 90, 16, dtype=torch.float64)
    expected = mixer(x)
    first, state = mixer.prefill(x[:, :33], None)
    second, state = mixer.prefill(x[:, 33:70], state)
    rows = [first, second]
    for t in range(70, 90):
        y, state = mixer.step(x[:, t], state)
        rows.append(y[:, None])
    torch.testing.assert_close(torch.cat(rows, 1), expected, rtol=1e-9, atol=1e-10 * float(expected.abs().max()))
    size = mixer.state_size(90)
    assert (state[0][0].numel(), 2 * state[1][0].numel()) == (size.cached, size.wide)


def test_it_starts_as_the_released_code() -> None:
    torch.manual_seed(0)
    mixer = H3(_shape(d_inner=4096)).requires_grad_(False)
    assert mixer.taps[:, 1:].abs().max() <= 1 / 8
    assert mixer.taps[:, 1:].std() == pytest.approx(1 / 8 / 3**0.5, rel=0.01)
    # U(-1/8, 1/8) of C's first entry and a normal skip
    assert mixer.taps[:, 0].std() == pytest.approx((1 + 1 / 192) ** 0.5, rel=0.05)
    assert mixer.ssm.skip.std() == pytest.approx(1, rel=0.05)


def test_flops_by_hand() -> None:
    mixer = H3(_shape(), d_state=8, shift=4, head_dim=2)
    # 128 tokens, 16 channels: 2 products and 3 of the read-out; 8 state spaces on 4 entries each, their skip 2
    rest = 128 * 16 * (2 + 3) + 4 * 8 * 128 * 2
    assert mixer.flops(128, "recurrence").core == 128 * 16 * 8 + 4 * 8 * 128 * 4 * 12 + rest
    chunked = 4 * 8 * (2 * 128 * (64 + 16) + 8 * 4)
    assert mixer.flops(128, "chunked").core == 32 * 2 * 4 * 7 * 16 + chunked + rest
    assert mixer.flops(128, "fft").core == 128 * 16 * 8 + 4 * 8 * (2 * 2.5 * 256 * 8 + 6 * 129) + rest
    assert mixer.flops(128, "fft").projection == 2 * 128 * 4 * 16 * 16


@pytest.mark.parametrize("options", [{"d_state": 7}, {"shift": 0}, {"head_dim": 3}, {"head_dim": 0}])
def test_it_refuses(options: dict) -> None:
    with pytest.raises(UserError, match="h3"):
        H3(_shape(), **options)
