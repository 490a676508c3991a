"""Reader of articles in MediaWiki's export, whose markup is taken off."""

import bz2
import html
import re

from eutectic.corpora.read_text import Documents

_PAGE = re.compile(r"<title>(.*?)</title>.*?<ns>(\d+)</ns>.*?<text[^>]*>(.*?)</text>", re.DOTALL)
_DROPPED = re.compile(r"<!--.*?-->|<ref[^>]*/>|<ref.*?</ref>|<(math|gallery|timeline|source).*?</\1>", re.DOTALL)
_INNERMOST = re.compile(r"\{\{[^{}]*\}\}|\{\|[^{}]*?\|\}")  # templates and tables without others in them
_FILES = re.compile(r"\[\[(?:File|Image|Category)[^\[\]]*(?:\[\[[^\[\]]*\]\][^\[\]]*)*\]\]")
_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
_OUTER_LINK = re.compile(r"\[https?://\S+ ?([^\]]*)\]")
_MARKS = re.compile(r"'{2,}|<[^>]+>|__[A-Z]+__")
_HEADING = re.compile(r"^=+ *(.*?) *=+ *$", re.MULTILINE)
_APPENDIX = re.compile(r"^\n(?:References|See also)\n", re.MULTILINE)


def wikitext(files: dict[str, bytes]) -> Documents:
    """Articles without what stands beside their text and after it."""
    for content in files.values():
        for title, namespace, markup in _PAGE.findall(bz2.decompress(content).decode()):
            body = html.unescape(markup)
            if namespace == "0" and not body[:9].lower().startswith("#redirect"):
                yield title, f"{title}\n\n{_plain(body)}"


def _plain(markup: str) -> str:
    text, found = _DROPPED.sub("", markup), 1
    while found:
        text, found = _INNERMOST.subn("", text)
    text = _LINK.sub(r"\1", _FILES.sub("", text))
    text = _HEADING.sub(r"\n\1\n", _MARKS.sub("", _OUTER_LINK.sub(r"\1", text)))
    return html.unescape(_APPENDIX.split(text, 1)[0])  # markup has entities of its own, escaped again in the export
