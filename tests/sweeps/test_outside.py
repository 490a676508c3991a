"""Models that no sweep trained, by the commands that change trained models: a Llama as Hugging Face has it on a text of
the user's own, and folders that were exported or pruned."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import inside
import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import save_file

from eutectic.analysis.figures import graft as figures
from eutectic.arch.importers import llama
from eutectic.arch.model import build
from eutectic.config import ModelConfig, RunConfig, canonical_json
from eutectic.inference import export, speed
from eutectic.inference.load import load
from eutectic.inference.score import token_losses
from eutectic.train import checkpoint, corpus, shards, tokenizer
from eutectic.train.data import validation

BEGIN, END = 298, 299  # of a vocabulary of 300, which the model has padded to 304
TINY = ("--recipe", tiny.__file__)
SHORT = ("--archs", "hyena+attn", "--budget", "3e8", "--tokens", "640", "--cluster", "debug")


def llama_folder(folder: Path, text: Path, vocab_size: int = 304) -> Path:
    """Two layers of width 16, and a BPE whose own tokens begin and end texts."""
    shape = ModelConfig("attn", 2, 16, 2, 1, 48, vocab_size, n_modes=8, tied=False)
    config, weights = llama.invert(shape, build(shape, 5).state_dict())
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config | {"bos_token_id": BEGIN, "eos_token_id": END}))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    bpe = json.loads(tokenizer.make("bpe-298", lambda: corpus.documents(str(text))).definition)
    for token, word in ((BEGIN, "<s>"), (END, "</s>")):
        bpe["added_tokens"].append(bpe["added_tokens"][0] | {"id": token, "content": word})
    (folder / "tokenizer.json").write_text(json.dumps(bpe))
    return folder


@pytest.fixture(scope="module")
def place(corpus: Path, small_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands are given: the Llama theirs, exported and pruned folders of small_run, and some that cannot be."""
    made = tmp_path_factory.mktemp("outside")
    llama_folder(made / "theirs", corpus)
    model, bytes_ = build(small_run.model, 9), tokenizer.make("bytes", lambda: iter(()))
    run = dataclasses.replace(small_run, recipe="quick")
    export.write(export.Exported(run, model.state_dict(), bytes_), made / "exported")
    pruned = dataclasses.replace(run, recipe="quick, pruned to 2 modes")
    (made / "models/pruned").mkdir(parents=True)
    checkpoint.save_weights(made / "models/pruned/weights.safetensors", canonical_json(pruned.to_dict()), model)
    gone = dataclasses.replace(run, recipe="mine", data=dataclasses.replace(run.data, corpus_sha256="0" * 64))
    export.write(export.Exported(gone, model.state_dict(), bytes_), made / "gone")
    shutil.copytree(made / "theirs", made / "bare")
    (made / "bare/tokenizer.json").unlink()
    llama_folder(made / "narrow", corpus, 299)
    (made / "two").mkdir()
    (made / "two/a.txt").write_text("tin and lead " * 13)
    (made / "two/b.txt").write_text("copper of the melt " * 200)
    return made


def eutectic(place: Path, *words: str) -> inside.Done:
    return inside.eutectic(*words, cwd=place)


def told(place: Path, *words: str) -> Any:
    done = eutectic(place, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_llama_is_grafted_on_a_text_by_its_own_tokenizer(place: Path, corpus: Path) -> None:
    words = ("graft", "theirs", "--source", str(corpus), *TINY, *SHORT, "--scratch")
    dry = told(place, *words, "--dry")
    assert not (place / "cache").exists() and not (place / "results").exists()
    report = told(place, *words)
    assert list(report["statuses"].values()) == ["done"] * 4
    rows = pd.read_parquet(place / "results/theirs-graft/runs.parquet")
    # in scratch's budgets is all that is known, which is what the grafts cost beyond the model
    begun, scratch = rows[rows["start"] != ""].set_index("arch"), rows[rows["start"] == ""].set_index("arch")
    assert begun["parent_flops"].isna().all() and begun["parent"].nunique() == 1
    extra = begun["graft_flops"] + begun["flops"]
    assert extra["hyena+attn"] > begun.loc["hyena+attn", "flops"] and begun.loc["attn", "graft_flops"] == 0
    assert scratch["flops"].to_dict() == pytest.approx(extra.to_dict(), rel=0.01)
    assert [run["flops"] for run in dry["runs"][2:]] == pytest.approx(scratch["flops"][["attn", "hyena+attn"]].tolist())
    (grafts,) = report["report"]
    assert (grafts["arch"], grafts["flops"], len(grafts["cells"])) == ("attn", None, 2)
    assert all(cell["scratch"] for cell in grafts["cells"])
    # documents are told apart by the model's own token, and losses are of the windows held out
    config = RunConfig.from_dict(json.loads(begun.loc["attn", "config"]))
    assert (config.data.begin, config.data.ends, config.model.vocab_size) == (BEGIN, (END,), 304)
    manifest = shards.open_shards(config.data, place / "cache")
    assert (manifest.tokens("train") == END).sum() + (manifest.tokens("valid") == END).sum() == manifest.documents == 40
    found = load(place / "theirs", place / "cache")
    (ids,) = found.tokenizer.encode([min(corpus.glob("*.txt")).read_text()])
    whole = [*manifest.tokens("train").tolist(), *manifest.tokens("valid").tolist()]
    assert any(whole[k : k + len(ids)] == ids.tolist() for k in (0, manifest.train_tokens))
    windows = torch.from_numpy(validation(manifest, 32, config.data.valid_sequences))
    loss = float(token_losses(found.model.eval(), windows).double().mean())
    assert begun["parent_loss"].tolist() == pytest.approx([loss] * 2, rel=1e-6)
    assert begun.loc["attn", "start_loss"] == pytest.approx(loss, rel=1e-6)
    title = figures.figure(rows).axes[0].get_title()  # type: ignore[union-attr]
    assert title == "attn, width 16, FLOPs unknown"
    # what can be trained again by its name needs no more than the cache
    run = begun.loc["attn", "run_id"]
    assert told(place, "run", run, "--name", "theirs-graft")["status"] == "done"
    # the same model in a folder of another name has the same runs, all of which are done
    shutil.copytree(place / "theirs", place / "copy")
    again = told(place, "graft", "copy", *words[2:], "--name", "theirs-graft")
    assert again == report
    said = " ".join(eutectic(place, "graft", "copy", *words[2:], "--name", "theirs-graft").stdout.split())
    assert f"which has a loss of {loss:.4f} ┏" in said and "from scratch: with these alone" in said
    shutil.rmtree(place / "copy")


def test_a_graft_of_a_llama_is_written_with_and_exported(place: Path, corpus: Path) -> None:
    told(place, "graft", "theirs", "--source", str(corpus), *TINY, *SHORT, "--name", "g")
    rows = pd.read_parquet(place / "results/g/runs.parquet").set_index("arch")
    run = place / "results/g/runs" / rows.loc["attn", "run_id"]
    write = ("--prompt", "the melt", "--tokens", "8", "--greedy")
    ids = told(place, "generate", str(run), *write)
    assert eutectic(place, "export", str(run), "out").returncode == 0
    config = json.loads((place / "out/config.json").read_text())
    assert (config["model_type"], config["bos_token_id"], config["eos_token_id"]) == ("llama", BEGIN, END)
    assert told(place, "generate", "out", *write) == ids
    found = load(place / "out", Path("/nowhere")).tokenizer
    assert (found.begin, found.ends, found.separator) == (BEGIN, {END}, END)
    # and a graft of the graft knows no more of what is behind it
    told(place, "graft", str(run), *SHORT, "--name", "h")
    assert pd.read_parquet(place / "results/h/runs.parquet")["parent_flops"].isna().all()
    shutil.rmtree(place / "out")


def test_a_llama_is_scanned(place: Path, corpus: Path) -> None:
    words = ("graft", "theirs", "--source", str(corpus), *TINY, "--scan", "--to-mixer", "hyena", "--name", "s")
    found = told(place, *words)
    assert [row["layer"] for row in found["layers"]] == [0, 1]
    config = json.loads(next((place / "cache/tokens").glob("*/manifest.json")).read_text())
    rows = pd.read_parquet(place / "results/s/sensitivity.parquet")
    # by default a tenth of the text's tokens teach, to a batch
    assert (rows["tokens"] - 0.1 * config["train_tokens"]).abs().max() <= 8192 / 2
    assert set(found["layouts"].values()) <= {"hyena+attn", "attn+hyena"}


@pytest.mark.parametrize("folder", ["exported", "models/pruned"])
def test_folders_of_runs_are_grafted_on_their_own_text(folder: str, place: Path, small_run: RunConfig) -> None:
    name = Path(folder).name
    words = ("--archs", "attn", "--budget", "3e8", "--tokens", "640", "--cluster", "debug")
    assert list(told(place, "graft", folder, *words)["statuses"].values()) == ["done"] * 2
    rows = pd.read_parquet(place / f"results/{name}-graft/runs.parquet")
    assert (rows["parent_flops"] == small_run.budget).all() and (rows["parent"] != small_run.run_id).all()
    assert (rows["corpus_sha256"] == small_run.data.corpus_sha256).all() and (rows["lr"] == small_run.optim.lr).all()
    assert (rows["recipe"] == "quick").all() and rows["parent_loss"].nunique() == 1


def test_exported_folders_are_pruned_by_a_text(place: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "BURSTS", 1)
    monkeypatch.setattr(speed, "STEPS", 2)
    few = place / "few"
    few.mkdir()
    for path in sorted(corpus.glob("*.txt"))[:6]:
        shutil.copy(path, few)
    words = ("prune", "exported", "--source", str(few), "--budget", "0.5", "--to")
    rows = told(place, *words, "small")["rows"]
    assert [row["modes"] for row in rows] == [2, 1]
    kept = load(place / "small", place / "cache").run
    assert kept is not None and kept.model.n_modes == 1 and kept.data.source == str(few)
    words = ("distill", "exported", "--source", str(few), "--order", "3", "--to", "x")
    assert "hyena+attn has no long filters to distill" in eutectic(place, *words).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["graft", "theirs", *SHORT], "nothing tells what text theirs was trained on; give some to graft it on, by --"),
        (["prune", "theirs", "--to", "x"], "nothing tells what text theirs was trained on; give some by --source"),
        (["prune", "theirs", "--source", "CORPUS", "--to", "x"], "attn of 8 modes has none to spare"),
        (["distill", "theirs", "--source", "CORPUS", "--order", "2", "--to", "x"], "attn has no long filters to"),
        (["graft", "theirs", "--source", "nowhere", *SHORT], "no corpus at 'nowhere'"),
        (["graft", "theirs", "--source", "CORPUS", "--recipe", "tiny", *SHORT], "no recipe 'tiny'; there are"),
        (["graft", "bare", "--source", "CORPUS", *SHORT], "bare has a model and no tokenizer.json, by which it reads"),
        (["graft", "narrow", "--source", "CORPUS", *SHORT], "tokenizer has a token 299, and the model 299"),
        (["generate", "narrow", "--prompt", "x"], "tokenizer has a token 299, and the model 299"),
        (["context", "narrow", "--source", "CORPUS"], "tokenizer has a token 299, and the model 299"),
        (["graft", "gone", *SHORT], "the recipe 'mine', which planned the run of that model, is not here"),
        (["graft", "theirs", "--source", "two", *SHORT, *TINY], "holds out one window of 32 tokens, and two are"),
        (["graft", "gone", *TINY, *SHORT], "put it back as it was, or give texts by --source"),
        (["context", "gone"], "or give texts by --source"),
        (["prune", "gone", "--to", "x"], "run the sweep again to make them, or give texts by --source"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: list[str], said: str, place: Path, corpus: Path) -> None:
    done = eutectic(place, *(str(corpus) if word == "CORPUS" else word for word in words))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert said in done.stderr
    assert not (place / "x").exists()
