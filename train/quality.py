"""Thresholds on the quality signals that documents carry, in the form of RedPajama-V2 (Weber et al. 2024).

A row has, beside its text, `quality_signals`: JSON that gives each signal's spans `[start, end, score]`, of which a
signal of the whole document has one. A source says what is to be read of it:

    FOLDER?rps_doc_word_count>=50&ccnet_perplexity<=500
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from eutectic.errors import UserError

_FORM = re.compile(r"(\w+)(>=|<=)(-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Threshold:
    """A signal's bound, which itself is let through; from below (`>=`) or above (`<=`)."""

    signal: str
    relation: str
    bound: float

    def passed_by(self, row: Any, where: str) -> bool:
        """Whether a row is to be read: not where its signal has no value. Raises UserError where it has no such one."""
        try:
            spans = json.loads(row["quality_signals"])[self.signal]
            score = spans[0][2] if spans else None
            if len(spans) > 1:
                raise UserError(f"{where}: signal {self.signal!r} is of a document's lines; name one of the document.")
            return score is not None and bool(score >= self.bound if self.relation == ">=" else score <= self.bound)
        except (KeyError, TypeError, IndexError, ValueError):
            raise UserError(
                f"{where} has no number for the signal {self.signal!r} in a field 'quality_signals' of RedPajama-V2's "
                "form; name another, or none."
            ) from None


def parted(source: str) -> tuple[str, list[Threshold]]:
    """A source without its thresholds, and these. Raises UserError where one is not of the form."""
    path, asks, asked = source.partition("?")
    found = [_FORM.fullmatch(part) for part in asked.split("&")] if asks else []
    thresholds = [Threshold(match[1], match[2], float(match[3])) for match in found if match]
    if len(thresholds) < len(found):
        raise UserError(
            f"source {source!r} has other than thresholds after its ?; write SIGNAL>=NUMBER or SIGNAL<=NUMBER, "
            "with & between them."
        )
    return path, thresholds
