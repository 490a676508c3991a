"""Exported folders: whole and as they were written, or refused; read by us and, where they are Llamas, by others."""

import dataclasses
import json
import shutil
from pathlib import Path

import inside
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from public import assert_same
from tokenizers import Tokenizer as Bpe
from torch import Tensor
from zoo import tokens

from eutectic.arch.importers import llama
from eutectic.arch.model import Model, build
from eutectic.config import RunConfig, canonical_json
from eutectic.errors import UserError
from eutectic.inference import export
from eutectic.inference.generate import Limits, generate
from eutectic.inference.load import load
from eutectic.inference.sample import Sampling
from eutectic.train import checkpoint, tokenizer

BYTES = tokenizer.make("bytes", lambda: iter(()))
NOWHERE = Path("/nowhere")


def exported(run: RunConfig, folder: Path, layout: str = "hyena+attn", **shape: object) -> tuple[Model, RunConfig]:
    """Of another seed than the run's."""
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, layout=layout, **shape))
    model = build(run.model, 99)
    export.write(export.Exported(run, model.state_dict(), BYTES), folder)
    return model.eval(), run


@pytest.mark.parametrize("layout", ["hyena+attn", "attn", "mamba2"])
def test_a_run_comes_back(layout: str, small_run: RunConfig, tmp_path: Path) -> None:
    model, run = exported(small_run, tmp_path / "a/b", layout)
    assert sorted(path.name for path in (tmp_path / "a").rglob("*.*")) == sorted(
        [export.CONFIG, export.WEIGHTS, export.TOKENIZER]
    )
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a/b").iterdir()} == {0o644}
    shutil.move(tmp_path / "a/b", tmp_path / "elsewhere")
    found = load(tmp_path / "elsewhere", NOWHERE)
    assert found.run == run and found.tokenizer.name == "bytes"
    for own, theirs in zip(model.parameters(), found.model.parameters(), strict=True):
        assert torch.equal(own, theirs)


def test_every_part_is_held_to_what_was_written(small_run: RunConfig, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    exported(small_run, folder)
    whole = {name: (folder / name).read_bytes() for name in (export.CONFIG, export.WEIGHTS, export.TOKENIZER)}
    weights = whole[export.WEIGHTS]
    config = json.loads(whole[export.CONFIG])
    config["eutectic"]["run"]["seed"] += 1
    for name, changed, said in (
        (export.WEIGHTS, weights[: len(weights) // 2], "cannot be read"),
        (export.WEIGHTS, weights[:-1], "cannot be read"),
        (export.WEIGHTS, b"", "cannot be read"),
        (export.WEIGHTS, weights[:-3] + bytes([weights[-3] ^ 1]) + weights[-2:], "is not as it was exported"),
        (export.TOKENIZER, whole[export.TOKENIZER].replace(b'"A"', b'"a"'), "is not as it was exported"),
        (export.CONFIG, json.dumps(config).encode(), "is not as it was exported"),
        (export.CONFIG, whole[export.CONFIG].replace(b'"eos_token_id": 0', b'"eos_token_id": 1'), "is not as it was"),
    ):
        (folder / name).write_bytes(changed)
        with pytest.raises(UserError, match=said):
            load(folder, NOWHERE)
        (folder / name).write_bytes(whole[name])
    load(folder, NOWHERE)
    (folder / export.WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"cannot be read .*model\.safetensors"):
        load(folder, NOWHERE)


@pytest.mark.parametrize(
    "shape",
    [{"n_kv_heads": 2}, {"tied": False, "rope_base": 500.0, "norm_eps": 1e-2, "n_kv_heads": 1}],
    ids=["multi-head tied", "multi-query untied"],
)
def test_a_llama_is_transformers_own(shape: dict[str, object], small_run: RunConfig, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model, _ = exported(small_run, tmp_path / "f", "attn", **shape)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "f").eval()
    assert type(theirs).__name__ == "LlamaForCausalLM"
    with torch.no_grad():
        assert_same(model(tokens(2, 30)), theirs(tokens(2, 30)).logits)
    assert theirs.config.eos_token_id == 0 and theirs.config.max_position_embeddings == 32


def test_a_model_from_elsewhere_begins_and_ends_texts_as_it_says(small_run: RunConfig, tmp_path: Path) -> None:
    exported(small_run, tmp_path / "f", "attn")
    place = tmp_path / "f" / export.CONFIG
    config = json.loads(place.read_text())
    del config["eutectic"]  # as another library's
    for told, begin, ends in (
        ({"bos_token_id": 7, "eos_token_id": [2, 5]}, 7, {2, 5}),
        ({"bos_token_id": None, "eos_token_id": 3}, 3, {3}),
    ):
        place.write_text(json.dumps(config | told))
        found = load(tmp_path / "f", NOWHERE)
        assert (found.run, found.tokenizer.begin, found.tokenizer.ends) == (None, begin, ends)
        read: list[Tensor] = []
        found.model.embedding.register_forward_hook(lambda module, given, out, read=read: read.append(given[0]))
        generate(found.model, found.tokenizer, ["Once"], Limits(1), Sampling(0.0))
        assert read[0].tolist() == [[begin, *b"Once"]]
    place.write_text(json.dumps(config | {"eos_token_id": []}))
    with pytest.raises(UserError, match="has no eos_token_id, the token that ends a text; add it"):
        load(tmp_path / "f", NOWHERE)
    place.write_text(json.dumps(config))
    (tmp_path / "f" / export.TOKENIZER).write_text("{")
    with pytest.raises(UserError, match=r"the tokenizer of f cannot be read \(.*\); copy or train it again"):
        load(tmp_path / "f", NOWHERE)


def test_what_is_no_llama_is_none(small_run: RunConfig, tmp_path: Path) -> None:
    own = dataclasses.replace(small_run.model, layout="attn")
    assert llama.is_llama(own)
    for change in (
        {"layout": "hyena"},
        {"layout": "attn(qk_norm=true)"},
        {"layout": "swa(window=16)"},
        {"channel": "mlp"},
        {"logit_cap": 30.0},
        {"mup_base": 8},
    ):
        assert not llama.is_llama(dataclasses.replace(own, **change))
    exported(small_run, tmp_path / "f", "attn", channel="mlp")
    assert json.loads((tmp_path / "f" / export.CONFIG).read_text())["model_type"] == "eutectic"


def test_inverting_is_undone_by_converting(small_run: RunConfig) -> None:
    for tied, n_kv_heads in ((True, 1), (False, 2)):
        shape = dataclasses.replace(
            small_run.model, layout="attn", tied=tied, n_kv_heads=n_kv_heads, n_modes=8, rope_base=7.0, norm_eps=0.25
        )
        weights = build(shape, 0).state_dict()
        found, back = llama.convert(*llama.invert(shape, weights))
        assert found == shape and back.keys() == weights.keys()
        assert all(torch.equal(back[name], weights[name]) for name in weights)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_bytes_are_bytes_to_other_libraries_as_well(text: str) -> None:
    bpe = Bpe.from_str(tokenizer.bytes_definition())
    assert bpe.get_vocab_size() == 256
    assert bpe.encode(text, add_special_tokens=False).ids == list(text.encode())
    assert bpe.decode(list(text.encode())) == text


def test_mixers_from_elsewhere_and_folders_that_exist_are_refused(small_run: RunConfig, tmp_path: Path) -> None:
    run = dataclasses.replace(small_run, mixers=("mine=0123",))
    weights = build(small_run.model, 0).state_dict()
    with pytest.raises(UserError, match=r"mixers from elsewhere \(mine=0123\)"):
        export.write(export.Exported(run, weights, BYTES), tmp_path / "f")
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="there exists; name a folder that does not"):
        export.write(export.Exported(small_run, weights, BYTES), tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_failure_leaves_nothing(small_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.files, "write_json", lambda path, value: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        exported(small_run, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_the_command_exports_what_generate_writes_with(small_run: RunConfig, tmp_path: Path) -> None:
    """With a trained tokenizer, away from the cache that has it: to the token what the run writes with its cache."""
    texts = ["the melt of copper and tin, the phase of lead " * 5]
    bpe = tokenizer.make("bpe-300", lambda: iter(texts))
    data = dataclasses.replace(small_run.data, tokenizer="bpe-300", tokenizer_sha256=bpe.sha256)
    model = dataclasses.replace(small_run.model, vocab_size=bpe.vocab_size)
    run = dataclasses.replace(small_run, data=data, model=model)
    folder = tmp_path / "results/s/runs/r"
    folder.mkdir(parents=True)
    checkpoint.save_weights(folder / "weights.safetensors", canonical_json(run.to_dict()), build(model, 4))
    cached = tmp_path / f"cache/tokens/{data.corpus_sha256[:16]}-{bpe.sha256[:16]}"
    cached.mkdir(parents=True)
    (cached / "tokenizer.json").write_text(bpe.definition)
    write = ["--prompt", "the melt", "--tokens", "12", "--json"]
    expected = inside.eutectic("generate", str(folder), *write, cwd=tmp_path)
    done = inside.eutectic("export", str(folder), "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "out\n"), done.stderr
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "results")
    found = inside.eutectic("generate", "out", *write, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == json.loads(expected.stdout)
    again = inside.eutectic("export", "out", "out", cwd=tmp_path)
    assert (
        again.returncode == 1 and again.stderr == "eutectic: out exists; name a folder that does not, or remove it.\n"
    )
