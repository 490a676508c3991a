"""Models trained as one on a GPU, their steps captured, against each alone on the CPU in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eutectic.arch.model import build
from eutectic.config import ModelConfig, OptimConfig
from eutectic.probes.ensemble import WARM_UP, Ensemble
from eutectic.probes.recall_tasks import Recall

pytestmark = pytest.mark.gpu
TASK, STEPS, RATES = Recall(16, 96), WARM_UP + 5, (1e-3, 3e-3)


def losses(layout: str, device: str, dtype: torch.dtype) -> Tensor:
    """Of each member before each step."""
    shape = ModelConfig(layout, 2, 32, 2, 2, 64, TASK.tokens)
    members: list[nn.Module] = [build(shape, seed).to(device, dtype) for seed in range(len(RATES))]
    ensemble = Ensemble(members, RATES, OptimConfig(1.0), STEPS)
    found = []
    for step in range(STEPS):
        parts = TASK.examples(0, np.arange(8) + 8 * step)
        tokens, targets = (torch.from_numpy(part).to(device).expand(len(RATES), -1, -1) for part in parts)
        found.append(ensemble.step(tokens, targets).clone())
    return torch.stack(found, 1).cpu()


@pytest.mark.parametrize("layout", ["attn", "hyena+attn", "mamba2", "gated_deltanet", "mamba", "s4d", "monarch"])
def test_losses_are_those_of_the_cpu(
    layout: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EUTECTIC_KERNELS", "torch")
    torch.set_float32_matmul_precision("highest")
    found, expected = losses(layout, "cuda", torch.float32), losses(layout, "cpu", torch.float64)
    assert "cannot be captured" not in capsys.readouterr().err
    torch.testing.assert_close(found.double(), expected, rtol=2e-4, atol=0)
    assert (expected[:, -1] < expected[:, 0]).all() and not torch.equal(found[:, WARM_UP], found[:, WARM_UP + 1])
