"""Tokens round-trip, the split is by document, the cache is used, and damage to it is mended."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eutectic.config import DataConfig
from eutectic.errors import UserError
from eutectic.train import shards, tokenizer


def documents(manifest: shards.Manifest, split: str) -> list[bytes]:
    return bytes(manifest.tokens(split).astype(np.uint8)).split(b"\0")[:-1]


def test_bytes_round_trip_and_split_by_document(corpus: Path, manifest: shards.Manifest) -> None:
    train, valid = documents(manifest, "train"), documents(manifest, "valid")
    assert sorted(train + valid) == sorted(path.read_bytes() for path in corpus.iterdir())
    assert not set(train) & set(valid)
    assert (len(valid), len(train) + len(valid)) == (manifest.valid_documents, manifest.documents)
    assert manifest.valid_bytes_per_token == sum(map(len, valid)) / manifest.valid_tokens


def test_a_document_is_held_out_whatever_else_there_is(tmp_path: Path) -> None:
    """Adding documents moves none from training to validation: the split is by a document's own hash."""
    for k in range(200):
        (tmp_path / f"{k}.txt").write_text(f"document {k}")
    before = set(documents(shards.prepare(str(tmp_path), "bytes", tmp_path / "c"), "valid"))
    for k in range(200, 400):
        (tmp_path / f"{k}.txt").write_text(f"document {k}")
    after = set(documents(shards.prepare(str(tmp_path), "bytes", tmp_path / "c"), "valid"))
    assert before < after
    assert 4 <= len(after) <= 32  # of 400, at 4%


def test_a_folder_says_what_is_held_out(tmp_path: Path) -> None:
    """A document that is in it too is not trained on; and the corpus is another than without it."""
    for k in range(20):
        path = tmp_path / "texts" / ("valid" if k in (3, 7) else "train") / f"{k}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"document {k}")
    (tmp_path / "texts/train/copy.txt").write_text("document 7")
    chosen = shards.prepare(str(tmp_path / "texts"), "bytes", tmp_path / "c")
    assert sorted(documents(chosen, "valid")) == [b"document 3", b"document 7", b"document 7"]
    assert len(documents(chosen, "train")) == 18
    (tmp_path / "texts/valid").rename(tmp_path / "texts/x")
    assert shards.prepare(str(tmp_path / "texts"), "bytes", tmp_path / "c").corpus_sha256 != chosen.corpus_sha256


def test_where_all_is_held_out_nothing_is_left_to_train_on(tmp_path: Path) -> None:
    (tmp_path / "valid").mkdir()
    (tmp_path / "valid/a.txt").write_text("only this")
    with pytest.raises(UserError, match="add some to train on"):
        shards.prepare(str(tmp_path), "bytes", tmp_path / "cache")


def test_the_second_time_reads_nothing(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shards.prepare(str(corpus), "bytes", tmp_path)
    monkeypatch.setattr(shards.corpus, "documents", lambda source: pytest.fail("the corpus was read again"))
    assert shards.prepare(str(corpus), "bytes", tmp_path) == first
    data = DataConfig(str(corpus), "bytes", first.corpus_sha256, first.tokenizer_sha256, first.vocab_size, 8, 1)
    assert shards.open_shards(data, tmp_path) == first


def test_identify_agrees_and_writes_nothing(tmp_path: Path, corpus: Path, manifest: shards.Manifest) -> None:
    found = shards.identify(str(corpus), "bytes", tmp_path / "none")
    assert (found.corpus_sha256, found.train_tokens) == (manifest.corpus_sha256, manifest.train_tokens)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_shard_is_set_aside_and_made_again(tmp_path: Path, corpus: Path) -> None:
    first = shards.prepare(str(corpus), "bytes", tmp_path)
    with Path(first.folder, "train.bin").open("r+b") as file:
        file.truncate(100)
    assert shards.prepare(str(corpus), "bytes", tmp_path) == first
    assert Path(first.folder, "train.bin").stat().st_size == 2 * first.train_tokens
    assert Path(first.folder + ".corrupt-0").is_dir()


def test_a_failure_leaves_nothing_half_written(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards.files, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        shards.prepare(str(corpus), "bytes", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_one_document_cannot_be_split(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("only one")
    with pytest.raises(UserError, match="one document only"):
        shards.prepare(str(tmp_path), "bytes", tmp_path / "cache")


@given(st.text(max_size=60).filter(lambda t: t < "\ud800" or t.isprintable()))
def test_bpe_round_trip(text: str) -> None:
    made = BPE
    from tokenizers import Tokenizer

    ids = made.encode([text])[0]
    assert Tokenizer.from_str(made.definition).decode(ids.tolist(), skip_special_tokens=False) == text
    assert made.separator not in ids


BPE = tokenizer.make("bpe-300", lambda: iter(["the alloy melts at the eutectic ratio " * 20, "<|endoftext|> is text"]))


def test_bpe_is_trained_once_and_its_hash_names_it() -> None:
    again = tokenizer.make(
        "bpe-300", lambda: iter(["the alloy melts at the eutectic ratio " * 20, "<|endoftext|> is text"])
    )
    other = tokenizer.make("bpe-300", lambda: iter(["another text altogether, with other words"]))
    assert again.sha256 == BPE.sha256 != other.sha256
    assert 256 < BPE.vocab_size <= 300
    assert len(BPE.encode(["the alloy melts"])[0]) < len("the alloy melts")


@pytest.mark.parametrize(("name", "words"), [("bpe", "use bytes, or bpe-VOCAB"), ("bpe-256", "257 or more")])
def test_unusable_tokenizers(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        tokenizer.make(name, lambda: iter([]))
