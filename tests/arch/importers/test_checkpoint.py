"""Folders as Hugging Face writes them are read, and what cannot be read is said."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from public import assert_same
from zoo import tokens

from eutectic.arch.importers import checkpoint
from eutectic.errors import UserError

transformers = pytest.importorskip("transformers")


def _saved(folder: Path, **how: Any) -> Any:
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    torch.manual_seed(3)
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(folder, **how)
    return model


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_a_saved_model_gives_its_logits(tmp_path: Path, shard: str) -> None:
    theirs = _saved(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors").exists() == (shard == "1GB")
    with torch.no_grad():
        assert_same(checkpoint.load(tmp_path)(tokens(2, 30)), theirs(tokens(2, 30)).logits)


def test_a_tied_model_is_saved_without_its_head(tmp_path: Path) -> None:
    theirs = _saved(tmp_path)
    theirs.config.tie_word_embeddings = True
    theirs.tie_weights()
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        assert_same(checkpoint.load(tmp_path)(tokens(2, 30)), theirs(tokens(2, 30)).logits)


def test_unreadable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json is missing"):
        checkpoint.load(tmp_path)
    _saved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"half a download")
    with pytest.raises(UserError, match=r"cannot read the weights .*model\.safetensors"):
        checkpoint.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"cannot read the weights .*model\.safetensors"):
        checkpoint.load(tmp_path)


def test_a_missing_shard_and_a_missing_tensor_are_named(tmp_path: Path) -> None:
    _saved(tmp_path, max_shard_size="20KB")
    index = tmp_path / "model.safetensors.index.json"
    shards = json.loads(index.read_text())["weight_map"]
    (tmp_path / shards["model.norm.weight"]).unlink()
    with pytest.raises(UserError, match=shards["model.norm.weight"]):
        checkpoint.load(tmp_path)
    kept = {name: file for name, file in shards.items() if file != shards["model.norm.weight"]}
    index.write_text(json.dumps({"weight_map": kept}))
    with pytest.raises(UserError, match="lacks"):
        checkpoint.load(tmp_path)


def test_an_unknown_model_type_is_told_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match=r"'bert'.*llama, mistral"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("vocab_size", 60, "weights are not those of its config.json .size mismatch"),
        ("num_hidden_layers", 1, "has weights of 2 layers and a config.json of 1"),
        ("num_hidden_layers", 3, "lacks"),
        ("num_hidden_layers", "x", "has a value of another kind"),
    ],
)
def test_a_config_of_another_model_is_refused(tmp_path: Path, key: str, value: object, message: str) -> None:
    _saved(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match=message):
        checkpoint.load(tmp_path)
