"""A run's numbers: the same however it is cut up or interrupted, right where they can be checked by hand."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from eutectic.arch.model import build
from eutectic.config import OptimConfig, RunConfig
from eutectic.train import checkpoint, loop
from eutectic.train.data import Batches, validation
from eutectic.train.shards import Manifest

# of where and when, not of what was computed
CLOCK = ("seconds", "tokens_per_second", "finished", "commit")


def numbers(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in pq.read_table(path).to_pylist()]


def trained(config: RunConfig, manifest: Manifest, folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return loop.train(config, manifest, folder, "cpu")


def test_one_step_by_hand(small_run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    """The loss logged is the mean cross-entropy, the gradient that of the whole batch, the update AdamW's."""
    optim = dataclasses.replace(small_run.optim, init_scale=0.5)
    config = dataclasses.replace(small_run, sequences=4, evals=1, optim=optim)
    row = trained(config, manifest, tmp_path)
    model = build(config.model, config.seed, 0.5)
    rows = torch.from_numpy(Batches(manifest, 32, 4, config.seed).batch(0, 4))

    def loss(of: torch.Tensor) -> torch.Tensor:
        log_p = model(of[:, :-1]).log_softmax(-1)
        return -log_p.gather(2, of[:, 1:, None]).mean()

    before = loss(rows)
    before.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = math.sqrt(sum(float(g.double().pow(2).sum()) for g in gradients))
    curve = pq.read_table(tmp_path / "curve.parquet").to_pylist()
    assert curve[0]["train_loss"] == pytest.approx(before.item(), rel=1e-6)
    assert curve[0]["grad_norm"] == pytest.approx(norm, rel=1e-5)
    with torch.no_grad():
        for parameter in model.parameters():
            gradient = parameter.grad * min(1.0, 1.0 / norm)
            decay = 0.1 if parameter.ndim == 2 and not getattr(parameter, "no_weight_decay", False) else 0.0
            # the first step of Adam moves by lr * sign(gradient), but for eps
            parameter -= 1e-2 * (decay * parameter + gradient / (gradient.abs() + 1e-8))
        held_out = torch.from_numpy(validation(manifest, 32, 8))
        assert row["loss"] == pytest.approx(loss(held_out).item(), rel=1e-4)


def test_it_learns_and_counts(small_run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    row = trained(small_run, manifest, tmp_path)
    curve = numbers(tmp_path / "curve.parquet")
    assert row["status"] == "done"
    assert row["loss"] < curve[0]["train_loss"] - 0.5
    assert (row["steps_done"], curve[-1]["step"], row["tokens"]) == (21, 21, 83 * 32)
    assert [r["step"] for r in curve if r["valid_loss"] is not None] == [7, 14, 21]
    assert row["loss"] == curve[-1]["valid_loss"]
    assert row["flops"] == curve[-1]["flops"] == pytest.approx(83 * curve[0]["flops"] / 4)
    assert row["attn_share"] == 0.5
    groups = [row[f"params_{name}"] for name in ("embedding", "mixer", "channel", "norm")]
    assert row["params"] == sum(groups) == sum(p.numel() for p in build(small_run.model, 0).parameters())
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_micro_batches_change_nothing_but_rounding(small_run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    whole = trained(dataclasses.replace(small_run, micro_batch=4), manifest, tmp_path / "a")
    parts = trained(dataclasses.replace(small_run, micro_batch=1), manifest, tmp_path / "b")
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-4)


@pytest.mark.parametrize("deaths", [[5], [1, 2, 20]])
def test_resume_is_bit_exact(
    deaths: list[int], small_run: RunConfig, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(small_run, manifest, tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    save = checkpoint.save
    for death in deaths:

        def save_then_die(*args: Any, death: int = death) -> None:
            save(*args)
            if args[4].step == death:
                raise KeyboardInterrupt

        monkeypatch.setattr(checkpoint, "save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            trained(small_run, manifest, tmp_path / "cut")
    monkeypatch.setattr(checkpoint, "save", save)
    trained(small_run, manifest, tmp_path / "cut")
    for name in ("run.parquet", "curve.parquet"):
        assert numbers(tmp_path / "cut" / name) == numbers(tmp_path / "whole" / name)
    weights = [(tmp_path / folder / "weights.safetensors").read_bytes() for folder in ("cut", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("damage", ["truncated", "noise", "another run's"])
def test_a_bad_checkpoint_is_set_aside(
    damage: str, small_run: RunConfig, manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    model = build(small_run.model, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    checkpoint.save(path, "0" * 16 if damage == "another run's" else small_run.run_id, model, optimizer, _half_way())
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    if damage == "noise":
        path.write_bytes(b"noise")
    row = trained(small_run, manifest, tmp_path)
    assert "set aside as checkpoint.safetensors.corrupt-0, starting over" in capsys.readouterr().err
    assert (tmp_path / "checkpoint.safetensors.corrupt-0").exists()
    assert row["loss"] == trained(small_run, manifest, tmp_path / "clean")["loss"]


def _half_way() -> checkpoint.Progress:
    return checkpoint.Progress(10, 1.0, [])


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(
    small_run: RunConfig, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cross_entropy = torch.nn.functional.cross_entropy
    calls = iter(range(1000))

    def poisoned(*args: torch.Tensor) -> torch.Tensor:
        loss = cross_entropy(*args)
        return loss * math.nan if next(calls) == 12 else loss  # in the seventh step, of two micro-batches each

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", poisoned)
    row = trained(dataclasses.replace(small_run, evals=1), manifest, tmp_path)
    curve = numbers(tmp_path / "curve.parquet")
    assert (row["status"], row["steps_done"]) == ("diverged", 7)
    assert math.isnan(curve[6]["train_loss"])
    assert row["loss"] == curve[5]["train_loss"]
    assert (row["tokens"], row["train_loss"]) == (7 * 4 * 32, None)
    assert pq.read_table(tmp_path / "run.parquet").num_rows == 1


def test_a_hopeless_run_ends_at_that_validation_as_pruned(
    small_run: RunConfig, manifest: Manifest, tmp_path: Path
) -> None:
    config, seen = dataclasses.replace(small_run, evals=4), []

    def hopeless(losses: list[float]) -> bool:
        seen.append(losses)
        return len(losses) == 2

    row = loop.train(config, manifest, tmp_path, "cpu", loop.Hooks(hopeless=hopeless))
    curve = pq.read_table(tmp_path / "curve.parquet").to_pylist()
    assert (row["status"], row["steps_done"], row["steps"]) == ("pruned", 10, 21)
    assert (row["tokens"], row["flops"]) == (10 * 4 * 32, curve[-1]["flops"])
    losses = [step["valid_loss"] for step in curve if step["valid_loss"] is not None]
    assert seen == [losses[:1], losses] and row["loss"] == losses[1] and row["train_loss"] is None
    # what was trained is what a run that goes on has there, and the last validation is not asked about
    whole = tmp_path / "whole"
    whole.mkdir()
    seen.clear()
    hooks = loop.Hooks(hopeless=lambda losses: len(losses) == 4)
    assert loop.train(config, manifest, whole, "cpu", hooks)["status"] == "done"
    assert numbers(whole / "curve.parquet")[: len(curve)] == numbers(tmp_path / "curve.parquet")


def test_a_huge_learning_rate_never_looks_done(small_run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    row = trained(dataclasses.replace(small_run, optim=OptimConfig(lr=1e30)), manifest, tmp_path)
    assert row["status"] == "diverged"
    assert math.isfinite(row["loss"])


def test_whoever_lost_the_lease_writes_nothing(small_run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(loop.LeaseLost):
        loop.train(small_run, manifest, tmp_path, "cpu", loop.Hooks(held=lambda: False))
    assert not (tmp_path / "run.parquet").exists()


def test_penalties_train_but_are_not_logged(small_run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    """Of balance, at least 1, a weight of 1000 would show in any loss, and it changes what the router learns."""
    rows = {}
    for weight in (0.0, 1000.0):
        model = dataclasses.replace(small_run.model, channel=f"moe(experts=4,z=0.0,balance={weight})")
        rows[weight] = trained(dataclasses.replace(small_run, model=model), manifest, tmp_path / str(weight))
    assert all(row["loss"] < 6 and row["train_loss"] < 6 for row in rows.values())
    assert rows[0.0]["loss"] != rows[1000.0]["loss"]
    assert rows[0.0]["params_active"] < rows[0.0]["params"]


def test_the_log_says_what_was_stacked_and_what_it_keeps(
    small_run: RunConfig, manifest: Manifest, tmp_path: Path
) -> None:
    """hyena of width 16 and 2 modes, 2 layers; attention of 1 key-value head of width 8 after 32 tokens, 1 layer."""
    model = dataclasses.replace(small_run.model, layout="hyena*2+attn@middle", n_layers=3)
    row = trained(dataclasses.replace(small_run, model=model, sequences=4, evals=1), manifest, tmp_path)
    assert (row["layers"], row["channel"], row["match"], row["mixers"]) == ("hyena+attn+hyena", "swiglu", "width", "")
    assert row["attn_share"] == pytest.approx(1 / 3)
    cached, wide = 2 * 3 * 16 * 2 + 2 * 32 * 8, 2 * 16 * 2 * 2
    assert row["state_dim"] == cached + wide
    assert row["state_bytes"] == 2 * cached + 4 * wide
