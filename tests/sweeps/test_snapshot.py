"""Jobs run the code that was there when they were submitted, and load nothing that another user could have written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pyarrow.parquet as pq
import pytest

import eutectic
from eutectic import files
from eutectic.cli import main
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import provenance, snapshot, submit, worker
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.worker import Place
from eutectic.train.parallel import Ranks
from eutectic.train.shards import Manifest

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code to edit, which snapshot takes for the one that runs."""
    root = tmp_path / "checkout"
    for name, content in snapshot.contents().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    monkeypatch.setattr(snapshot, "ROOT", root)
    return root


def test_all_that_is_imported_is_copied(tmp_path: Path) -> None:
    kept = snapshot.keep(tmp_path)
    assert kept == snapshot.place(tmp_path)
    walk = (
        "import importlib, importlib.util, pathlib, sys; root = pathlib.Path(sys.argv[1])\n"
        "for path in root.rglob('*.py'):\n"
        "    if path.stem == 'lm_eval' and not importlib.util.find_spec('lm_eval'):\n"
        "        continue\n"
        "    name = '.'.join(path.relative_to(root.parent).with_suffix('').parts).removesuffix('.__init__')\n"
        "    module = importlib.import_module(name)\n"
        "    assert pathlib.Path(module.__file__) == path, module\n"
        "print(len([name for name in sys.modules if name.startswith('eutectic')]))"
    )
    environment = os.environ | {"PYTHONPATH": str(kept)}
    command = [sys.executable, "-P", "-c", walk, str(kept / "eutectic")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60


def test_an_edit_makes_another_copy_and_leaves_the_first(checkout: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    first = snapshot.keep(sweep)
    before = (first / "eutectic/train/loop.py").read_bytes()
    (checkout / "train/loop.py").write_text("raise SystemExit")
    second = snapshot.keep(sweep)
    assert (first / "eutectic/train/loop.py").read_bytes() == before
    assert (second / "eutectic/train/loop.py").read_text() == "raise SystemExit"
    assert sorted((sweep / "code").iterdir()) == sorted((first, second))
    assert snapshot.keep(sweep) == second


def test_commit_and_diff_are_kept_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "checkout"
    (root / "train").mkdir(parents=True)
    (root / "train/loop.py").write_text("was\n")
    (root / "pyproject.toml").write_text('[tool.setuptools]\npackages = ["eutectic", "eutectic.train"]\n')
    git = ["git", "-c", "user.name=a", "-c", "user.email=b@c"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "c"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    (root / "train/loop.py").write_text("is\n")
    (root / "train/new.py").write_text("of no commit yet\n")
    (root / "tests").mkdir()
    (root / "tests/test.py").write_text("of no package\n")
    monkeypatch.setattr(snapshot, "ROOT", root)
    monkeypatch.setattr(snapshot.log, "commit", lambda: "abc+")
    kept = snapshot.keep(tmp_path / "sweep") / "eutectic"
    names = sorted(str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file())
    assert names == ["COMMIT", "DIFF", "train/loop.py", "train/new.py"]
    assert (kept / "COMMIT").read_text() == "abc+"
    assert "-was\n+is\n" in (kept / "DIFF").read_text()


def test_a_job_runs_the_copy_and_leaves_what_is_its_owner_s_alone_to_write(
    checkout: Path, small_run: RunConfig, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says of which commit; also where the folder it starts in has a package of the name, which python -m would take
    first."""
    (checkout / "__init__.py").write_text('__version__ = "as submitted"\n')
    decoy = tmp_path / "start/eutectic"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise SystemExit")
    monkeypatch.chdir(decoy.parent)
    monkeypatch.setattr(snapshot.log, "commit", lambda: "abc")
    before = os.umask(0o002)
    try:
        provenance.open_sweep(tmp_path / "sweep", provenance.of_code(), False)
        ledger = Ledger(tmp_path / "sweep")
        ledger.add([small_run])
        work = submit.Work(
            folder=ledger.folder, device="cpu", cache=Path(manifest.folder).parents[1], run_ids=[small_run.run_id]
        )
        (job,) = submit.submit(submit.Cluster("local", 1, "cpu", 1, None, 1e9), work)
        (checkout / "__init__.py").write_text("raise SystemExit")
        shutil.rmtree(checkout / "train")
        job.wait()
    finally:
        os.umask(before)
    row = pq.read_table(ledger.runs / small_run.run_id / "run.parquet").to_pylist()[0]
    assert (row["eutectic"], row["commit"]) == ("as submitted", "abc")
    assert eutectic.__version__ != "as submitted"
    loaded = [path for part in ("jobs", "code") for path in (ledger.folder / part).rglob("*")]
    assert {"_submitted.pkl", "_result.pkl"} <= {path.name[path.name.rfind("_") :] for path in loaded}
    assert [path for path in (ledger.folder, *loaded) if path.stat().st_mode & 0o022] == []


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o757])
def test_a_folder_that_others_may_write_to_is_refused(mode: int, tmp_path: Path) -> None:
    folder = files.own_folder(tmp_path / "sweep/jobs")
    assert folder.stat().st_mode & 0o777 == 0o755
    folder.chmod(mode)
    job = submit.Work(folder=folder.parent, device="cpu", cache=tmp_path, run_ids=[])
    with pytest.raises(UserError, match=f"jobs can be written to by other users.*chmod -R go-w {folder}"):
        submit.submit(submit.Cluster("debug", 1, "cpu", 1, None, 1e9), job)


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UserError, match=r"belongs to another user.*choose another --name"):
        files.own_folder(tmp_path)


def test_a_new_folder_is_nobody_else_s_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert files.own_folder(tmp_path / "jobs").stat().st_mode & 0o777 == 0o755
        assert snapshot.keep(tmp_path).stat().st_mode & 0o777 == 0o755
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    "part", [".", "code", "code/HASH", "code/HASH/eutectic/errors.py", "jobs", "jobs/7_result.pkl"]
)
def test_nothing_is_submitted_where_others_may_write_what_is_loaded(part: str, tmp_path: Path) -> None:
    """Of the sweep, its code and its pickles; nor is the code that is there already taken as it is."""
    job = submit.Work(folder=tmp_path, device="cpu", cache=tmp_path, run_ids=[])
    cluster = submit.Cluster("debug", 1, "cpu", 1, None, 1e9)
    submit.submit(cluster, job)
    (tmp_path / "jobs/7_result.pkl").touch(0o644)
    path = tmp_path / part.replace("HASH", snapshot.place(tmp_path).name)
    mode = path.stat().st_mode
    path.chmod(mode | 0o020)
    with pytest.raises(UserError, match=f"{path} can be written to by other users"):
        submit.submit(cluster, job)
    path.chmod(mode)
    submit.submit(cluster, job)


def test_compiled_kernels_are_not_loaded_from_where_others_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    files.own_folder(tmp_path / "compiled").chmod(0o775)
    together = Place("cuda", tmp_path, Ranks(0, 2))
    for begin in (lambda: worker.fill_gpu([], tmp_path, 0), lambda: worker.work(tmp_path, [], together)):
        with pytest.raises(UserError, match="compiled can be written to by other users"):
            begin()
    (tmp_path / "compiled").chmod(0o755)
    worker.work(tmp_path, [], together)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")
    files.own_folder(tmp_path / "chosen").chmod(0o777)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "chosen"))
    with pytest.raises(UserError, match="chosen can be written to by other users"):
        worker.work(tmp_path, [], together)


@pytest.mark.parametrize("name", ["a:b", "a%j"])
def test_jobs_are_not_submitted_where_they_would_run_other_code(name: str, tmp_path: Path) -> None:
    job = submit.Work(folder=tmp_path / name / "s", device="cpu", cache=tmp_path, run_ids=[])
    with pytest.raises(UserError, match=f"jobs cannot run in .*/{name}/s, for the [:%] in it"):
        submit.submit(submit.Cluster("debug", 1, "cpu", 1, None, 1e9), job)


@pytest.mark.parametrize("name", ["a:b", "a%j", ".", "..", "../a", "a/.."])
@pytest.mark.parametrize("command", ["plan", "fit"])
def test_such_names_are_refused(
    command: str, name: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("EUTECTIC_CACHE", str(tmp_path / "cache"))
    planning = ["--source", str(corpus), "--archs", "attn", "--budget", "1e10"] if command == "plan" else []
    assert main([command, "--name", name, "--results", str(tmp_path / "results"), *planning]) == 1
    assert f"a sweep cannot be named {name!r}" in capsys.readouterr().err


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[type[open], tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_job_loads_nothing_that_others_may_have_put_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, touched = files.own_folder(tmp_path / "jobs"), tmp_path / "touched"
    (jobs / "7_submitted.pkl").write_bytes(cloudpickle.dumps(Touch(touched)))
    environment = os.environ | {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "7"}
    command = [sys.executable, "-P", "-m", "eutectic.sweeps.submit", "-u", "-m", "submitit.core._submit", str(jobs)]
    monkeypatch.setattr(sys, "argv", command)
    for path in (jobs, tmp_path, jobs / "7_submitted.pkl"):
        mode = path.stat().st_mode
        path.chmod(mode | 0o020)
        with pytest.raises(SystemExit, match=f"^eutectic: {path} can be written to by other users"):
            submit.main()
        path.chmod(mode)
    jobs.chmod(0o775)
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 1
    assert not touched.exists()
    jobs.chmod(0o755)
    subprocess.run(command, env=environment, capture_output=True)
    assert touched.exists()
