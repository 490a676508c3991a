"""By name, what yields the documents of a package's files: (a name that no other of the package has, text)."""

from collections.abc import Callable

from eutectic.corpora import read_manual, read_reference, read_sword, read_text, read_wiki
from eutectic.corpora.read_text import Documents

READERS: dict[str, Callable[[dict[str, bytes]], Documents]] = {
    "text": read_text.text,
    "lines": read_text.lines,
    "html": read_text.html,
    "source": read_text.source,
    "commentary": read_sword.commentary,
    "bible": read_sword.bible,
    "dictionary": read_reference.dictionary,
    "wordnet": read_reference.wordnet,
    "summaries": read_reference.summaries,
    "recipes": read_reference.recipes,
    "factbook": read_reference.factbook,
    "wikitext": read_wiki.wikitext,
    "manual": read_manual.manual,
}
