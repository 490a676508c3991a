"""Paragraphs that were there before are dropped, and documents of which most was."""

import hashlib
import re

_LEAST = 60  # letters of a paragraph that is compared: shorter ones are headings and phrases
_MOST_REPEATED = 0.5  # share of a document's compared text, beyond which it is another's copy
_NOT_A_LETTER = re.compile(r"[^a-z]+")


class Dedup:
    """Of one group of documents, given one after another. Paragraphs are equal where their letters a to z are."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def __call__(self, text: str) -> str | None:
        """The text without what earlier ones had; None where that is most of it. What it says twice itself stays."""
        kept, new = [], set()
        compared = repeated = 0
        for paragraph in text.split("\n\n"):
            letters = _NOT_A_LETTER.sub("", paragraph.lower())
            if len(letters) >= _LEAST:
                compared += len(paragraph)
                key = hashlib.blake2b(letters.encode(), digest_size=8).digest()
                if key in self.seen:
                    repeated += len(paragraph)
                    continue
                new.add(key)
            kept.append(paragraph)
        if repeated > _MOST_REPEATED * compared:
            return None
        self.seen |= new
        return "\n\n".join(kept)
