"""The evaluation harness gets our own numbers of texts: on tasks that are made here, without a network."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

from eutectic.arch.model import Model, build
from eutectic.config import RunConfig, canonical_json
from eutectic.inference.generate import Limits, generate
from eutectic.inference.lm_eval import Eutectic, main
from eutectic.inference.sample import Sampling
from eutectic.inference.score import token_losses
from eutectic.train import checkpoint, tokenizer

BYTES = tokenizer.make("bytes", lambda: iter(()))
QUESTIONS = [
    {"text": "copper melts", "good": " at once", "bad": " never", "answer": 0},
    {"text": "tin and", "good": " lead", "bad": " the phase of gold", "answer": 0},
    {"text": "a", "good": " ratio", "bad": " b", "answer": 1},
]
YAML = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
"""
CHOICE = """\
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: "{{[good, bad]}}"
doc_to_target: answer
target_delimiter: ""
metric_list: [{metric: acc}]
"""
ROLLING = """\
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}{{bad}}"
metric_list: [{metric: bits_per_byte}]
"""
WRITING = """\
output_type: generate_until
doc_to_text: "{{text}}"
doc_to_target: "{{good}}"
generation_kwargs: {until: ["e"], max_gen_toks: 9, do_sample: false}
metric_list: [{metric: exact_match}]
"""
KINDS = {"eutectic_choice": CHOICE, "eutectic_rolling": ROLLING, "eutectic_writing": WRITING}


@pytest.fixture(scope="module")
def folder(small_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, of which texts are at most 32 tokens long, and beside it tasks."""
    made = tmp_path_factory.mktemp("lm_eval")
    model = build(small_run.model, 99)
    checkpoint.save_weights(made / "weights.safetensors", canonical_json(small_run.to_dict()), model)
    (made / "data.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in QUESTIONS))
    for name, rest in KINDS.items():
        (made / f"{name}.yaml").write_text(YAML.format(name=name, data=made / "data.jsonl") + rest)
    return made


@pytest.fixture(scope="module")
def model(small_run: RunConfig) -> Model:
    return build(small_run.model, 99).eval()


@pytest.fixture(scope="module")
def results(folder: Path) -> Any:
    args = {"checkpoint": str(folder)}
    tasks = TaskManager(include_path=str(folder), include_defaults=False)
    return simple_evaluate("eutectic", args, list(KINDS), task_manager=tasks, device="cpu", bootstrap_iters=0)


def log_probability(model: Model, context: str, continuation: str) -> float:
    read = torch.tensor([[0, *f"{context}{continuation}".encode()]])
    return -float(token_losses(model, read)[0, -len(continuation.encode()) :].double().sum())


def test_choices_have_the_models_own_log_probabilities(results: Any, model: Model) -> None:
    samples = results["samples"]["eutectic_choice"]
    right = []
    for question, sample in zip(QUESTIONS, sorted(samples, key=lambda sample: sample["doc_id"]), strict=True):
        expected = [log_probability(model, question["text"], question[which]) for which in ("good", "bad")]
        assert [float(nats) for nats, _ in sample["filtered_resps"]] == pytest.approx(expected, rel=1e-5)
        right.append(expected.index(max(expected)) == question["answer"])
    assert results["results"]["eutectic_choice"]["acc,none"] == sum(right) / 3


def test_whole_texts_have_the_models_bits(results: Any, model: Model) -> None:
    texts = [row["text"] + row["bad"] for row in QUESTIONS]
    bits = -sum(log_probability(model, "", text) for text in texts) / math.log(2)
    found = results["results"]["eutectic_rolling"]["bits_per_byte,none"]
    assert found == pytest.approx(bits / sum(len(text.encode()) for text in texts), rel=1e-5)


def test_what_is_written_is_what_generate_writes(results: Any, model: Model) -> None:
    expected = generate(model, BYTES, [row["text"] for row in QUESTIONS], Limits(9, ("e",)), Sampling(0.0))
    samples = sorted(results["samples"]["eutectic_writing"], key=lambda sample: sample["doc_id"])
    assert [sample["resps"][0][0] for sample in samples] == [text.text for text in expected]


def asked(kind: str, *requests: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, request, index) for index, request in enumerate(requests)]


def test_long_texts_are_read_as_far_as_the_run_was_trained(folder: Path, model: Model) -> None:
    own = Eutectic(str(folder), device="cpu")
    long = "the copper of the alloy, and the tin of it, melt at a point "
    ((nats, greedy),) = own.loglikelihood(asked("loglikelihood", (long, "ok")))
    read = torch.tensor([[*f"{long.rstrip()} ok".encode()][-33:]])  # the harness gives the space to what is scored
    assert nats == pytest.approx(-float(token_losses(model, read)[0, -3:].double().sum()), rel=1e-5)
    assert not greedy
    ids = torch.tensor([[0, *long.encode()]])  # of which the last 28 come after as many as there may be
    first, second = token_losses(model, ids[:, :33]), token_losses(model, ids[:, -33:])[:, -28:]
    (total,) = own.loglikelihood_rolling(asked("loglikelihood_rolling", (long,)))
    assert total == pytest.approx(-float(first.double().sum() + second.double().sum()), rel=1e-5)
    ((empty, _),) = own.loglikelihood(asked("loglikelihood", ("", "ok")))
    assert empty == pytest.approx(log_probability(model, "", "ok"), rel=1e-5)
    two = {"until": "zz", "max_gen_toks": 4}, {"until": [], "max_gen_toks": 2, "do_sample": True, "temperature": 2.0}
    texts = own.generate_until(asked("generate_until", ("a", two[0]), ("a", two[1]), ("tin", two[0])))
    for text, prompt in ((texts[0], "a"), (texts[2], "tin")):
        assert text == generate(model, BYTES, [prompt], Limits(4, ("zz",)), Sampling(0.0))[0].text
    assert Eutectic(str(folder), device="cpu", max_length=7).max_length == 7


def test_its_command_line_has_our_models_beside_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get_model("eutectic") is Eutectic and get_model("dummy").__name__ == "DummyLM"
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: Eutectic("gone"))
    assert main() == 1
    assert capsys.readouterr().err.startswith("eutectic: no model at gone; ")
