"""Decoding on a GPU, compiled and captured, against the forward pass."""

import pytest
import torch
from zoo import CASES, IDS, perturb, shape, tokens

from eutectic.arch.model import build
from eutectic.inference.cache import Cache

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("layout", "channel"), CASES, ids=IDS)
def test_captured_steps_are_the_forward_pass(layout: str, channel: str) -> None:
    """In float32: two rows of different lengths, the second standing still at first."""
    torch.compiler.reset()
    model = perturb(build(shape(layout, channel), 0)).eval()
    read = tokens(2, 90, seed=2)
    expected = model.double()(read).float().cuda().detach()
    model, read = model.float().cuda(), read.cuda()
    cache = Cache(model, 2, 90)
    cache.prefill(0, read[0, :70], chunk=33)
    cache.prefill(1, read[1, :3])
    scale = float(expected.abs().max())
    for t in range(70, 75):
        logits = cache.step(torch.stack([read[0, t], read[1, 0]]), going=[0])
        torch.testing.assert_close(logits[0], expected[0, t], rtol=1e-3, atol=1e-3 * scale)
    for t in range(75, 80):
        logits = cache.step(torch.stack([read[0, t], read[1, t - 72]]))
        torch.testing.assert_close(
            logits, torch.stack([expected[0, t], expected[1, t - 72]]), rtol=1e-3, atol=1e-3 * scale
        )
