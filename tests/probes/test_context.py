"""Losses after contexts of growing length: of which tokens, after which, and of documents that were not trained on."""

import dataclasses
import json
from pathlib import Path

import inside
import numpy as np
import pytest
import torch
from zoo import perturb

from eutectic.analysis import schema
from eutectic.analysis.load import read_table
from eutectic.arch.model import build
from eutectic.config import RunConfig, canonical_json
from eutectic.errors import UserError
from eutectic.inference.export import Exported, write
from eutectic.inference.score import token_losses
from eutectic.probes.context import Document, doubled, learnt, longest, of_source, of_validation, probe
from eutectic.train import checkpoint, tokenizer
from eutectic.train.shards import Manifest

BYTES = tokenizer.make("bytes", lambda: iter(()))


def document(name: str, text: str) -> Document:
    return Document(name, np.frombuffer(text.encode(), np.uint8))


def test_each_loss_is_of_the_last_tokens_after_so_many_before(small_run: RunConfig) -> None:
    """Against the forward pass of separator, context and targets; a document too short for a context is left out."""
    model = perturb(build(small_run.model, 0).double()).eval()
    documents = [document("a", "copper and tin melt " * 9), document("b", "lead, of the alloys, " * 4)]
    found = list(probe(model, BYTES, documents, 40, [64, 0, 7]))
    assert [(one.document, one.context) for one in found] == [("a", 0), ("b", 0), ("a", 7), ("b", 7), ("a", 64)]
    for one in found:
        ids = next(d for d in documents if d.name == one.document).ids
        read = torch.tensor([[0, *ids[len(ids) - 40 - one.context :].tolist()]])
        nats = token_losses(model, read)[0, -40:].double().mean()
        assert one.nats == pytest.approx(float(nats), rel=1e-6)
        assert one.bits_per_byte == pytest.approx(one.nats / np.log(2), rel=1e-12)
        assert one.length == len(ids)


def test_bits_are_of_the_bytes_that_the_targets_spell(small_run: RunConfig) -> None:
    bpe = tokenizer.make("bpe-400", lambda: iter(["the melt of copper and tin, " * 30]))
    model = build(dataclasses.replace(small_run.model, vocab_size=400), 0).eval()
    (ids,) = bpe.encode(["a tin melt; the copper melt of the tin, and copper"])
    (one,) = probe(model, bpe, [Document("a", ids)], len(ids) - 3, [0])
    spelt = b"a tin melt; the copper melt of the tin, and copper"
    before = "".join(map(bpe.decoder(), ids[:3].tolist())).encode()
    assert one.bits_per_byte == pytest.approx(one.nats * (len(ids) - 3) / np.log(2) / (len(spelt) - len(before)))


def test_validation_is_what_was_not_learnt(manifest: Manifest, small_run: RunConfig) -> None:
    cache = Path(manifest.folder).parents[1]
    held_out, known = of_validation(small_run, BYTES, cache), learnt(small_run, BYTES, cache)
    assert known is not None
    assert len(held_out) == manifest.valid_documents
    assert len(known) + len(held_out) == manifest.documents
    every = of_source(manifest.source, BYTES)
    assert sorted(d.name for d in every if d.name not in known) == sorted(d.name for d in held_out)
    assert sum(len(d.ids) + 1 for d in held_out) == manifest.valid_tokens
    assert learnt(small_run, BYTES, cache / "none") is None


def test_the_longest_are_taken_once_and_contexts_reach_half_of_them() -> None:
    documents = [
        document(name, "x" * length) for name, length in zip("abcde", (300, 900, 2000, 700, 1100), strict=True)
    ]
    assert [d.name for d in longest([*documents, documents[1]], 700, 9)] == ["c", "e", "b", "d"]
    assert [d.name for d in longest(documents, 1, 2)] == ["c", "e"]
    with pytest.raises(UserError, match=r"longest of 5 held-out documents has 2000 tokens, and 2001 are needed"):
        longest(documents, 2001, 9)
    with pytest.raises(UserError, match=r"longest of 0"):
        longest([], 1, 9)
    of_median = {128: [0, 256, 512], 388: [0, 256, 512], 389: [0, 256], 644: [0, 256], 645: [0]}  # of 900 tokens
    for targets, contexts in of_median.items():
        assert doubled(documents, targets) == contexts


@pytest.fixture
def folder(small_run: RunConfig, tmp_path: Path) -> Path:
    made = tmp_path / "results/sweep/runs/r"
    made.mkdir(parents=True)
    checkpoint.save_weights(
        made / "weights.safetensors", canonical_json(small_run.to_dict()), build(small_run.model, 7)
    )
    return made


def test_the_command_measures_and_keeps(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    cache = str(Path(manifest.folder).parents[1])
    command = ["context", str(folder), "--targets", "100", "--contexts", "0", "300", "50"]
    shown = inside.eutectic(*command, cwd=tmp_path, EUTECTIC_CACHE=cache)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "hyena+attn" in shown.stdout and "last 100 tokens" in shown.stdout
    assert not list(tmp_path.rglob("*.parquet"))
    told = inside.eutectic(*command, "--name", "sweep", "--json", cwd=tmp_path, EUTECTIC_CACHE=cache)
    rows = json.loads(told.stdout)
    assert [(row["context"], row["documents"]) for row in rows] == [(n, manifest.valid_documents) for n in (0, 50, 300)]
    kept = read_table(tmp_path / "results/sweep", "context")
    assert kept is not None
    assert set(kept["model"]) == {"r"} and set(kept["seq_len"]) == {32} and set(kept["source"]) == {"validation"}
    assert rows[2]["nats"] == pytest.approx(kept[kept["context"] == 300]["nats"].mean())
    again = inside.eutectic(*command[:-1], "400", "--name", "sweep", cwd=tmp_path, EUTECTIC_CACHE=cache)
    assert again.returncode == 0
    more = read_table(tmp_path / "results/sweep", "context")
    assert more is not None
    assert (
        sorted(more["context"].unique()) == [0, 50, 300, 400] and not more.duplicated([*schema.KEYS["context"]]).any()
    )
    drawn = inside.eutectic("figures", cwd=tmp_path)
    assert drawn.stdout.split() == [f"results/sweep/figures/context.{ending}" for ending in ("png", "svg")]


def test_a_source_is_taken_less_what_was_trained_on(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    command = ["context", str(folder), "--targets", "100", "--contexts", "9", "--json", "--documents", "99"]
    here = {"EUTECTIC_CACHE": str(Path(manifest.folder).parents[1])}
    (row,) = json.loads(inside.eutectic(*command, "--source", manifest.source, cwd=tmp_path, **here).stdout)
    assert row["documents"] == manifest.valid_documents
    elsewhere = inside.eutectic(*command, "--source", manifest.source, cwd=tmp_path)
    assert json.loads(elsewhere.stdout)[0]["documents"] == manifest.documents
    assert "nothing here tells which texts r was trained on: all of" in elsewhere.stderr
    refused = inside.eutectic(*command, cwd=tmp_path)
    assert refused.returncode == 1 and "run the sweep again to make them" in refused.stderr


def test_a_model_from_elsewhere_needs_a_source(small_run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    """Such as an exported Llama without what we know of it."""
    run = dataclasses.replace(small_run, model=dataclasses.replace(small_run.model, layout="attn"))
    write(Exported(run, build(run.model, 0).state_dict(), BYTES), tmp_path / "llama")
    config = json.loads((tmp_path / "llama/config.json").read_text())
    del config["eutectic"]
    (tmp_path / "llama/config.json").write_text(json.dumps(config))
    command = ["context", str(tmp_path / "llama"), "--targets", "50", "--contexts", "9", "--name", "x"]
    refused = inside.eutectic(*command, cwd=tmp_path)
    assert refused.returncode == 1 and "nothing tells what llama was trained on; give texts" in refused.stderr
    assert inside.eutectic(*command, "--source", manifest.source, cwd=tmp_path).returncode == 0
    kept = read_table(tmp_path / "results/x", "context")
    assert kept is not None and len(kept) == 32 and kept[["arch", "seq_len"]].isna().all(axis=None)
    assert inside.eutectic("figures", "--name", "x", cwd=tmp_path).returncode == 0


def test_what_cannot_be_is_said(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    cache = str(Path(manifest.folder).parents[1])
    for words, said in (
        (["--targets", "0"], "--targets 0 measures nothing"),
        (["--contexts", "x"], "--contexts 'x' is not a whole number"),
        (["--targets", "99999"], "and 100255 are needed for the targets and the shortest context"),
        (["--name", "../x"], "a sweep cannot be named"),
        (["--source", "gone"], "no corpus at 'gone'"),
    ):
        done = inside.eutectic("context", str(folder), *words, cwd=tmp_path, EUTECTIC_CACHE=cache)
        assert done.returncode == 1 and said in done.stderr
    kept = tmp_path / "results/sweep/context.parquet"
    kept.write_text("noise")
    done = inside.eutectic(
        "context", str(folder), "--targets", "9", "--name", "sweep", cwd=tmp_path, EUTECTIC_CACHE=cache
    )
    assert done.returncode == 1 and "move it away" in done.stderr
    assert kept.read_text() == "noise"
