"""Reader of Debian's -doc packages: their pages in the form nearest to text, less indices and lists of an API."""

import re
from collections.abc import Iterator

from eutectic.corpora import clean
from eutectic.corpora.read_text import Documents

_LANGUAGES = (
    "ar|as|ast|be|bg|bn|bn-IN|br|ca|ca@valencia|cs|cs[-_]cz|csb|da|da[-_]dk|de|el|el[-_]gr|eo|es|et|eu|fa|fa[-_]ir|fi|fr|"
    "fur|ga|gd|gl|gu|he|hi|hr|hu|id|is|it|ja|ka|kk|km|kn|ko|ko[-_]kr|ku|lt|lv|mai|mk|ml|mr|ms|nb|nb[-_]no|ne|nl|nn|oc|or|"
    "pa|pl|pt|pt[-_]br|pt[-_]pt|ro|ru|si|sk|sl|sq|sr|sr@latin|sv|sv[-_]se|ta|te|tg|th|tr|ug|uk|uz|vi|wa|xh|zh|zh[-_]cn|"
    "zh[-_]tw|zu|[a-z]{2}-(?!us)[a-z]{2}"
)
_OTHER_LANGUAGE = re.compile(
    rf"/(?:{_LANGUAGES})/|\.(?:{_LANGUAGES})\.(?:html?|txt)|\.html?\.(?!en|gz)[a-z]{{2}}", re.I
)
_NOT_PROSE = re.compile(
    r"genindex|py-modindex|searchindex|search\.|/changelog|/copyright|/NEWS|/index-|/_static/|/_images/|hierarchy|"
    r"annotated|classes\.html|functions_|globals_|namespacemembers|/class[A-Z_]|/struct[A-Z_]|_source\.html|_8h\.html|"
    r"-members\.html|allclasses|package-(?:tree|use|summary|frame)|/doxygen/|/javadoc/|/apidocs?/|implementors|trait\.|"
    r"struct\.|enum\.|fn\.|macro\.|constant\.|/src/|/std/|/core/|/alloc/|/proc_macro/|/test/|deprecated-list|overview-|"
    r"serialized-form|man-?index|sitemap|robots|CMakeLists|requirements|license|LICENSE|COPYING|\.py\.txt$|"
    r"release.?notes/|whatsnew/|/releases?/|/bidi/|/translations/|/devicetree/|/ABI/|/print\.html"
)
_PAGE = re.compile(r"\.x?html?$")
_SOURCE = re.compile(r"/_sources/|\.(?:rst|md|pod|page|adoc)$")
_LEAST_BYTES, _MOST_BYTES = 300, 8_000_000
_LEAST_SOURCES, _LEAST_SOURCE_BYTES, _LEAST_PAGES = 8, 150_000, 3
_LONGEST_LINE = 3000  # beyond which it is a table or an encoding

_POD_CODE = re.compile(r"[BICFLSXEZ]<+ ?([^<>|]*?)(?:\|[^<>]*)? ?>+")
_POD_COMMAND = re.compile(r"^=(?:head(\d)|item|over|back|cut|encoding|for|begin|end|pod)\b ?", re.MULTILINE)
_INFO_NODE = re.compile(r"\x1f\n?File: .*\n")
_INFO_TAGS = re.compile(r"\x1f\nTag Table:.*", re.DOTALL)
_RAW_HTML = re.compile(r"\n[ \t]*\.\. raw:: *html.*?(?=\n\S|\Z)", re.DOTALL)
_HTML_LINE = re.compile(r"^.*</?(?:div|span|td|tr|table|svg|script|input|style)\b.*\n?", re.MULTILINE)
_DIRECTIVE = re.compile(
    r"\n\.\. (?:toctree|contents|automodule|autoclass|autofunction|autosummary|currentmodule|module)::.*"
    r"(?:\n[ \t]+.*|\n)*"
)
_NEXT_PAGE = re.compile(r"\n\n(?:previous|next)\n\n[^\n]{1,80}(?=\n|$)")


def manual(files: dict[str, bytes]) -> Documents:
    """A document a page; the sources that pages were made of, where the package has them, else HTML, else text."""
    for name in _chosen(files):
        yield name, _text(name.removesuffix(".gz"), clean.decode(name, files[name]))


def _chosen(files: dict[str, bytes]) -> Iterator[str]:
    usable = [
        name
        for name, content in files.items()
        if len(content) >= _LEAST_BYTES and not _NOT_PROSE.search(f"/{name}") and not _OTHER_LANGUAGE.search(name)
    ]
    sources = [name for name in usable if _SOURCE.search(name.removesuffix(".gz"))]
    pages = [name for name in usable if _PAGE.search(name.removesuffix(".gz"))]
    if len(sources) >= _LEAST_SOURCES and sum(len(files[name]) for name in sources) > _LEAST_SOURCE_BYTES:
        return iter(sources)
    return iter(pages if len(pages) >= _LEAST_PAGES else usable)


def _text(name: str, text: str) -> str:
    if len(text) > _MOST_BYTES:
        return ""
    if name.endswith((".html", ".htm", ".xhtml", ".page", ".docbook")):
        text = clean.html_to_text(text)
    elif name.endswith(".pod"):
        text = _POD_COMMAND.sub(lambda found: f"{'#' * int(found[1])} " if found[1] else "", _POD_CODE.sub(r"\1", text))
    elif re.search(r"\.info(?:-\d+)?$", name):
        text = _INFO_NODE.sub("\n", _INFO_TAGS.sub("", text))
    text = clean.clean(text)
    if name.endswith((".rst", ".txt", ".md")):
        text = _DIRECTIVE.sub("\n", _HTML_LINE.sub("", _RAW_HTML.sub("\n", text)))
    lines = _NEXT_PAGE.sub("", text).split("\n")
    return "\n".join(line for line in lines if len(line) < _LONGEST_LINE)
