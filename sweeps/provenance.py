"""What a sweep was planned with, kept in its folder: runs that other code or another recipe gave are not for one fit.

NAME/sweep.json     a list of {code, recipe, mixers}, the last as it is now; any but the commit are compared
"""

import dataclasses
import importlib.metadata
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

import eutectic
from eutectic import files
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import claim
from eutectic.sweeps.recipe import Recipe
from eutectic.train.log import commit

# packages of which a change may change a loss, and what makes of a recipe the runs that it comes to
TRAINING = ("arch", "kernels", "train")
PLANNING = ("config.py", "sweeps/plan.py", "sweeps/match.py", "sweeps/cells.py")
KERNELS = ("triton", "flash-attn-4", "flash-attn")  # whose numbers a GPU's are
# of a recipe, what is not compared: names, and what they come to is; and what asks for more runs
NAMES = ("name", "doc", "source", "device", "workers")
MORE_RUNS = ("archs", "budgets", "sizes", "seeds", "ladder", "optimal_params", "max_epochs")

Record = dict[str, dict[str, Any]]


def of_code() -> Record:
    """Versions, a hash of the source that trains, and the commit, which is told and not compared."""
    root = Path(eutectic.__file__).parent
    paths = [path.relative_to(root) for package in TRAINING for path in (root / package).rglob("*.py")]
    torch_version = ".".join(torch.__version__.split(".")[:2])
    kernels = {name: _version(name) for name in KERNELS} if torch.cuda.is_available() else {}
    versions = {"eutectic": eutectic.__version__, "torch": torch_version} | kernels
    return {"code": versions | {"source": _digest(map(str, paths)), "commit": commit()}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _digest(paths: Iterable[str]) -> str:
    """Of files of the package."""
    root = Path(eutectic.__file__).parent
    return files.digest({path: (root / path).read_bytes() for path in sorted(paths)})


def of_plan(recipe: Recipe, runs: Sequence[RunConfig]) -> Record:
    """The choices that all runs of a plan share, a hash of the source that planned them, and the mixers from elsewhere
    that any of them has."""
    fields = {key: value for key, value in dataclasses.asdict(recipe).items() if key not in NAMES + MORE_RUNS}
    one = runs[0]
    shared = {"corpus_sha256": one.data.corpus_sha256, "precision": one.precision, "settings": one.settings}
    shared["planning"] = _digest(PLANNING)
    mixers = dict(entry.split("=", 1) for run in runs for entry in run.mixers)
    return {"recipe": _flat(fields) | shared, "mixers": mixers}


def open_sweep(folder: Path, now: Record, go_on: bool) -> list[str]:
    """Let a sweep be trained by what `now` says, and keep that where it is new. Returns what is to be said of it.

    Raises UserError, with a line for each field, where it differs from what was there, or where runs are there and what
    trained them cannot be read, unless it is to go on anyway; and where others could write there.
    """
    path = files.own_folder(folder) / "sweep.json"
    now = _as_read(now)
    with claim.alone(folder / "open"):
        kept, said, refused = _compare(path, now)
        before = kept[-1] if kept else {}
        if refused and not go_on:
            lines = "".join(f"\n  {line}" for line in said)
            raise UserError(
                f"{folder} is a sweep that was trained otherwise:{lines}\n"
                "choose another --name, or go on all the same with --continue."
            )
        merged = before | {part: before.get(part, {}) | fields for part, fields in now.items()}
        if merged != before:
            files.write_json(path, [*kept, merged])
    return said


def refusals(folder: Path, now: Record) -> list[str]:
    """The lines with which open_sweep would refuse it; none where it would not."""
    _, said, refused = _compare(folder / "sweep.json", _as_read(now))
    return said if refused else []


def _as_read(now: Record) -> Record:
    """As it is once it was written."""
    record: Record = json.loads(json.dumps(now))
    return record


def _compare(path: Path, now: Record) -> tuple[list[Record], list[str], bool]:
    """The records of a sweep, what is to be said of them, and whether that is a reason to refuse it."""
    kept, said = _kept(path)
    # runs that are collected may have no folder any more
    trained = (path.parent / "runs.parquet").exists() or any((path.parent / "runs").glob("*/config.json"))
    if kept:
        said += differences(kept[-1], now)
    elif trained:
        said.append(f"{path.name}, of what trained its runs, is not there to be read")
    return kept, said, bool(said and (kept or trained))


def _kept(path: Path) -> tuple[list[Record], list[str]]:
    """The records of a sweep, and what is to be said of them: one that cannot be read is set aside."""
    kept = files.read_json(path)
    if isinstance(kept, list) and kept and all(isinstance(record, dict) and _is_record(record) for record in kept):
        return kept, []
    return [], [f"{path.name} was damaged and is now {files.set_aside(path).name}"] if path.exists() else []


def _is_record(value: dict[str, Any]) -> bool:
    return all(isinstance(part, dict) for part in value.values())


def differences(before: Record, now: Record) -> list[str]:
    """What two records have in common and not alike, one line a field; what only one has is an extension."""
    lines = []
    for part in before.keys() & now.keys():
        old, new = before[part], now[part]
        changed = [key for key in old if key in new and old[key] != new[key] and key != "commit"]
        lines += [f"{key} was {_told(old, key)} and is {_told(new, key)}" for key in changed]
    return sorted(lines)


def _told(fields: dict[str, Any], key: str) -> str:
    of_commit = f" of commit {fields['commit'][:12]}" if key == "source" and fields["commit"] else ""
    return f"{fields[key]}{of_commit}"


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    """Nested fields by dotted names, e.g. optim.clip."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        flat |= {f"{key}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat
