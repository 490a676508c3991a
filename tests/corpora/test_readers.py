"""Each reader on a small file of its form."""

import bz2
import gzip
import io
import json
import struct
import tarfile
import zlib

import pytest

from eutectic.corpora import packages, readers
from eutectic.errors import UserError

WORDS = "It was the best of times, and it was the worst of times. "


def read(reader: str, files: dict[str, bytes]) -> dict[str, str]:
    return dict(readers.READERS[reader](files))


def test_texts() -> None:
    assert read("text", {"a/one.txt": b"One", "a/two.txt.gz": gzip.compress(b"Two")}) == {
        "one.txt": "One",
        "two.txt.gz": "Two",
    }


def test_a_book_a_line() -> None:
    book = "Produced by A and B   CHAPTER I   " + WORDS * 1000
    assert list(read("lines", {"corpus.txt": f"fragment\n{book}\n".encode()}).items()) == [
        ("1", f"CHAPTER I\n\n{(WORDS * 1000).strip()}")
    ]


def test_pages() -> None:
    assert read("html", {"x/a.html": b"<p>Tin &amp; lead</p>"}) == {"a.html": "Tin & lead"}


def test_source_code_in_a_tarball() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for name in ("linux/mm/slab.c", "linux/mm/slab.txt", "linux/drivers/gpu/regs.h"):
            content = ("int a;\n" * 200).encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    found = read("source", {"usr/src/linux.tar.xz": packed.getvalue()})
    assert list(found) == ["mm/slab.c"] and found["mm/slab.c"].startswith("// mm/slab.c\nint a;")


@pytest.mark.parametrize("form", ["<IIH", "<III"])
@pytest.mark.parametrize(("reader", "between"), [("commentary", "\n\n"), ("bible", "\n")])
def test_sword(reader: str, between: str, form: str) -> None:
    """Sixty verses: as many bytes as both widths of a size divide."""
    parts = ["<note>no</note><l>In the beginning</l><l>was &amp; is</l>", "the word"]
    block = zlib.compress("".join(parts).encode())
    spans = [(0, len(parts[0])), (0, len(parts[0])), (len(parts[0]), len(parts[1]))]  # two verses share one
    verses = b"".join(struct.pack(form, 0, *span) for span in spans + [(0, 0)] * 57)
    places = struct.pack("<III", 0, len(block), sum(map(len, parts)))
    files = {
        "m/ot.czs": places,
        "m/ot.czv": verses,
        "m/ot.czz": block,
        "m/nt.czs": b"",
        "m/nt.czv": b"",
        "m/nt.czz": b"",
    }
    assert read(reader, files) == {"ot 0": f"In the beginning\nwas & is{between}the word"}


def test_a_sword_module_that_is_not_understood_is_told() -> None:
    files = {"m/ot.bzs": struct.pack("<III", 0, 9, 5), "m/ot.bzv": struct.pack("<IIH", 0, 3, 7), "m/ot.bzz": b""}
    with pytest.raises(UserError, match="verses outside"):
        read("commentary", files)


def test_dictionary() -> None:
    entries = [f"word{k}\n   A {{thing}}.\n   [1913 Webster]" for k in range(150)]
    found = read("dictionary", {"d/gcide.dict.dz": gzip.compress("\n\n".join(entries).encode())})
    assert list(found) == ["gcide.dict.dz 0", "gcide.dict.dz 100"]
    assert found["gcide.dict.dz 0"].startswith("word0\n   A thing.\n\nword1\n")


def test_wordnet() -> None:
    data = b"  1 This software\n00001740 03 n 02 living_thing 0 being 1 003 ~ 00002 n 0000 | a thing that lives  \n"
    assert read("wordnet", {"w/data.noun": data, "w/data.other": b"x"}) == {
        "noun 0": "living thing, being (noun): a thing that lives"
    }


def test_json() -> None:
    summary = {"title": "Tin", "extract": "A metal."}
    assert read("summaries", {"s.json": json.dumps({"tin": summary, "Sn": summary}).encode()}) == {
        "Tin": "Tin\n\nA metal."
    }
    recipe = {"title": "Tea", "ingredients": ["tea", "water"], "steps": ["Boil.", "Wait."]}
    assert read("recipes", {"r.json": json.dumps({"1": recipe}).encode()}) == {
        "Tea": "Tea\n\nIngredients\n\n- tea\n- water\n\nProcedure\n\n1. Boil.\n2. Wait."
    }
    country = {"Geography": {"Area": {"text": "<p>10 sq km</p>", "note": {"text": "small &amp; flat"}}}, "code": "xx"}
    assert read("factbook", {"f/xx.json": json.dumps(country).encode()}) == {
        "xx.json": "# Geography\n\nArea: 10 sq km\n\nnote: small & flat\n\ncode: xx"
    }


def test_wikitext() -> None:
    article = (
        "{{Infobox|a={{b|c}}}}'''Tin''' is&amp;nbsp;a [[metal|metallic]] [[element]].&lt;ref&gt;x&lt;/ref&gt;\n"
        "[[File:a.png|thumb|a [[b]]]]\n== Uses ==\nSolder.\n== See also ==\n* Lead"
    )
    pages = [("Tin", "0", article), ("Talk", "1", "Chat"), ("Sn", "0", "#REDIRECT [[Tin]]")]
    dump = "".join(f"<title>{t}</title>\n<ns>{n}</ns>\n<text bytes='1'>{a}</text>\n" for t, n, a in pages)
    found = read("wikitext", {"x.bz2": bz2.compress(dump.encode())})
    assert {title: text.split() for title, text in found.items()} == {
        "Tin": ["Tin", "Tin", "is", "a", "metallic", "element.", "Uses", "Solder."]
    }


LONG = WORDS * 10
RST = (
    f"Title\n=====\n\n.. toctree::\n   :hidden:\n\n   one\n\n{LONG}\n\n.. raw:: html\n\n   <b>no</b>\n\nEnd\n<div>no\n"
)


@pytest.mark.parametrize(
    ("name", "content", "has"),
    [
        ("a.html", f"<p>{LONG}</p>", LONG.strip()),
        ("a.pod", f"=head2 Name\n\nB<bold> and L<text|link>\n\n{LONG}", "## Name\n\nbold and text"),
        ("a.info.gz", f"\x1f\nFile: a.info, Node: Top\n\nTop\n{LONG}\n\x1f\nTag Table:\nNode: Top", "Top\nIt was"),
        ("a.txt", f"{'x' * 4000}\n{LONG}", LONG.strip()),
        ("a.page", f"<page><title>Tin</title><p>{LONG}</p></page>", "Tin"),
        ("a.rst", RST, "End"),
    ],
)
def test_manuals_of_each_form(name: str, content: str, has: str) -> None:
    raw = gzip.compress(content.encode(), 0) if name.endswith("gz") else content.encode()
    ((found, text),) = read("manual", {name: raw}).items()
    assert found == name and has in text
    assert not any(word in text for word in ("no", "toctree", "Tag Table", "xxxx", "<p>", "File:"))


def test_of_manuals_sources_go_before_pages_and_pages_before_text() -> None:
    page, text, source = f"<p>{LONG}</p>".encode(), LONG.encode(), (LONG * 40).encode()
    pages = {f"usr/share/doc/x/html/{k}.html": page for k in range(3)}
    sources = {f"usr/share/doc/x/_sources/{k}.rst.gz": source for k in range(8)}
    files = {"usr/share/doc/x/notes.txt": text}
    assert set(read("manual", files)) == set(files)
    assert set(read("manual", files | pages)) == set(pages)
    files = {"usr/share/doc/x/notes.txt": text} | {name.removesuffix(".gz"): c for name, c in sources.items()}
    assert set(read("manual", files | pages)) == {name.removesuffix(".gz") for name in sources}


@pytest.mark.parametrize(
    "name",
    [
        "doc/x/de/a.txt",
        "doc/a.fr.html",
        "doc/pt-BR/a.txt",
        "doc/genindex.html",
        "doc/changelog.txt",
        "doc/classFoo.txt",
    ],
)
def test_other_languages_and_indices_are_left_out(name: str) -> None:
    assert read("manual", {name: LONG.encode(), "doc/en/a.txt": LONG.encode()}).keys() == {"doc/en/a.txt"}


def test_every_package_has_a_reader_and_a_licence() -> None:
    listed = packages.listed()
    assert len({package.name for package in listed}) == len(listed)
    for package in listed:
        assert package.reader in readers.READERS and package.files
        assert len(package.licence) > 1 and "?" not in package.licence, package.name
        assert package.domain in ("prose", "reference", "docs", "code")
        assert bool(package.version) == (package.registry in ("pypi", "npm"))
