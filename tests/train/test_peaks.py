"""Utilization is of the peak of the device that trained, or is not stated."""

import pytest

from eutectic.train.peaks import utilization


def test_a_share_of_the_peak_of_every_device() -> None:
    assert utilization(788e12 * 30, 60, "NVIDIA H200") == pytest.approx(0.5)
    assert utilization(989e12 * 30, 60, "NVIDIA H100 80GB HBM3", devices=2) == pytest.approx(0.25)
    assert utilization(1e12, 1, "AMD EPYC 9654") is None
