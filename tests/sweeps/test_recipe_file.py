"""A recipe of a user's own: read from its file, kept with the sweep that it planned, and refused in a sentence."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from eutectic.cli import main
from eutectic.commands import training
from eutectic.errors import UserError
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps import recipe_file
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.recipe import PowerRule

QUICK = recipes.find("quick")
MINE = dataclasses.replace(
    QUICK,
    name="mine",
    doc='it\'s "mine",\nin two lines',
    archs=("attn",),
    budgets=(5e9,),
    sizes=3,
    workers=5,
    lr=PowerRule(1 / 3, 1e4, -0.1),
    ladder=QUICK.ladder[1:9],
)
TEXT = """\
import dataclasses
from eutectic.config import OptimConfig
from eutectic.sweeps.grids.quick import RECIPE as QUICK
from eutectic.sweeps.recipe import PowerRule, Shape
RECIPE = dataclasses.replace(QUICK, name="mine", archs=("attn",), budgets=(5e9,), sizes=3, workers=5)
"""


def written(folder: Path, changes: str = "") -> Path:
    path = folder / "mine.py"
    path.write_text(f"{TEXT}RECIPE = dataclasses.replace(RECIPE, {changes})\n")
    return path


def test_what_is_kept_is_a_recipe_file_to_the_letter(tmp_path: Path) -> None:
    recipe_file.keep(MINE, tmp_path)
    assert recipe_file.load(tmp_path / "recipes/mine.py") == recipe_file.find("mine", tmp_path) == MINE
    recipe_file.keep(QUICK, tmp_path)
    assert [path.name for path in (tmp_path / "recipes").iterdir()] == ["mine.py"], "quick is eutectic's to keep"
    assert recipe_file.find("quick", tmp_path) is QUICK
    with pytest.raises(UserError, match=r"no recipe 'other'; there are campaign, .*gpu, quick"):
        recipe_file.find("other", tmp_path)
    (tmp_path / "recipes").chmod(0o777)
    with pytest.raises(UserError, match="can be written to by other users"):
        recipe_file.find("mine", tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (", r"cannot be loaded \(SyntaxError: "),
        ("import nothing_of_the_kind", r"cannot be loaded \(ModuleNotFoundError: "),
        ("raise SystemExit(3)", r"cannot be loaded \(SystemExit: 3\); mend it"),
        ("from eutectic.sweeps.recipe import Recipe\nRECIPE = Recipe()", r"\(TypeError: .* missing .* 'name', 'doc'"),
        ("recipe = 1", "has no RECIPE; write RECIPE = Recipe"),
        ("RECIPE = {'name': 'mine'}", "has a RECIPE that is a dict; write RECIPE = Recipe"),
    ],
)
def test_a_file_without_a_recipe_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        recipe_file.load(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("archs='attn'", r"archs is 'attn' and is to be a tuple of str, of one or more; mend its RECIPE"),
        ("archs=()", r"archs is \(\) and is to be a tuple of str, of one or more"),
        ("budgets=(1e9, '1e10')", r"budgets is '1e10' and is to be of type float"),
        ("seeds=(0, 0.5)", "seeds is 0.5 and is to be of type int"),
        ("lr=0.01", r"lr is 0\.01 and is to be of type PowerRule"),
        ("lr=PowerRule(1e-2, 0.0, 0.0)", r"lr\.reference is 0\.0 and is to be positive"),
        ("budgets=(float('nan'),)", "budgets is nan and is to be positive and finite"),
        ("sizes=4", "sizes is 4 and is to be odd"),
        ("seq_len=0", "seq_len is 0 and is to be positive"),
        ("device='tpu'", "device is 'tpu' and is to be one of cpu, cuda"),
        ("convention='7nd'", "convention is '7nd' and is to be one of exact-causal, "),
        ("optim=OptimConfig(0.0, clip=-1.0)", r"optim\.clip is -1\.0 and is to be 0 or more"),
        ("optim=OptimConfig(0.0, init_scale=0.0)", r"optim\.init_scale is 0\.0 and is to be positive and finite"),
        ("optim=OptimConfig(0.0, schedule='flat')", r"optim\.schedule is 'flat' and is to be one of cosine, wsd"),
        ("ladder=(Shape(4, 30, 4, 2),)", r"ladder has Shape\(n_layers=4, d_model=30, .* heads do not divide its width"),
    ],
)
def test_what_cannot_be_planned_by_is_said(changes: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        recipe_file.load(written(tmp_path, changes))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("quick", "names its recipe 'quick', which eutectic has; choose another name"),
        ("../mine", r"names its recipe '\.\./mine', which is no name for a folder"),
        ("", "names its recipe '', which is no name for a folder"),
    ],
)
def test_so_is_a_name_that_cannot_be_a_sweeps(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        recipe_file.load(written(tmp_path, f"name={name!r}"))


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """A command's status, and what it says on stderr."""
    monkeypatch.setenv("EUTECTIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str]:
        return main([*arguments]), capsys.readouterr().err

    return call


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, set[str]]]:
    """What each command would train: device, workers and run_ids."""
    calls: list[tuple[str, int, set[str]]] = []

    def train(options: object, ledger: Ledger, device: str, workers: int, loads: dict[str, object]) -> int:
        calls.append((device, workers, set(loads)))
        return 0

    monkeypatch.setattr(training, "train_runs", train)
    return calls


def test_a_sweep_goes_on_without_the_file_it_was_planned_by(
    said: Callable[..., tuple[int, str]], trained: list[tuple[str, int, set[str]]], corpus: Path, tmp_path: Path
) -> None:
    path, sweep = written(tmp_path), ["sweep", "--recipe", "mine.py", "--source", str(corpus), "--name", "mine"]
    assert said(*sweep)[0] == 0
    ledger = Ledger(tmp_path / "results/mine")
    ids = set(ledger.run_ids())
    assert len(ids) == 3 and trained == [("cpu", 5, ids)]
    assert {config.recipe for i in ids if (config := ledger.config(i))} == {"mine"}

    # another lr is told, as of any recipe
    written(tmp_path, "lr=PowerRule(1e-3, 1.0, 0.0)")
    status, told = said(*sweep)
    assert status == 1 and told.splitlines()[1:4] == [
        "  lr.at was 0.016 and is 0.001",
        "  lr.exponent was -0.25 and is 0.0",
        "  lr.reference was 20000.0 and is 1.0",
    ]
    path.unlink()
    assert "recipe file mine.py cannot be loaded (FileNotFoundError" in said(*sweep)[1]

    ledger.fail(min(ids), "it was told to")
    assert said("retry", "--name", "mine")[0] == 0
    assert said("sweep", "--extend", "mine")[0] == 0
    assert said("sweep", "--recipe", "results/mine/recipes/mine.py", "--name", "mine")[0] == 0
    assert trained[1:] == [("cpu", 5, {min(ids)}), ("cpu", 5, ids), ("cpu", 5, ids)]


def test_what_goes_on_by_a_changed_file_keeps_that(
    said: Callable[..., tuple[int, str]], trained: list[tuple[str, int, set[str]]], corpus: Path, tmp_path: Path
) -> None:
    written(tmp_path)
    sweep = ["sweep", "--recipe", "mine.py", "--source", str(corpus), "--name", "s"]
    said(*sweep)
    kept = tmp_path / "results/s/recipes/mine.py"
    before = recipe_file.load(kept)
    assert before == dataclasses.replace(recipe_file.load(tmp_path / "mine.py"), source=str(corpus))
    written(tmp_path, "evals=9")
    assert said(*sweep)[0] == 1
    assert recipe_file.load(kept) == before
    assert said(*sweep, "--continue")[0] == 0
    assert recipe_file.load(kept) == dataclasses.replace(before, evals=9)


def test_a_tuning_keeps_its_recipe_too(
    said: Callable[..., tuple[int, str]], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eutectic.commands import tuning

    workers = []
    monkeypatch.setattr(tuning, "_train_trials", lambda options, studies, url, recipe: workers.append(recipe.workers))
    path = written(tmp_path)
    said("tune", "--recipe", "mine.py", "--source", str(corpus), "--name", "t", "--trials", "9")
    path.unlink()
    said("tune", "--recipe", "results/t/recipes/mine.py", "--name", "t", "--trials", "9")
    assert workers == [5, 5]
