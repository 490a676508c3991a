"""Text comes out in one form, pages without their frames, and what is no English text is told from what is."""

import gzip
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eutectic.corpora import clean
from eutectic.corpora.dedup import Dedup

ENGLISH = "It was the best of times, and it was the worst of times, for all that he had in the end. "
PAGE = """<html><head><title>No</title><script>var x = 1;</script></head><body><div class="nav">Home</div>
<div role="main"><h1>Alloys<a class="headerlink" href="#">link</a></h1><!-- no --><p>Copper &amp; tin   melt
at<b> a</b> point.</p><table><tr><td>Cu</td> <td>1085</td></tr></table><pre>a  b
  c &lt; d</pre><p>{}</p></div><footer>Contact</footer></body></html>"""


def test_one_form() -> None:
    assert clean.clean("a\r\nb\rc \t\n\n\n\nd\u00a0e\u00adf\u200b\x00\ufeff\n") == "a\nb\nc\n\nd ef"
    assert clean.clean("e\u0301") == "é"


@given(st.text())
def test_clean_text_stays_as_it_is(text: str) -> None:
    once = clean.clean(text)
    assert clean.clean(once) == once
    assert unicodedata.is_normalized("NFC", once) and "\0" not in once and "\r" not in once


def test_of_a_page_its_main_part() -> None:
    found = clean.html_to_text(PAGE.format(ENGLISH * 3))
    assert found.startswith("Alloys\n\nCopper & tin melt at a point.\n\nCu | 1085\n\na  b\n  c < d\n\nIt was")
    assert not any(word in found for word in ("Home", "Contact", "link", "var", "No"))


def test_a_page_without_a_main_part_is_taken_whole() -> None:
    assert clean.html_to_text("<p>Tin</p><p>Lead</p>") == "Tin\n\nLead"


def test_gutenberg_notices_go() -> None:
    book = "Notice\n*** START OF THIS PROJECT GUTENBERG EBOOK X ***\nText.\nEnd of Project Gutenberg's X\nLicence"
    assert clean.without_gutenberg(book).strip() == "Text."
    assert clean.without_gutenberg("Text.") == "Text."


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.dict.dz"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_files_are_decoded(name: str, encoding: str) -> None:
    content = "café".encode(encoding)
    assert clean.decode(name, content if name == "a.txt" else gzip.compress(content)) == "café"


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        (ENGLISH * 5, True),
        (ENGLISH, False),  # too short
        ("0x1f 0x2e 17 23.5; " * 30, False),
        ("Der Schnee fiel auf die Stadt und alle Leute blieben zu Haus. " * 8, False),
        ("это и есть the of and to a " * 20, False),
    ],
)
def test_english_text_is_told(text: str, fine: bool) -> None:
    assert clean.Limits(characters=200, letters=0.6, stop_words=0.1, non_ascii=0.1).allow(text) is fine


def paragraph(k: int) -> str:
    return f"Paragraph {'abcdefghij'[k]}: " + ENGLISH + "x" * k


def test_a_paragraph_is_kept_once_and_a_copy_not_at_all() -> None:
    dedup = Dedup()
    first = "\n\n".join([paragraph(0), "Short.", paragraph(1)])
    assert dedup(first) == first
    assert dedup("\n\n".join([paragraph(2), "Short.", paragraph(1).upper(), paragraph(3)])) == "\n\n".join(
        [paragraph(2), "Short.", paragraph(3)]
    )
    assert dedup(f"{first}\n\n{paragraph(4)}") is None
    assert dedup(paragraph(4)) == paragraph(4)  # a document that was dropped has left nothing behind
    assert Dedup()(first) == first  # another group
