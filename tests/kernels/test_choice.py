"""EUTECTIC_KERNELS and the lines that say what was chosen, in plain and in compiled code."""

import pytest
import torch
from torch import Tensor

from eutectic.errors import UserError
from eutectic.kernels import choice


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_said", set())
    monkeypatch.delenv(choice.VARIABLE, raising=False)


@pytest.mark.parametrize(("value", "expected"), [("", None), *((name, name) for name in choice.NAMES)])
def test_a_known_name_is_forced(value: str, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice.forced() is None
    monkeypatch.setenv(choice.VARIABLE, value)
    assert choice.forced() == expected


def test_another_name_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, "Triton")
    with pytest.raises(UserError, match="EUTECTIC_KERNELS is 'Triton'; set it to reference, torch or triton, or unset"):
        choice.forced()


def test_an_op_is_spoken_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    for op, what in [("attention", "torch."), ("attention", "another."), ("convolution", "torch.")]:
        choice.say(op, what)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "attention: torch.\nconvolution: torch.\n")


def test_both_work_in_a_compiled_function(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def scaled(x: Tensor) -> Tensor:
        choice.say("scale", "three.")
        return x * (3 if choice.forced() == "torch" else 2)

    monkeypatch.setenv(choice.VARIABLE, "torch")
    compiled = torch.compile(scaled, dynamic=False, fullgraph=True, backend="eager")
    for size in (2, 3):
        assert torch.equal(compiled(torch.ones(size)), torch.full((size,), 3.0))
    assert capsys.readouterr().err == "scale: three.\n"
