"""What several tests share: a small corpus of words, and a small run."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import search
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # which Triton asks when a kernel is defined

from eutectic.arch import registry
from eutectic.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from eutectic.train import shards
from eutectic.train.shards import Manifest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mixer-file", action="append", default=[], type=Path, help="mixers to hold to the contract")


def pytest_configure(config: pytest.Config) -> None:
    for path in config.getoption("--mixer-file"):
        registry.load_file(path)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Commands handle signals of their process, which are a test's own here."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "it",
    "is",
    "was",
    "for",
    "on",
    "as",
    "with",
    "by",
    "at",
    "from",
    "melt",
    "alloy",
    "ratio",
    "phase",
    "point",
    "copper",
    "tin",
    "lead",
]


def text(seed: int, words: int) -> str:
    choose = random.Random(seed)
    return " ".join(choose.choices(WORDS, k=words))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 documents of 3000 words."""
    folder = tmp_path_factory.mktemp("corpus")
    for k in range(40):
        (folder / f"{k:02}.txt").write_text(text(k, 3000))
    return folder


@pytest.fixture(scope="session")
def manifest(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return shards.prepare(str(corpus), "bytes", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def few_starts() -> Iterator[None]:
    with search.few_starts():
        yield


@pytest.fixture(scope="session")
def small_run(manifest: Manifest) -> RunConfig:
    """21 steps of a two-layer hybrid, the last one short."""
    data = DataConfig(
        manifest.source, "bytes", manifest.corpus_sha256, manifest.tokenizer_sha256, manifest.vocab_size, 32, 8
    )
    model = ModelConfig("hyena+attn", 2, 16, 2, 1, 48, 256, n_modes=2)
    return RunConfig(
        recipe="test",
        budget=1e8,
        convention="exact-causal",
        conv_algorithm="chunked",
        data=data,
        model=model,
        optim=OptimConfig(lr=1e-2),
        sequences=83,
        batch_size=4,
        micro_batch=2,
        evals=3,
        precision="fp32",
        threads=1,
        seed=3,
    )
