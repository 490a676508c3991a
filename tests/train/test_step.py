"""On a GPU: the captured step is the launched one, for every mixer; what cannot be captured is launched."""

import pytest
import torch
from torch import Tensor, nn
from zoo import CASES, IDS

from eutectic.arch.model import Model, build
from eutectic.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from eutectic.kernels import linear_cross_entropy
from eutectic.train.step import WARM_UP, Stepper, cross_entropy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

LENGTH, BATCH, STEPS = 128, 8, WARM_UP + 5


def model_config(layout: str, channel: str) -> ModelConfig:
    return ModelConfig(layout, 2, 64, 4, 2, d_ffn=176, vocab_size=512, channel=channel)


def stepper(layout: str, channel: str = "swiglu", recompute: bool = False) -> tuple[Model, Stepper]:
    torch.cuda.set_stream(torch.cuda.Stream())
    model = model_config(layout, channel)
    data = DataConfig("", "", "", "", 512, LENGTH, 1)
    config = RunConfig(
        "",
        0,
        "",
        "",
        data,
        model,
        OptimConfig(1e-3),
        1000,
        BATCH,
        BATCH // 2,
        evals=1,
        precision="bf16",
        threads=0,
        seed=0,
    )
    taker = Stepper(build(model, 0), config, "cuda", recompute=recompute)
    return taker.model, taker


def losses(taker: Stepper) -> list[tuple[float, float]]:
    """Of steps on batches that differ, at learning rates that differ, the last of a smaller batch."""
    rows = torch.randint(512, (STEPS + 1, BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    return [
        tuple(t.item() for t in taker.step(part, 1e-3 / (k + 1))) for k, part in enumerate([*rows[:-1], rows[-1, :3]])
    ]


@pytest.mark.parametrize(("layout", "channel"), CASES, ids=IDS)
def test_a_captured_step_is_the_launched_one(layout: str, channel: str) -> None:
    model, captured = stepper(layout, channel)
    ours = losses(captured)
    assert captured._graph is not None
    other, launched = stepper(layout, channel)
    launched._capturable = False
    for (loss, norm), (theirs, their_norm) in zip(ours, losses(launched), strict=True):
        assert loss == pytest.approx(theirs, rel=1e-4)
        assert norm == pytest.approx(their_norm, rel=2e-2)
    # where a gradient is rounding alone, AdamW's step is of full size and of either sign
    start = _flat(build(model_config(layout, channel), 0))
    assert (_flat(model) - _flat(other)).norm() < 0.05 * (_flat(other) - start).norm()


@pytest.mark.parametrize(("layout", "channel"), [("hyena+attn", "swiglu"), ("attn", "moe(experts=4)")])
def test_blocks_computed_again_are_captured_and_the_same_to_the_bit(layout: str, channel: str) -> None:
    _, plain = stepper(layout, channel)
    expected = losses(plain)
    _, again = stepper(layout, channel, recompute=True)
    assert losses(again) == expected
    assert again._graph is not None


def test_the_loss_by_chunks_is_captured_and_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    _, plain = stepper("attn")
    expected = losses(plain)
    monkeypatch.setattr(linear_cross_entropy, "MOST_LOGITS", 100 * 512)  # of four rows of 128 tokens
    _, chunked = stepper("attn")
    for (loss, norm), (theirs, their_norm) in zip(losses(chunked), expected, strict=True):
        assert loss == pytest.approx(theirs, rel=1e-4)
        assert norm == pytest.approx(their_norm, rel=2e-2)
    assert chunked._graph is not None


def _flat(model: Model) -> Tensor:
    return torch.cat([p.detach().cpu().flatten() for p in model.parameters()])


def test_a_step_that_waits_for_the_gpu_is_launched() -> None:
    class Waits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * min(1.0, float(x.detach().abs().max()) + 1.0)

    model, taker = stepper("attn")
    for block in model.layers():
        block.compile(backend="eager")
    model.norm = nn.Sequential(model.norm, Waits())
    taker.objective.head = cross_entropy
    found = losses(taker)
    assert taker._graph is None
    assert not taker._capturable
    assert all(loss == loss for loss, _ in found)
