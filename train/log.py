"""The logs of a run as parquet, by analysis/schema.py, and its progress as a small file others may watch."""

import datetime
import functools
import platform
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

import eutectic
from eutectic import files
from eutectic.analysis import schema
from eutectic.arch import flops, layout
from eutectic.config import RunConfig, canonical_json
from eutectic.errors import UserError

Row = dict[str, Any]
STATE_CONVENTION = "caches bf16, recurrent states fp32"


def write_rows(path: Path, table: str, rows: list[Row]) -> None:
    """Write rows of a table of the schema whole. A column that a row lacks is null."""
    with files.replacing(path) as scratch:
        pq.write_table(pa.Table.from_pylist(rows, schema.arrow_schema(schema.TABLES[table])), scratch)


def read_rows(path: Path) -> list[Row]:
    """Rows of a table, none where there is no file. Raises UserError where it cannot be read."""
    try:
        found: list[Row] = pq.read_table(path).to_pylist() if path.exists() else []
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); move it away, and rows go to a new one.") from None
    return found


def add_rows(path: Path, table: str, rows: list[Row]) -> None:
    """Add rows to a file of a table of schema.KEYS, in the place of those of the same key. Raises as read_rows."""
    kept = {tuple(row[name] for name in schema.KEYS[table]): row for row in [*read_rows(path), *rows]}
    write_rows(path, table, list(kept.values()))


def flat(config: RunConfig) -> Row:
    """Its fields and those of its parts, by their own names; `vocab_size` is the model's."""
    fields = config.to_dict()
    return {**fields.pop("data"), **fields.pop("model"), **fields.pop("optim"), **fields}


def planned_columns(config: RunConfig) -> Row:
    """The columns of `runs` that are known before training."""
    length = config.data.seq_len
    counts = flops.count(config.model, length, config.conv_algorithm)
    layers = layout.expand(layout.parse(config.model.layout), config.model.n_layers)
    terms = {f"flops_{k}": getattr(counts, k) / length for k in ("projection", "core", "core_full", "channel", "head")}
    groups = {k: getattr(counts, k) for k in counts.__dataclass_fields__ if k.startswith("params")}
    columns = {c.name for c in schema.RUNS}
    return {k: v for k, v in flat(config).items() if k in columns} | {
        "run_id": config.run_id,
        "arch": config.model.layout,
        "layers": layout.stack(layers),
        "attn_share": layout.attention_share(layers),
        "mixers": " ".join(config.mixers),
        "state_dim": counts.state.dim,
        "state_bytes": counts.state.bytes(torch.bfloat16),
        "state_convention": STATE_CONVENTION,
        "flops": float(counts.training_flops(config.convention, length) * config.sequences),
        **terms,
        "flops_embedding": 0.0,
        **groups,
        "tokens": config.tokens,
        "steps": config.steps,
        "config": canonical_json(config.to_dict()),
    }


def outcome_columns(device: str, devices: int = 1) -> Row:
    """The columns of `runs` that say where and when it ran, and with what code; memory is this process's device's."""
    name = device_name(device)
    return {
        "device": name if devices == 1 else f"{devices} x {name}",
        "peak_memory": torch.cuda.max_memory_allocated() if device == "cuda" else 0,
        "torch": torch.__version__,
        "eutectic": eutectic.__version__,
        "commit": commit(),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@functools.cache
def commit() -> str:
    """Of the code that runs, with a + where files but results differ from it; empty where it is from no checkout."""
    root = Path(__file__).parents[1]
    if (root / "COMMIT").exists():  # a sweep's copy of the code
        return (root / "COMMIT").read_text()
    if not (root / ".git").exists():
        return ""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
        changes = ["git", "status", "--porcelain", "-uno", "--", ".", ":!results"]
        dirty = subprocess.run(changes, cwd=root, capture_output=True, text=True)
    except OSError:
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout else "")
