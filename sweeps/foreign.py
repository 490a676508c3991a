"""Mixers from files: kept with the sweep that uses them, so that every worker trains the code that was planned."""

from collections.abc import Iterable
from pathlib import Path

from eutectic import files
from eutectic.arch import flops, registry
from eutectic.config import RunConfig
from eutectic.errors import UserError


def keep(paths: Iterable[Path], folder: Path) -> None:
    """Copy mixer files into a sweep's folder, each under its hash."""
    for path in paths:
        kept = folder / "mixers" / f"{registry.source_hash(path)}.py"
        files.own_folder(kept.parent)
        with files.replacing(kept) as scratch:
            scratch.write_bytes(path.read_bytes())


def load(config: RunConfig, folder: Path) -> None:
    """Register the mixers a run was planned with. Raises UserError where one is not to be had as it was."""
    for entry in config.mixers:
        name, _, origin = entry.partition("=")
        kept = folder / "mixers" / f"{origin}.py"
        if kept.exists():
            if registry.source_hash(kept) != origin:
                raise UserError(
                    f"{kept} is not the mixer that run {config.run_id} was planned with; put that file back, or sweep "
                    "the changed one with --mixer-file."
                )
            registry.load_file(kept)
            flops.count.cache_clear()  # another file may have had the name
        elif entry not in registry.origins(name):
            raise UserError(
                f"run {config.run_id} was planned with mixer {name} of {origin}, which is not here; "
                f"put its file back as {kept}, or install that version."
            )
