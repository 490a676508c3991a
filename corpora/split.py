"""Which documents are trained on and which held out: by a hash of a document's own name, whatever else there is."""

import hashlib

from eutectic.train.shards import VALID_SHARE

LONG_BYTES = 128 * 1024
_LONG_SHARE = 0.2


def split(package: str, name: str, size: int) -> str:
    """`train`, `valid`, or `long`. size: bytes.

    A fifth of the long ones is held out, and of the others as much as of a source that does not say (train/shards.py).
    A long one is never validated on, where it would outweigh all others.
    """
    drawn = int(hashlib.sha256(f"{package}\n{name}".encode()).hexdigest()[:8], 16) / 2**32
    if size >= LONG_BYTES:
        return "long" if drawn < _LONG_SHARE else "train"
    return "valid" if drawn < VALID_SHARE else "train"


def place(domain: str, split: str) -> str:
    """The folder of a split. What is held out lies in folders of its own; `main` and `code` are sources to train on."""
    if split == "long":
        return f"held-out/long-{domain}"
    if domain == "code":
        return f"code/{split}"
    # the loss of manuals, which share phrases, is told apart from that of prose and reference
    return "held-out/docs" if (domain, split) == ("docs", "valid") else f"main/{split}"
