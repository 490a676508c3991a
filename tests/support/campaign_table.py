"""The parts of a campaign whose losses follow a planted law: what is true of each claim is chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from eutectic.analysis import heads, schema
from eutectic.analysis.load import Runs, screen
from eutectic.arch import layout

BUDGETS = (3e14, 1e15, 3e15)
MAIN = ("hyena", "hyena*3+attn", "hyena+attn", "hyena+attn*3", "attn", "mamba2")
RATIO = ("hyena", "hyena*11+attn", "hyena*5+attn", "hyena*3+attn", "hyena*2+attn", "hyena+attn", "hyena+attn*3", "attn")
HEADS = ("hyena", *(f"multihyena(n_heads={count})" for count in (1, 2, 4, 8, 16)))
PLACED = tuple(f"hyena*3+attn@{place}" for place in layout.PLACEMENTS)
OFF = {place: k - 2.0 for k, place in enumerate(layout.PLACEMENTS)}  # of mean zero, in units of Truth.order
FACTORS = (0.35, 0.6, 1.0, 1.7, 2.9)  # of the best size
SPECIFICATION = {"string": "", "int64": 0, "double": 0.0}


@dataclass(frozen=True)
class Truth:
    """bend: nats of a share's distance from `best`, squared; domain_best: the best share on the other text. robust:
    what a hybrid's part of the loss that depends on size and tokens is of a single mixer's. order: nats between
    placements next to each other; head: nats of each doubling of heads, of which one does as Hyena. noise: of seeds
    (nats)."""

    bend: float = 0.6
    best: float = 0.4
    domain_best: float = 0.4
    robust: float = 0.8
    order: float = 0.0
    head: float = -0.01
    noise: float = 0.003

    def loss(self, arch: str, n: float, d: float, domain: str = "main") -> float:
        """170 (N^-.34 + D^-.34) is least at N = D, so that N* = sqrt(C / 6) of all architectures. What a hybrid has
        less of it is in its floor: at the middle budget's optima shares differ by `bend` alone."""
        share = layout.parse(arch).share("attn")
        best = self.domain_best if domain == "domain" else self.best
        part = self.robust if "+" in arch else 1.0
        middle = 340 / (BUDGETS[1] / 6) ** 0.17
        floor = 1.7 + self.bend * (share - best) ** 2 + (1 - part) * middle
        placement = layout.parse(arch).placement
        order = self.order * OFF[placement] if placement else 0.0
        count = heads.heads(arch, 4)
        head = self.head * np.log2(count) if count else 0.0
        return floor + part * 170 * (n**-0.34 + d**-0.34) + order + head


NOTHING = Truth(bend=0.0, robust=1.0, head=0.0)  # no claim is true, and none is false


def campaign(truth: Truth, seed: int = 0, names: Iterable[str] | None = None) -> dict[str, pd.DataFrame]:
    """Tables of the parts, all or these."""
    grow = _Growing(truth, np.random.default_rng(seed))
    made = {
        "main": lambda: [
            *grow.grid(MAIN, BUDGETS, (1 / 6, *FACTORS, 6.0)),
            *grow.grid(MAIN, BUDGETS[:2], FACTORS[1:4], seeds=(1, 2)),
        ],
        "ratio": lambda: grow.grid(RATIO, BUDGETS, FACTORS, n_layers=12),
        "placement": lambda: grow.grid(PLACED, BUDGETS[1:2], (0.6, 1.0), n_layers=12, seeds=(0, 1, 2)),
        "heads": lambda: grow.grid(HEADS, BUDGETS[:2], (0.6, 1.0), seeds=(0, 1)),
        "domain": lambda: grow.grid(RATIO, BUDGETS[1:2], FACTORS[1:4], n_layers=12, domain="domain"),
    }
    return {name: pd.DataFrame(rows()) for name, rows in made.items() if names is None or name in names}


def screened(tables: Mapping[str, pd.DataFrame]) -> dict[str, Runs]:
    return {name: screen(table) for name, table in tables.items()}


def write(tables: Mapping[str, pd.DataFrame], folder: Path) -> Path:
    for name, table in tables.items():
        (folder / name).mkdir(parents=True)
        rows: list[dict[str, Any]] = table.to_dict("records")
        pq.write_table(pa.Table.from_pylist(rows, schema.arrow_schema(schema.RUNS)), folder / name / "runs.parquet")
    return folder


class _Growing:
    """Rows with run_ids that go on, and noise that does."""

    def __init__(self, truth: Truth, random: np.random.Generator):
        self.truth, self.random, self.count = truth, random, 0
        self.blank = {column.name: SPECIFICATION[str(column.type)] for column in schema.RUNS}

    def grid(
        self,
        archs: Sequence[str],
        budgets: Sequence[float],
        factors: Sequence[float],
        n_layers: int = 8,
        seeds: Sequence[int] = (0,),
        domain: str = "main",
    ) -> list[dict[str, Any]]:
        cells = [(b, f, a, s) for b in budgets for f in factors for a in archs for s in seeds]
        return [self._row(*cell, n_layers, domain) for cell in cells]

    def _row(self, budget: float, factor: float, arch: str, seed: int, n_layers: int, domain: str) -> dict[str, Any]:
        self.count += 1
        share = layout.parse(arch).share("attn")
        n = round(np.sqrt(budget / 6) * factor)
        tokens = round(budget / (6 * n))
        per_token = {"flops_projection": 0.4 * n, "flops_core": 0.1 * n, "flops_channel": n, "flops_head": 0.5 * n}
        loss = self.truth.loss(arch, n, tokens, domain) + self.truth.noise * self.random.normal()
        return self.blank | {
            "run_id": f"{domain}{self.count:08x}",
            "status": "done",
            "arch": arch,
            "attn_share": share,
            "budget": budget,
            "flops": 6.0 * n * tokens,
            "convention": "exact-causal",
            "corpus_sha256": domain,
            **per_token,
            "flops_core_full": (0.1 + 0.1 * share) * n,
            "params": n,
            "params_active": n,
            "params_embedding": n // 4,
            "state_bytes": round((0.02 + share) * n**0.7),
            "tokens": tokens,
            "loss": loss,
            "bytes_per_token": 3.0,
            "tokenizer": "bpe-4096",
            "seq_len": 1024,
            "n_layers": n_layers,
            "d_model": round(np.sqrt(n / n_layers / 12)),
            "n_heads": 4,
            "lr": 0.01,
            "batch_size": 16,
            "seed": seed,
            "device": "an accelerator",
            "seconds": 60.0,
            "tokens_per_second": 1e12 / n / (1.5 - 0.5 * share),
            "finished": f"2026-11-2{self.count % 3 + 1}T10:{self.count % 60:02}:00+00:00",
        }
