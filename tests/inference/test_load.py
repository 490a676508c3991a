"""Trained models from files: whole, or refused; and what the command writes with them."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eutectic import cli
from eutectic.arch.model import Model, build
from eutectic.config import RunConfig, canonical_json
from eutectic.errors import UserError
from eutectic.inference.load import fill, load
from eutectic.train import checkpoint


@pytest.fixture
def trained(small_run: RunConfig) -> Model:
    """Of another seed than the run's, as trained weights are not those that it starts from."""
    return build(small_run.model, 99)


@pytest.fixture
def folder(trained: Model, small_run: RunConfig, tmp_path: Path) -> Path:
    (tmp_path / "sweep/runs/r").mkdir(parents=True)
    path = tmp_path / "sweep/runs/r/weights.safetensors"
    checkpoint.save_weights(path, canonical_json(small_run.to_dict()), trained)
    return path.parent


def test_a_runs_weights_come_back(folder: Path, trained: Model, small_run: RunConfig, tmp_path: Path) -> None:
    for path in (folder, folder / "weights.safetensors"):
        found = load(path, tmp_path)
        assert found.run == small_run
        assert found.tokenizer.name == "bytes"
        assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), trained.parameters(), strict=True))


def test_damaged_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "weights.safetensors"
    whole = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) // 2, 9, 0):
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match=r"cannot read the weights .*weights.safetensors \(.*\); train that run"):
            load(folder, tmp_path)
    path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    with pytest.raises(UserError, match="are not those that were written"):
        load(folder, tmp_path)


def test_weights_of_elsewhere_are_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "weights.safetensors"
    save_file(load_file(path), path)
    with pytest.raises(UserError, match="cannot read the weights"):
        load(folder, tmp_path)


@pytest.mark.parametrize("log_decay", [-torch.inf, -60.0, torch.nan])
def test_unstable_poles_are_refused_with_the_channel(log_decay: float, small_run: RunConfig) -> None:
    """A size of exp(-exp(log_decay)), which is 1 in float32 where log_decay is -60."""
    shape = dataclasses.replace(small_run.model, layout="hyena")
    model = build(shape, 0)
    model.get_parameter("blocks.1.mixer.filter.log_decay").data[5, 1] = log_decay
    with pytest.raises(UserError, match=r"x has a pole that .* in channel 5 of blocks.1.mixer.filter; bring it there"):
        fill(build(shape, 0), model.state_dict(), "x")


def test_weights_without_a_hash_are_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "weights.safetensors"
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["run"])
    del told["sha256"]
    save_file(load_file(path), path, {"run": json.dumps(told)})
    with pytest.raises(UserError, match=r"cannot read the weights .* \('sha256'\)"):
        load(folder, tmp_path)


def test_weights_of_another_layout_are_refused_with_the_difference(trained: Model, small_run: RunConfig) -> None:
    weights = dict(trained.state_dict())
    fill(build(small_run.model, 0), weights, "x")
    weights["blocks.0.mixer.out.weight"] = torch.zeros(3, 4)
    weights["blocks.7.mixer.out.weight"] = weights.pop("blocks.1.mixer.out.weight")
    with pytest.raises(UserError) as caught:
        fill(build(small_run.model, 0), weights, "the file")
    assert str(caught.value).splitlines() == [
        "the file does not fit the model in 3 tensors, such as:",
        "  blocks.0.mixer.out.weight is (3, 4) and not (16, 16)",
        "  blocks.1.mixer.out.weight is not there",
        "  blocks.7.mixer.out.weight is none of the model's",
    ]


def test_a_place_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no model at {tmp_path}"):
        load(tmp_path, tmp_path)


def test_the_command_writes_as_it_draws(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", str(folder), "--tokens", "20", "--seed", "3", "--prompt", "copper"]
    assert cli.main([*command, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["prompt"] == "copper"
    assert len(told["ids"]) == 20 or told["ended"] == "document"
    assert cli.main(command) == 0
    assert capsys.readouterr().out == f"copper{told['text']}\n"
    assert cli.main([*command, "--prompt", "tin", "--rows", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"copper{told['text']}\n\ntin")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--top-p", "1.5"], "--top-p 1.5 is not a probability"),
        (["--tokens", "0"], "--tokens 0 writes nothing"),
        (["--tokens", str(10**13)], "give fewer tokens or --rows"),
        (["--prompt", "caf\udce9"], "is not text in UTF-8"),
        (["--stop", ""], "--stop '' would end every text at once"),
        (["--temperature", "hot"], "--temperature 'hot' is not a number"),
    ],
)
def test_what_cannot_be_is_said(words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", str(folder), "--prompt", "a", *words]) == 1
    assert said in capsys.readouterr().err
