"""Text as it is trained on: one form of Unicode and of line ends, no markup, and of such text what is English."""

import gzip
import html
import re
import unicodedata
from dataclasses import dataclass

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\u200b-\u200f\u2028\u2029\ufffd]")
_GUTENBERG_START = re.compile(r"\*\*\* ?START OF TH.{0,120}?\*\*\*|\*END\*.{0,80}?\*END\*", re.DOTALL)
_GUTENBERG_END = re.compile(r"\*\*\* ?END OF TH|End of (the |this )?Project Gutenberg", re.IGNORECASE)

# where pages keep their text, the narrowest first, and what in it is of the page only
_MAIN = (
    *("div[role=main]", "main", "div#content div.body", "article", "div.body", "div.document", "div#docContent"),
    *("div#page-content", "div.chapter", "div#main-content", "div#content", "body"),
)
_ASIDE = (
    "a.headerlink, .sphinxsidebar, .related, .navheader, .navfooter, .toctree-wrapper, .toc, .TOC, .nav, .navigation, "
    ".breadcrumbs, #sidebar, #nav, .sidebar, .header, .footer, .linenos, .editsection, .mw-editsection, .t-navbar"
)
_LEAST_MAIN = 200  # characters, of a page's text that is not an empty frame
_DROPPED = re.compile(
    r"<!--.*?-->|<(script|style|nav|header|footer|noscript|svg|math|form|select|button|head)\b.*?</\1\s*>",
    re.DOTALL | re.IGNORECASE,
)
_PRE = re.compile(r"(<pre\b[^>]*>.*?</pre\s*>)", re.DOTALL | re.IGNORECASE)
_CELL = re.compile(r"</t[dh]>\s*<t[dh][^>]*>", re.IGNORECASE)
_BLOCK = re.compile(
    r"</?(?:p|div|li|ul|ol|dl|dt|dd|tr|table|h[1-6]|section|article|blockquote|br|hr|tbody|thead|caption|figure|"
    r"figcaption|aside|title|para|row|entry|item|note|screen|informalexample|page|steps|terms|media|links)\b[^>]*>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[^>]+>")

_WORD = re.compile(r"[a-z']+")
_STOP_WORDS = frozenset(
    _WORD.findall(
        "the of and to a in is that for it with as be on this are or by an not you from can his he was at but which "
        "have had i my we they their her him she if will when all so no one there"
    )
)
_SAMPLE = 20_000  # characters of a document that are looked at


@dataclass(frozen=True)
class Limits:
    """What a document must have: characters, at least; shares of letters and spaces, and of stop words among its words,
    at least; share of characters beyond ASCII, at most."""

    characters: int
    letters: float
    stop_words: float
    non_ascii: float

    def allow(self, text: str) -> bool:
        if len(text) < self.characters:
            return False
        sample = text[:_SAMPLE]
        letters = sum(c.isalpha() or c.isspace() for c in sample) / len(sample)
        non_ascii = sum(ord(c) > 127 for c in sample) / len(sample)
        words = _WORD.findall(sample.lower())
        stop_words = sum(word in _STOP_WORDS for word in words) / max(len(words), 1)
        return letters >= self.letters and non_ascii <= self.non_ascii and stop_words >= self.stop_words


def decode(name: str, content: bytes) -> str:
    """A file's text, gunzipped where its name says so: UTF-8, else Latin-1."""
    if name.endswith((".gz", ".dz")):
        content = gzip.decompress(content)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def clean(text: str) -> str:
    """NFC and LF, without control and zero-width characters, spaces at line ends and more than one empty line."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = text.replace("\u00a0", " ").replace("\u00ad", "").replace("\u00b6", "")
    text = re.sub(r"[ \t]+\n", "\n", _CONTROL.sub("", text))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def without_gutenberg(text: str) -> str:
    """A book without the notices that Project Gutenberg puts around it."""
    if start := _GUTENBERG_START.search(text):
        text = text[start.end() :]
    if end := _GUTENBERG_END.search(text):
        text = text[: end.start()]
    return text


def html_to_text(page: str) -> str:
    """The main part of a page: a paragraph a block, cells between bars, <pre> as it is."""
    parts = _PRE.split(_DROPPED.sub(" ", _main_part(page)))
    # those that split() kept, at odd places, are <pre>
    return clean("".join(_preformatted(part) if k % 2 else _flowing(part) for k, part in enumerate(parts)))


def without_tags(markup: str) -> str:
    return html.unescape(_TAG.sub("", markup))


def _main_part(page: str) -> str:
    from selectolax.lexbor import LexborHTMLParser  # of the extra `corpus`

    tree = LexborHTMLParser(page)
    for node in tree.css(_ASIDE):
        node.decompose()
    for selector in _MAIN:
        main = tree.css_first(selector)
        if main is not None and len(main.text()) > _LEAST_MAIN:
            return main.html or ""
    return tree.html or ""


def _flowing(part: str) -> str:
    part = _BLOCK.sub("\n", _CELL.sub(" | ", re.sub(r"\s+", " ", part)))
    lines = (re.sub(r" {2,}", " ", line).strip() for line in without_tags(part).split("\n"))
    return "\n\n".join(line for line in lines if line)


def _preformatted(part: str) -> str:
    return f"\n\n{without_tags(part).rstrip()}\n\n"
