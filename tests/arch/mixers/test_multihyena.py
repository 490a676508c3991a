"""MultiHyena against section 4 of its paper in float64; real poles; FLOPs by hand; its start."""

import dataclasses

import pytest
import torch
from public import assert_same
from torch.utils.flop_counter import FlopCounterMode
from zoo import perturb, shape, stepped

from eutectic.arch.base import LayerShape
from eutectic.arch.flops import count
from eutectic.arch.mixers.hyena import Hyena
from eutectic.arch.mixers.multihyena import MultiHyena
from eutectic.arch.model import build
from eutectic.errors import UserError

SHAPE = LayerShape(
    d_model=24, d_inner=24, n_heads=4, n_kv_heads=4, d_ffn=48, layer=0, n_layers=2, out_scale=0.5, n_modes=5
)
SHAPES = [SHAPE, dataclasses.replace(SHAPE, d_inner=4, n_heads=1), dataclasses.replace(SHAPE, d_inner=32, n_heads=32)]


def _mixer(shape: LayerShape) -> MultiHyena:
    torch.manual_seed(3)
    return perturb(MultiHyena(shape)).double()


def _by_the_paper(mixer: MultiHyena, x: torch.Tensor) -> torch.Tensor:
    """z_t = sum_{s<=t} h_{t-s} k_s (x) v_s, and q_t contracts the keys' index; h_t is the modal form, eq. 3.2, and h_0
    has the pass-through D besides.
    """
    length, heads = x.shape[1], mixer.n_heads
    u = torch.nn.functional.pad(x @ mixer.qkv.weight.T, (0, 0, 2, 0))
    qkv = sum(mixer.fir[:, lag] * u[:, 2 - lag : 2 - lag + length] for lag in range(3))
    q, k, v = qkv.view(len(x), length, 3, heads, -1).unbind(2)
    rate = -mixer.filter.log_decay.exp()
    poles = torch.polar(rate.exp(), mixer.filter.angle)
    residues = torch.view_as_complex(mixer.filter.residues)
    h = [(residues * poles**t).real.sum(1) for t in range(length)]
    h[0] = h[0] + mixer.skip
    products = k[..., :, None] * v[..., None, :]
    rows = []
    for t in range(length):
        z = sum(h[t - s][:, None, None] * products[:, s] for s in range(t + 1))
        rows.append((q[:, t, :, None, :] @ z).flatten(1))
    return torch.stack(rows, 1) @ mixer.out.weight.T


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_paper(shape: LayerShape) -> None:
    mixer = _mixer(shape)
    x = torch.randn(2, 90, 24, dtype=torch.float64)
    with torch.no_grad():
        assert_same(mixer(x), _by_the_paper(mixer, x), 1e-12)


def test_with_heads_of_one_channel_it_is_hyena() -> None:
    shape = dataclasses.replace(SHAPE, n_heads=24)
    multi = _mixer(shape)
    hyena = Hyena(shape).double()
    hyena.load_state_dict(multi.state_dict())
    x = torch.randn(2, 150, 24, dtype=torch.float64)
    assert_same(multi(x), hyena(x), 1e-12)


@pytest.mark.parametrize("n_heads", [1, 3, 8, 24])
def test_its_heads_are_its_own(n_heads: int) -> None:
    """It equals that of a model of as many heads, beside attention of four, in values, FLOPs and state."""
    own, models = MultiHyena(SHAPE, n_heads=n_heads).double(), _mixer(dataclasses.replace(SHAPE, n_heads=n_heads))
    own.load_state_dict(models.state_dict())
    x = torch.randn(2, 90, 24, dtype=torch.float64)
    assert torch.equal(own(x), models(x))
    assert own.flops(90, "chunked") == models.flops(90, "chunked")
    assert own.state_size(90) == models.state_size(90)


@pytest.mark.parametrize("n_heads", [-1, 5, 48])
def test_heads_that_do_not_divide_the_channels_are_refused(n_heads: int) -> None:
    with pytest.raises(UserError, match=f"cannot part 24 channels into n_heads={n_heads}; give a divisor"):
        MultiHyena(SHAPE, n_heads=n_heads)


def test_real_poles_step_and_prefill_as_forward() -> None:
    mixer = _mixer(dataclasses.replace(SHAPE, poles="real"))
    x = torch.randn(2, 150, 24, dtype=torch.float64)
    expected = mixer(x)
    assert_same(stepped(mixer, x), expected, 1e-12)
    first, state = mixer.prefill(x[:, :77], None)
    second, state = mixer.prefill(x[:, 77:], state)
    assert_same(torch.cat([first, second], 1), expected, 1e-12)
    assert state[1].shape == (2, 4, 5, 6, 6)
    assert mixer.state_size(150).wide == 4 * 5 * 36


@pytest.mark.parametrize("length", [1, 64, 65, 256])
def test_real_poles_flops_equal_torchs_counter(length: int) -> None:
    config = dataclasses.replace(shape("multihyena"), poles="real")
    with FlopCounterMode(display=False) as counter:
        build(config, 0).double()(torch.zeros(1, length, dtype=torch.long))
    assert counter.get_total_flops() == count(config, length).matmul


@pytest.mark.parametrize(("poles", "recurrence", "rows", "jump"), [("complex", 12, 10, 8), ("real", 4, 5, 2)])
def test_core_flops_by_hand(poles: str, recurrence: int, rows: int, jump: int) -> None:
    """192 tokens are three chunks of 64: two leave a state, two read one, and one recurrence is between. 4 heads of 6
    channels have 4 x 36 products.
    """
    mixer = MultiHyena(dataclasses.replace(SHAPE, poles=poles))
    fir = 192 * 24 * 18
    assert mixer.flops(192, "recurrence").core == 192 * 4 * 36 * (5 * recurrence + 5) + fir
    scores = 3 * 4 * (2 * 64 * 64 * 6 + 64 * 64 + 2 * 64 * 64 * 6)
    states = 2 * 4 * (2 * 64 * rows * 6 * 6) * 2 + 2 * 4 * 64 * rows * 6 * 2 + 4 * 36 * 5 * jump
    assert mixer.flops(192, "chunked").core == scores + states + fir
    transforms = round(4 * 36 * (2 * 2.5 * 384 * 8.584962500721156 + 6 * 193))
    assert mixer.flops(192, "fft").core == transforms + 192 * 4 * 36 * 5 + fir


def test_starts_with_outputs_of_the_order_of_hyenas() -> None:
    """A head's query and key have 64 products; residues and skip are an eighth of Hyena's."""
    torch.manual_seed(0)
    shape = dataclasses.replace(SHAPE, d_model=256, d_inner=256, n_heads=4, n_modes=8)
    x = torch.randn(2, 256, 256)
    mixers = [MultiHyena(shape), Hyena(shape)]
    size, hyenas = (mixer.mix(*mixer.qkv(x).chunk(3, -1)).std() for mixer in mixers)
    assert 0.5 < size / hyenas < 2
    assert torch.equal(mixers[0].skip, torch.full((4,), 0.125))
    many = MultiHyena(dataclasses.replace(SHAPE, d_inner=64 * 512, n_heads=512, n_modes=8))
    memory = 256 ** (torch.arange(8) / 7)
    torch.testing.assert_close(many.filter.residues[..., 0].var(0), 1 / (64 * 8 * memory), rtol=0.4, atol=0)
