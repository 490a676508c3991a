"""Readers of entries: dictionaries, glosses, encyclopedias' summaries, profiles of countries, recipes."""

import json
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from eutectic.corpora import clean
from eutectic.corpora.read_text import Documents

_BATCH = 100  # entries of a dictionary that are a document
_SOURCES = re.compile(
    r"(?:\n *)?\[(?:1913 Webster|PJC|Webster 1913 Suppl\.|1913 Webster \+PJC|WordNet 1\.5|Century Dict\. 1906|AS)\]"
)
_PARTS_OF_SPEECH = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}


def dictionary(files: dict[str, bytes]) -> Documents:
    """Of dictd's form: an entry begins where a line without indent follows an empty one."""
    for name, content in files.items():
        text = re.sub(r"[{}]", "", _SOURCES.sub("", clean.decode(name, content)))
        yield from _batches(PurePath(name).name, re.split(r"\n\n(?=\S)", text), "\n\n")


def wordnet(files: dict[str, bytes]) -> Documents:
    """Glosses of WordNet's data files, whose lines are `... words in set, word, id, word, id ... | gloss`."""
    for name, content in files.items():
        kind = name.rpartition(".")[2]
        if kind in _PARTS_OF_SPEECH:
            yield from _batches(kind, list(_glosses(content.decode(), _PARTS_OF_SPEECH[kind])), "\n")


def _glosses(text: str, part_of_speech: str) -> Iterator[str]:
    for line in text.splitlines():
        data, bar, gloss = line.partition(" | ")
        if bar and not line.startswith("  "):  # its licence is indented
            fields = data.split()
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            yield f"{', '.join(words).replace('_', ' ')} ({part_of_speech}): {gloss.strip()}"


def _batches(name: str, entries: list[str], between: str) -> Documents:
    for start in range(0, len(entries), _BATCH):
        yield f"{name} {start}", between.join(entry.strip("\n") for entry in entries[start : start + _BATCH])


def summaries(files: dict[str, bytes]) -> Documents:
    """First paragraphs of articles; some are there under several names."""
    for content in files.values():
        yield from {e["title"]: f"{e['title']}\n\n{e['extract']}" for e in json.loads(content).values()}.items()


def recipes(files: dict[str, bytes]) -> Documents:
    for content in files.values():
        for recipe in json.loads(content).values():
            ingredients = "\n".join(f"- {item}" for item in recipe["ingredients"])
            steps = "\n".join(f"{number}. {step}" for number, step in enumerate(recipe["steps"], 1))
            yield (
                recipe["title"],
                f"{recipe['title']}\n\nIngredients\n\n{ingredients}\n\nProcedure\n\n{steps}",
            )


def factbook(files: dict[str, bytes]) -> Documents:
    """A country a file: its facts under headings as deep as they lie."""
    for name, content in files.items():
        parts = (part for key, value in json.loads(content).items() for part in _facts(key, value, 1))
        yield PurePath(name).name, "\n\n".join(parts)


def _facts(name: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield f"{name}: {value}"
    elif isinstance(value, dict):
        told = value.get("text")
        if isinstance(told, str):
            yield f"{name}: {clean.without_tags(re.sub('<br */?>|</p>', chr(10), told)).strip()}"
        else:
            yield f"{'#' * depth} {name}"
        for key, inner in value.items():
            if key != "text":
                yield from _facts(key, inner, depth + 1)
