"""Documents are kept by the quality signals they carry, in the form that RedPajama-V2 gives them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eutectic.errors import UserError
from eutectic.train import corpus, quality, shards

# words, perplexity (of which the third has none)
DOCUMENTS = [(30, 200.0), (50, 300.5), (80, None), (400, 900.0), (90, -1.5)]


def row(k: int) -> dict[str, str]:
    words, perplexity = DOCUMENTS[k]
    text = " ".join([f"word{k}"] * words)
    signals = {
        "ccnet_perplexity": [[0, len(text), perplexity]],
        "rps_doc_word_count": [[0, len(text), float(words)]],
        "rps_lines_ending_with_terminal_punctution_mark": [[0, 5, 0.0], [5, len(text), 1.0]],
    }
    named = {"doc_id": f"2023-06/0000/en_head.json.gz/{k}", "meta": json.dumps({"url": "https://x.example"})}
    return {"raw_content": text, **named, "quality_signals": json.dumps(signals)}


@pytest.fixture(params=["jsonl", "parquet"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    rows = [row(k) for k in range(len(DOCUMENTS))]
    path = tmp_path / f"texts/sample.{request.param}"
    path.parent.mkdir()
    if request.param == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path.parent)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("?rps_doc_word_count>=50", [1, 2, 3, 4]),
        ("?rps_doc_word_count>=50&rps_doc_word_count<=100", [1, 2, 4]),
        ("?ccnet_perplexity<=300.5", [0, 1, 4]),
        ("?ccnet_perplexity>=-1.5e0&rps_doc_word_count>=400", [3]),
    ],
)
def test_thresholds_keep(source: str, asked: str, kept: list[int]) -> None:
    assert list(corpus.documents(source + asked)) == [row(k)["raw_content"] for k in kept]


def test_a_signal_without_a_value_is_not_passed(source: str) -> None:
    assert row(2)["raw_content"] not in list(corpus.documents(source + "?ccnet_perplexity<=1e9"))


def test_other_thresholds_are_another_corpus(source: str, tmp_path: Path) -> None:
    made = [shards.prepare(source + asked, "bytes", tmp_path / "cache") for asked in ("", "?rps_doc_word_count>=50")]
    assert [manifest.documents for manifest in made] == [5, 4]
    assert made[0].corpus_sha256 != made[1].corpus_sha256
    assert shards.prepare(source, "bytes", tmp_path / "cache") == made[0]


def test_thresholds_reach_what_is_held_out(source: str, tmp_path: Path) -> None:
    folder = tmp_path / "texts/valid"
    folder.mkdir()
    (folder / "held.jsonl").write_text("".join(json.dumps(row(k)) + "\n" for k in (0, 1)))
    asked = source + "?rps_doc_word_count>=50"
    assert list(corpus.documents(corpus.held_out(asked) or "")) == [row(1)["raw_content"]]
    assert shards.prepare(asked, "bytes", tmp_path / "cache").valid_documents == 2  # it and its copy


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("?rps_doc_word_count>50", "SIGNAL>=NUMBER"),
        ("?", "SIGNAL>=NUMBER"),
        ("?rps_doc_wordcount>=50", "no number for the signal 'rps_doc_wordcount'"),
        ("?rps_lines_ending_with_terminal_punctution_mark>=1", "is of a document's lines"),
        ("?rps_doc_word_count>=1e9", "no text in it"),
    ],
)
def test_faults_are_named(source: str, asked: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        list(corpus.documents(source + asked))


def test_texts_without_signals_have_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(UserError, match=r"a\.txt has no number"):
        list(corpus.documents(f"{tmp_path}?rps_doc_word_count>=50"))


def test_thresholds_are_read() -> None:
    assert quality.parted("hf:NAME?a>=.5&b<=-2") == (
        "hf:NAME",
        [quality.Threshold("a", ">=", 0.5), quality.Threshold("b", "<=", -2.0)],
    )
