"""What bench/step_kernels.py measures, without a GPU."""

import multiprocessing
import sys
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch


@pytest.fixture
def step_kernels(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "bench"), *sys.path])
    import step_kernels

    return step_kernels


def test_steps_are_a_second_of_those_that_they_took(step_kernels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three blocks of four the last ends late, a second and a half after it began."""
    now = iter([0.0, 0.9, 1.8, 3.3])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    stepper = Mock()
    assert step_kernels.rate(stepper, torch.zeros(1)) == pytest.approx(12 / 3.3)
    assert stepper.step.call_count == 12


def test_a_worker_that_does_not_come_is_not_waited_for(step_kernels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU it dies, and with one it is late."""
    monkeypatch.setattr(step_kernels, "PATIENCE", 0.1)
    with pytest.raises(threading.BrokenBarrierError):
        step_kernels.measured("attn", 64, 1, [1])
    for worker in multiprocessing.active_children():
        worker.join()
