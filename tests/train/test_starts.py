"""Runs that begin from weights in their sweep's folder: from those, to the bit however they are cut, or not at all."""

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import cross_entropy

from eutectic.arch.model import Model, build
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.train import checkpoint, loop, starts
from eutectic.train.data import Batches
from eutectic.train.shards import Manifest
from eutectic.train.starts import Origin, Start

CLOCK = ("seconds", "tokens_per_second", "finished", "commit")
ORIGIN = Origin("feed", "f" * 64, "hyena+attn", 640)
START = Start(ORIGIN, 3e9, 2.5, 1e7, 2.75, [{"layer": 0}])


@pytest.fixture
def weights(small_run: RunConfig) -> Model:
    return build(small_run.model, 77, init_scale=3.0)


def train(config: RunConfig, manifest: Manifest, sweep: Path, name: str = "r") -> dict[str, Any]:
    folder = sweep / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    return loop.train(config, manifest, folder, "cpu")


def test_it_begins_from_the_weights_and_says_what_led_to_them(
    small_run: RunConfig, weights: Model, manifest: Manifest, tmp_path: Path
) -> None:
    config = dataclasses.replace(small_run, start=starts.write(weights, tmp_path, START), batch_size=1)
    row = train(config, manifest, tmp_path)
    rows = torch.from_numpy(Batches(manifest, 32, 1, config.seed).batch(0, 1))
    loss = cross_entropy(weights(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten()).item()
    curve = pq.read_table(tmp_path / "runs/r/curve.parquet").to_pylist()
    assert curve[0]["step"] == 1 and curve[0]["train_loss"] == pytest.approx(loss, rel=1e-6)
    told = {"start": config.start, "parent": "feed", "parent_flops": 3e9, "parent_loss": 2.5}
    told |= {"graft_flops": 1e7, "start_loss": 2.75}
    (logged,) = pq.read_table(tmp_path / "runs/r/run.parquet").to_pylist()
    assert told.items() <= row.items() and told.items() <= logged.items()


def test_a_start_has_a_run_of_its_own(small_run: RunConfig) -> None:
    """And one that draws its weights keeps the name that it had before there were starts."""
    begun = {dataclasses.replace(small_run, start=digit * 64).run_id for digit in ("", "0", "1")}
    assert len(begun) == 3 and small_run.run_id in begun
    assert RunConfig.from_dict({k: v for k, v in small_run.to_dict().items() if k != "start"}) == small_run


def test_it_resumes_bit_exactly(
    small_run: RunConfig, weights: Model, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(small_run, start=starts.write(weights, tmp_path, START))
    train(config, manifest, tmp_path, "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    save = checkpoint.save

    def save_then_die(*args: Any) -> None:
        save(*args)
        if args[4].step == 9:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        train(config, manifest, tmp_path, "cut")
    monkeypatch.setattr(checkpoint, "save", save)
    train(config, manifest, tmp_path, "cut")
    cut, whole = (pq.read_table(tmp_path / "runs" / name / "run.parquet").to_pylist()[0] for name in ("cut", "whole"))
    assert {k: v for k, v in cut.items() if k not in CLOCK} == {k: v for k, v in whole.items() if k not in CLOCK}
    files = [(tmp_path / "runs" / name / "weights.safetensors").read_bytes() for name in ("cut", "whole")]
    assert files[0] == files[1]


def test_another_start_or_none_is_refused(
    small_run: RunConfig, weights: Model, manifest: Manifest, tmp_path: Path
) -> None:
    sha256 = starts.write(weights, tmp_path, START)
    path = tmp_path / "starts" / f"{sha256}.safetensors"
    other = dataclasses.replace(small_run, start="0" * 64)
    with pytest.raises(UserError, match=r"cannot read the start .*0000\.safetensors"):
        train(other, manifest, tmp_path)
    path.rename(path.with_name(f"{other.start}.safetensors"))
    with pytest.raises(UserError, match="are not those it is named for; delete it"):
        train(other, manifest, tmp_path)
    whole = path.with_name(f"{other.start}.safetensors").read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="cannot read the start"):
        train(dataclasses.replace(small_run, start=sha256), manifest, tmp_path)


def test_a_start_is_found_by_what_decides_it(weights: Model, tmp_path: Path) -> None:
    assert starts.find(tmp_path, ORIGIN) is None
    sha256 = starts.write(weights, tmp_path, START)
    (tmp_path / "starts" / f"{'0' * 64}.safetensors").write_bytes(b"noise")
    assert starts.find(tmp_path, ORIGIN) == (sha256, START)
    assert starts.find(tmp_path, dataclasses.replace(ORIGIN, tokens=1280)) is None
