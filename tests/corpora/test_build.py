"""Small packages made here become a corpus: the same each time, split by document, nothing of it on both sides."""

import io
import json
import random
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from eutectic.corpora import archive, build, fetch, split, write
from eutectic.corpora.build import Fetched
from eutectic.corpora.packages import Package
from eutectic.errors import UserError
from eutectic.train import corpus, shards

WORDS = ("the", "of", "and", "to", "in", "that", "it", "is", "copper", "tin", "lead", "alloy", "melts", "mixture")
PROSE = Package("books", "pypi", "public domain", "prose", "text", ("*/texts/*.txt",), "1.0")
MANUAL = Package("tin-doc", "debian", "MIT", "docs", "manual", ("*.html", "*.txt"))
CODE = Package("kernel", "npm", "GPL-2.0-only", "code", "text", ("*.c",), "1.0")


def texts(seed: int, count: int, words: int = 120) -> list[str]:
    draw = random.Random(seed)
    return ["\n\n".join(" ".join(draw.choices(WORDS, k=words)) for _ in range(3)) for _ in range(count)]


def wheel(folder: Path, package: Package, files: dict[str, str]) -> Fetched:
    path = folder / f"{package.name}-1.0.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return Fetched(package, path)


@pytest.fixture
def chosen(tmp_path: Path) -> list[Fetched]:
    prose, docs, code = texts(0, 200), texts(1, 120), texts(2, 60)
    long = {f"b/texts/long{k}.txt": text for k, text in enumerate(texts(3, 30, 13000))}
    return [
        wheel(tmp_path, PROSE, {f"b/texts/{k}.txt": text for k, text in enumerate([*prose, prose[7]])} | long),
        wheel(tmp_path, MANUAL, {f"d/{k}.txt": text for k, text in enumerate(docs)} | {"d/other.png": "no"}),
        wheel(tmp_path, CODE, {f"mm/{k}.c": text for k, text in enumerate(code)}),
    ]


def documents(folder: Path) -> list[str]:
    return list(corpus.documents(str(folder)))


def test_what_is_held_out_lies_apart(chosen: list[Fetched], tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    build.build(chosen, {"gone": "not there"}, out)
    assert {str(path.relative_to(out)) for path in out.rglob("*.zst")} == {
        "main/train/prose-00.jsonl.zst",
        "main/train/docs-00.jsonl.zst",
        "main/valid/prose-00.jsonl.zst",
        "code/train/code-00.jsonl.zst",
        "code/valid/code-00.jsonl.zst",
        "held-out/docs/docs-00.jsonl.zst",
        "held-out/long-prose/prose-00.jsonl.zst",
    }
    sides = {name: set(documents(out / name)) for name in ("main/train", "main/valid", "code", "held-out")}
    assert sum(map(len, sides.values())) == len(set().union(*sides.values())) == 200 + 30 + 120 + 60
    assert all(len(text.encode()) >= split.LONG_BYTES for text in documents(out / "held-out/long-prose"))
    assert all(len(text.encode()) < split.LONG_BYTES for text in sides["main/valid"])

    trained_on = shards.prepare(str(out / "main"), "bytes", tmp_path / "cache")
    assert trained_on.valid_documents == len(sides["main/valid"])
    assert trained_on.documents == len(sides["main/train"]) + len(sides["main/valid"])


def test_manifest_tells_files_packages_and_licences(chosen: list[Fetched], tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    build.build(chosen, {"gone": "not there"}, out)
    told: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    assert told["missing"] == {"gone": "not there"}
    for name, part in told["files"].items():
        found = documents(out / name)
        assert (part["documents"], part["bytes"]) == (len(found), sum(len(text.encode()) for text in found))
    assert [(package["name"], package["licence"]) for package in told["packages"]] == [
        ("books", "public domain"),
        ("tin-doc", "MIT"),
        ("kernel", "GPL-2.0-only"),
    ]
    books = told["packages"][0]
    assert books["documents"]["repeats"] == 1 and sum(books["documents"].values()) == 231
    assert books["bytes"]["train"] == told["files"]["main/train/prose-00.jsonl.zst"]["bytes"]


def test_the_same_packages_give_the_same_bytes(chosen: list[Fetched], tmp_path: Path) -> None:
    for name in ("one", "two"):
        build.build(chosen, {}, tmp_path / name)
    one, two = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in ("one", "two")
    )
    assert one == two


def test_another_package_moves_no_document(chosen: list[Fetched], tmp_path: Path) -> None:
    build.build(chosen[:1], {}, tmp_path / "one")
    build.build(chosen, {}, tmp_path / "all")
    for folder in ("main/valid", "held-out/long-prose"):
        assert documents(tmp_path / "one" / folder) == documents(tmp_path / "all" / folder)


def test_shares_that_are_held_out() -> None:
    short = [split.split("a", str(k), 1000) for k in range(4000)]
    long = [split.split("a", str(k), split.LONG_BYTES) for k in range(4000)]
    assert 120 < short.count("valid") < 200 and short.count("long") == 0
    assert 700 < long.count("long") < 900 and long.count("valid") == 0


def test_a_corpus_is_not_overwritten_and_a_failure_leaves_none(chosen: list[Fetched], tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    with pytest.raises(UserError, match="is there already"):
        build.build(chosen, {}, tmp_path / "corpus")
    other = wheel(tmp_path, Package("x", "pypi", "MIT", "prose", "text", ("*.md",), "1.0"), {"a.txt": "x"})
    with pytest.raises(UserError, match=r"has no \*\.md"):
        build.build([*chosen, other], {}, tmp_path / "sub/corpus")
    assert list((tmp_path / "sub").iterdir()) == []


def test_files_end_before_they_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PART_BYTES", 1000)
    with write.Writer(tmp_path, "prose") as writer:
        for k in range(10):
            writer.write({"text": f"{k} é" + "x" * 300})
    assert list(writer.parts) == [f"prose-0{k}.jsonl.zst" for k in range(4)]
    assert [part.documents for part in writer.parts.values()] == [3, 3, 3, 1]
    assert [text[0] for text in documents(tmp_path)] == [str(k) for k in range(10)]


def tarball(path: Path, mode: str) -> None:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name in ("./b.txt", "./a.txt", "./c.png"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(name[2:5].encode()))
        link = tarfile.TarInfo("./d.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "a.txt"
        tar.addfile(link)


@pytest.mark.parametrize("kind", ["tar.gz", "tgz", "deb"])
def test_archives(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{kind}"
    if kind != "deb":
        tarball(path, "w:gz")
    elif shutil.which("dpkg-deb"):
        root = tmp_path / "root"
        (root / "DEBIAN").mkdir(parents=True)
        (root / "DEBIAN/control").write_text(
            "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x.x>\nDescription: x\n"
        )
        for name in ("a.txt", "b.txt", "c.png"):
            (root / name).write_text(name[:3])
        (root / "d.txt").symlink_to("a.txt")
        subprocess.run(["dpkg-deb", "-b", root, path], check=True, capture_output=True)
    else:
        pytest.skip("dpkg-deb is Debian's")
    found = archive.members(path, lambda name: name.endswith(".txt"))
    assert list(found.items()) == [("a.txt", b"a.t"), ("b.txt", b"b.t")]


@pytest.mark.parametrize("name", ["x.whl", "x.tgz", "x.deb"])
def test_a_damaged_archive_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not one")
    with pytest.raises(UserError, match=name):
        archive.members(tmp_path / name, lambda _: True)


def test_a_package_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_command", lambda package: ["sh", "-c", f"echo {package.name} > {package.name}.whl"])
    path = fetch.fetch(PROSE, tmp_path)
    assert path == tmp_path / "books/books.whl" and path.read_text() == "books\n"
    monkeypatch.setattr(fetch, "_command", lambda package: pytest.fail("it was fetched again"))
    assert fetch.fetch(PROSE, tmp_path) == path


@pytest.mark.parametrize(
    ("command", "says"),
    [("echo E: none such >&2; exit 1", "none such"), ("true", "there is no such one"), (None, "No such file")],
)
def test_a_package_that_is_missing_is_named(
    command: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_command", lambda package: ["sh", "-c", command] if command else ["no-such-client"])
    with pytest.raises(UserError, match=f"tin-doc cannot be fetched .*{says}"):
        fetch.fetch(MANUAL, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_goes_on_without_what_is_missing(
    chosen: list[Fetched], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetched(package: Package, folder: Path) -> Path:
        if package is MANUAL:
            raise UserError("tin-doc cannot be fetched.")
        return next(one.archive for one in chosen if one.package is package)

    monkeypatch.setattr(build, "fetch", fetched)
    monkeypatch.setattr(build.packages, "listed", lambda: [PROSE, MANUAL, CODE])
    build.main([str(tmp_path / "out"), "books", "tin-doc"])
    told = capsys.readouterr()
    assert "tin-doc cannot be fetched" in told.err and "1 could not be fetched" in told.out
    assert json.loads((tmp_path / "out/manifest.json").read_text())["missing"] == {
        "tin-doc": "tin-doc cannot be fetched."
    }
    with pytest.raises(UserError, match="does not list lead"):
        build.main([str(tmp_path / "other"), "lead"])
