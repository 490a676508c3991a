"""A run on several devices is the run on one, to rounding: however it is spread, interrupted and gone on with."""

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from together import together, train
from torch import Tensor

from eutectic.arch.model import build
from eutectic.config import RunConfig
from eutectic.train.parallel import Ranks
from eutectic.train.shards import Manifest

WAYS = {"ddp": False, "fsdp2": True}


@pytest.fixture(scope="module")
def single(run: RunConfig, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    together(1, train, run, manifest, folder)
    return folder


@pytest.fixture(scope="module")
def run(small_run: RunConfig) -> RunConfig:
    """6 steps of eight micro-batches, the last step of three of which one is short. Balance is of a forward pass."""
    model = dataclasses.replace(small_run.model, channel="moe(experts=4)+swiglu")
    return dataclasses.replace(small_run, model=model, sequences=85, batch_size=16)


def weights(folder: Path) -> Tensor:
    return torch.cat([t.flatten() for _, t in sorted(load_file(folder / "weights.safetensors").items())])


def curve(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "curve.parquet").to_pylist()
    return rows


def assert_same_run(folder: Path, single: Path, run: RunConfig, rel: float = 1e-6) -> None:
    """Losses to `rel`, weights to ten times that of what they moved by: gradients are rounded, too."""
    for ours, theirs in zip(curve(folder), curve(single), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=rel)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=100 * rel)
        assert ours["valid_loss"] == (theirs["valid_loss"] and pytest.approx(theirs["valid_loss"], rel=rel))
    start = torch.cat([p.detach().flatten() for _, p in sorted(build(run.model, run.seed).named_parameters())])
    assert (weights(folder) - weights(single)).norm() < 10 * rel * (weights(single) - start).norm()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("world", [2, 4])
def test_several_devices_train_the_same_run(
    world: int, way: str, run: RunConfig, single: Path, manifest: Manifest, tmp_path: Path
) -> None:
    rows = together(world, train, run, manifest, tmp_path, WAYS[way])
    assert_same_run(tmp_path, single, run)
    (alone,) = pq.read_table(single / "run.parquet").to_pylist()
    (row,) = pq.read_table(tmp_path / "run.parquet").to_pylist()
    assert row["device"] == f"{world} x {alone['device']}"
    assert [row[k] for k in ("run_id", "status", "tokens", "flops")] == [
        alone[k] for k in ("run_id", "status", "tokens", "flops")
    ]
    assert {r["loss"] for r in rows} == {row["loss"]}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curve.parquet", "run.parquet", "weights.safetensors"]


@pytest.mark.parametrize("way", WAYS)
def test_blocks_are_computed_again_on_several_devices_too(
    way: str, run: RunConfig, single: Path, manifest: Manifest, tmp_path: Path
) -> None:
    together(2, train, run, manifest, tmp_path, WAYS[way], None, False, "cpu", True)
    assert_same_run(tmp_path, single, run)


def test_a_run_goes_on_with_other_devices(run: RunConfig, single: Path, manifest: Manifest, tmp_path: Path) -> None:
    """On one, on two that share the state, on two copies, and on one again; each time one of them gets SIGUSR2."""
    shapes = []
    for stop, (world, sharded) in enumerate([(1, False), (2, True), (2, False)], 1):
        assert together(world, train, run, manifest, tmp_path, sharded, stop) == ["Preempted"] * world
        with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
            assert f'"step": {stop}' in file.metadata()["progress"]
            shapes.append({name: file.get_slice(name).get_shape() for name in file.keys()})  # noqa: SIM118
    assert shapes[0] == shapes[1] == shapes[2]
    together(1, train, run, manifest, tmp_path)
    assert_same_run(tmp_path, single, run)


def test_a_bad_checkpoint_is_set_aside_for_all(
    run: RunConfig, single: Path, manifest: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"noise")
    together(2, train, run, manifest, tmp_path)
    assert_same_run(tmp_path, single, run)
    assert [p.name for p in tmp_path.glob("*corrupt*")] == ["checkpoint.safetensors.corrupt-0"]


def test_a_lease_is_lost_for_all(run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    assert together(2, train, run, manifest, tmp_path, False, None, True) == ["LeaseLost"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 5, 16])
def test_every_row_counts_once_and_ranks_keep_step(world: int, count: int) -> None:
    rows = torch.arange(count)
    dealt = [Ranks(rank, world).deal(rows, 2) for rank in range(world)]
    assert len({len(parts) for parts in dealt}) == 1
    counted = torch.zeros(count)
    for part, share in (turn for parts in dealt for turn in parts):
        counted[part] += share / len(part)
    assert torch.allclose(counted, torch.full((count,), 1 / count))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("way", WAYS)
def test_two_gpus_train_the_same_run(way: str, run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    """Compiled on both, captured on one only; in bf16."""
    run = dataclasses.replace(run, precision="bf16", threads=0)
    for name, world, sharded in (("one", 1, False), ("two", 2, WAYS[way])):
        (tmp_path / name).mkdir()
        together(world, train, run, manifest, tmp_path / name, sharded, None, False, "cuda")
    assert_same_run(tmp_path / "two", tmp_path / "one", run, rel=2e-3)
