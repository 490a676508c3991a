"""A sweep goes on only by what it began with: more runs are no change, another corpus, setting or code is."""

import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from eutectic import files
from eutectic.cli import main
from eutectic.commands import training, tuning
from eutectic.errors import UserError
from eutectic.sweeps import plan as planning
from eutectic.sweeps import provenance
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps.recipe import PowerRule, Recipe
from eutectic.train.shards import Manifest

QUICK = recipes.find("quick")
MANIFEST = Manifest("sotu", "bytes", "c" * 64, "t" * 64, 256, "uint16", 249, 10, 11_000_000, 460_000, 1.0, "")
CODE = {"code": {"eutectic": "0.1.0", "torch": "2.13", "source": "aaaa", "commit": "1234"}}


def record(recipe: Recipe = QUICK, manifest: Manifest = MANIFEST, **changes: object) -> provenance.Record:
    changed = dataclasses.replace(recipe, **{"budgets": (1e11,), "archs": ("attn",)} | changes)  # type: ignore[arg-type]
    return CODE | provenance.of_plan(changed, planning.plan(changed, manifest, threads=1))


@pytest.mark.parametrize(
    "more",
    [
        {"budgets": (1e11, 3e11)},
        {"archs": ("hyena", "hyena*3+attn")},
        {"seeds": (0, 1, 2)},
        {"sizes": 7},
        {"workers": 8},
        {"ladder": QUICK.ladder[1:]},
        {"source": "/elsewhere/sotu"},
    ],
)
def test_more_of_the_same_is_no_change(more: dict[str, object], tmp_path: Path) -> None:
    provenance.open_sweep(tmp_path, record(), False)
    provenance.open_sweep(tmp_path, record(**more), False)


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({"seq_len": 64}, ["seq_len was 128 and is 64"]),
        ({"valid_sequences": 64}, ["valid_sequences was 512 and is 64"]),
        ({"convention": "6nd"}, ["convention was exact-causal and is 6nd"]),
        ({"channel": "mlp"}, ["channel was swiglu and is mlp"]),
        ({"match": "params"}, ["match was width and is params"]),
        ({"device": "cuda"}, ["precision was fp32 and is bf16"]),
        ({"lr": PowerRule(2e-2, 2e4, -0.25)}, ["lr.at was 0.016 and is 0.02"]),
        (
            {"optim": dataclasses.replace(QUICK.optim, clip=0.5, schedule="wsd")},
            ["optim.clip was 1.0 and is 0.5", "optim.schedule was cosine and is wsd"],
        ),
    ],
)
def test_what_changes_a_run_is_told_a_line_a_field(change: dict[str, object], lines: list[str], tmp_path: Path) -> None:
    provenance.open_sweep(tmp_path, record(), False)
    before = (tmp_path / "sweep.json").read_text()
    with pytest.raises(UserError) as caught:
        provenance.open_sweep(tmp_path, record(**change), False)
    assert str(caught.value).splitlines() == [
        f"{tmp_path} is a sweep that was trained otherwise:",
        *(f"  {line}" for line in lines),
        "choose another --name, or go on all the same with --continue.",
    ]
    assert (tmp_path / "sweep.json").read_text() == before


def test_another_corpus_is_a_change_wherever_it_lies(tmp_path: Path) -> None:
    provenance.open_sweep(tmp_path, record(), False)
    other = dataclasses.replace(MANIFEST, corpus_sha256="d" * 64)
    with pytest.raises(UserError, match=f"corpus_sha256 was {'c' * 64} and is {'d' * 64}"):
        provenance.open_sweep(tmp_path, record(manifest=other), False)


def test_the_commit_is_told_and_not_compared(tmp_path: Path) -> None:
    provenance.open_sweep(tmp_path, CODE, False)
    dirty = {"code": CODE["code"] | {"commit": "1234+"}}
    provenance.open_sweep(tmp_path, dirty, False)
    edited = {"code": dirty["code"] | {"source": "bbbb"}}
    with pytest.raises(UserError, match="source was aaaa of commit 1234\\+ and is bbbb of commit 1234\\+"):
        provenance.open_sweep(tmp_path, edited, False)


def test_what_went_on_all_the_same_is_what_is_compared_from_then_on(tmp_path: Path) -> None:
    newer = {"code": CODE["code"] | {"eutectic": "0.2.0"}}
    provenance.open_sweep(tmp_path, record(), False)
    with pytest.raises(UserError, match=r"eutectic was 0\.1\.0 and is 0\.2\.0"):
        provenance.open_sweep(tmp_path, newer, False)
    assert provenance.open_sweep(tmp_path, newer, True) == ["eutectic was 0.1.0 and is 0.2.0"]
    assert provenance.open_sweep(tmp_path, record() | newer, False) == []
    kept = json.loads((tmp_path / "sweep.json").read_text())
    assert [entry["code"]["eutectic"] for entry in kept] == ["0.1.0", "0.2.0"]
    assert kept[1]["recipe"] == kept[0]["recipe"], "code alone was opened with, and the recipe was lost"


@pytest.mark.parametrize("content", ['[{"code": {"eutect', '{"a": 1}', "[1]", '[{"a": 1}]', "[]", None])
def test_runs_whose_record_cannot_be_read_are_told(content: str | None, tmp_path: Path) -> None:
    provenance.open_sweep(tmp_path, record(), False)
    (tmp_path / "runs" / "0123456789abcdef").mkdir(parents=True)
    (tmp_path / "runs" / "0123456789abcdef" / "config.json").write_text("{}")
    path = tmp_path / "sweep.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match="of what trained its runs, is not there to be read"):
        provenance.open_sweep(tmp_path, record(), False)
    assert [aside.read_text() for aside in tmp_path.glob("sweep.json.corrupt-*")] == ([content] if content else [])
    assert len(provenance.open_sweep(tmp_path, record(), True)) == 1
    assert provenance.open_sweep(tmp_path, record(), False) == []


def test_runs_that_are_collected_need_a_record_too(tmp_path: Path) -> None:
    (tmp_path / "runs.parquet").touch()
    with pytest.raises(UserError, match="of what trained its runs, is not there to be read"):
        provenance.open_sweep(tmp_path, record(), False)


def open_at_once(
    folder: Path, first: provenance.Record, second: provenance.Record, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Open a sweep by the first and, as soon as that is about to write, by the second; returns why that is refused."""
    write, refused = files.write_json, list[str]()

    def other() -> None:
        try:
            provenance.open_sweep(folder, second, False)
        except UserError as error:
            refused.append(str(error))

    thread = threading.Thread(target=other)

    def late(path: Path, value: Any) -> None:
        monkeypatch.setattr(files, "write_json", write)
        thread.start()
        thread.join(0.5)  # time to write, unless it waits
        write(path, value)

    monkeypatch.setattr(files, "write_json", late)
    provenance.open_sweep(folder, first, False)
    thread.join()
    return refused


def test_of_two_that_open_a_new_sweep_otherwise_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (refused,) = open_at_once(tmp_path, record(), record(channel="mlp"), monkeypatch)
    assert "channel was swiglu and is mlp" in refused


def test_of_two_that_open_a_sweep_with_more_neither_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provenance.open_sweep(tmp_path, {"mixers": {"old": "1"}}, False)
    assert open_at_once(tmp_path, {"mixers": {"a": "1"}}, {"mixers": {"b": "1"}}, monkeypatch) == []
    kept = json.loads((tmp_path / "sweep.json").read_text())
    assert kept[-1]["mixers"] == {"old": "1", "a": "1", "b": "1"}


def test_a_mixer_of_a_name_is_one_mixer(tmp_path: Path) -> None:
    mine, other = {"mixers": {"mine": "1"}}, {"mixers": {"other": "1"}}
    provenance.open_sweep(tmp_path, mine, False)
    provenance.open_sweep(tmp_path, other, False)
    with pytest.raises(UserError, match="mine was 1 and is 2"):
        provenance.open_sweep(tmp_path, {"mixers": {"mine": "2"}}, False)


def test_the_hash_is_of_the_code_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train/loop.py", "arch/mixers/attn.py", "analysis/fit.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr(provenance.eutectic, "__file__", str(tmp_path / "__init__.py"))
    source = provenance.of_code()["code"]["source"]
    (tmp_path / "analysis/fit.py").write_text("x = 2\n")
    assert provenance.of_code()["code"]["source"] == source
    (tmp_path / "arch/mixers/attn.py").write_text("x = 2\n")
    assert provenance.of_code()["code"]["source"] != source


def test_code_that_plans_is_asked_after_where_it_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(provenance.eutectic.__file__).parent
    copied = [*provenance.PLANNING, *(str(path.relative_to(root)) for path in (root / "train").glob("*.py"))]
    for name in copied:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((root / name).read_bytes())
    monkeypatch.setattr(provenance.eutectic, "__file__", str(tmp_path / "__init__.py"))
    sweep = tmp_path / "sweep"
    provenance.open_sweep(sweep, record() | provenance.of_code(), False)
    (tmp_path / "sweeps/plan.py").write_text("FEWEST_STEPS = 20\n")
    provenance.open_sweep(sweep, provenance.of_code(), False)  # as `retry` does, which plans nothing
    with pytest.raises(UserError, match=r"trained otherwise:\n  planning was \w{12} and is \w{12}\n"):
        provenance.open_sweep(sweep, record() | provenance.of_code(), False)


def test_a_gpus_kernels_are_told_by_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "flash-attn-4" not in provenance.of_code()["code"]
    monkeypatch.setattr(provenance.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(provenance, "KERNELS", ("numpy", "flash-attn-0"))
    code = provenance.of_code()["code"]
    assert (code["numpy"], code["flash-attn-0"]) == (numpy.__version__, "none")


@pytest.fixture
def opened(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """A command on a sweep of this corpus, of which nothing is trained; gives its status and what it says."""
    monkeypatch.setenv("EUTECTIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training, "train_runs", lambda *_: 0)
    monkeypatch.setattr(tuning, "_train_trials", lambda *_: None)

    def call(command: str, *arguments: str) -> tuple[int, str]:
        planning = [] if command in ("retry", "run") else ["--source", str(corpus), "--budget", "1e10"]
        planning += ["--archs", "attn"] if planning else []
        status = main([command, *arguments, *planning, "--name", "s", "--results", str(tmp_path)])
        return status, capsys.readouterr().err

    return call


def alter(folder: Path, part: str, key: str, value: Any) -> None:
    path = folder / "s" / "sweep.json"
    kept = json.loads(path.read_text())
    kept[-1][part][key] = value
    path.write_text(json.dumps(kept))


def test_the_same_sweep_twice_and_more_seeds_are_let(opened: Callable[..., tuple[int, str]]) -> None:
    assert [opened("sweep")[0], opened("sweep")[0], opened("sweep", "--seeds", "0 1")[0]] == [0, 0, 0]


def test_sweep_and_retry_are_refused_and_continued(opened: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    assert opened("sweep")[0] == 0
    alter(tmp_path, "code", "torch", "1.0")
    alter(tmp_path, "recipe", "seq_len", 64)
    for command, fields in (("sweep", ("seq_len was 64 and is 128", "torch was 1.0 and is ")), ("retry", ("torch",))):
        status, said = opened(command)
        assert status == 1 and "Traceback" not in said
        lines = said.splitlines()
        assert lines[0] == f"eutectic: {tmp_path}/s is a sweep that was trained otherwise:"
        assert [line.startswith(f"  {field}") for line, field in zip(lines[1:-1], fields, strict=True)]
    status, said = opened("sweep", "--continue")
    assert status == 0 and "going on although seq_len was 64 and is 128\n" in said
    assert opened("sweep") == (0, "")


@pytest.mark.parametrize("command", [["sweep", "--dry"], ["plan"], ["tune", "--dry"]])
def test_a_plan_says_what_would_be_refused_and_refuses_nothing(
    command: list[str], opened: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    first = command[0].replace("plan", "sweep")
    assert opened(*command) == (0, "")
    opened(first)
    before = (tmp_path / "s" / "sweep.json").read_text()
    assert opened(*command) == (0, "")
    alter(tmp_path, "recipe", "seq_len", 64)
    assert opened(*command) == (0, "to be refused without --continue, for seq_len was 64 and is 128\n")
    if command[0] != "plan":
        assert opened(*command, "--continue") == (0, "going on although seq_len was 64 and is 128\n")
    kept = json.loads((tmp_path / "s" / "sweep.json").read_text())
    kept[-1]["recipe"]["seq_len"] = 128
    assert kept == json.loads(before)


def test_run_and_tune_are_refused_too(opened: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    assert opened("sweep")[0] == 0
    (run_id, *_) = [path.name for path in (tmp_path / "s" / "runs").iterdir()]
    alter(tmp_path, "code", "source", "0" * 12)
    assert "source was 000000000000" in opened("run", run_id)[1]
    (tmp_path / "s").rename(tmp_path / "swept")
    opened("tune", "--trials", "2")
    alter(tmp_path, "code", "source", "0" * 12)
    status, said = opened("tune", "--trials", "2")
    assert status == 1 and "source was 000000000000" in said
