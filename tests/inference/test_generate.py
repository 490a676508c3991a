"""Texts continued by a small model, and how their tokens are drawn."""

import numpy as np
import pytest
import torch
from scipy import stats
from zoo import perturb, shape

from eutectic.arch.model import Model, build
from eutectic.inference.generate import Continuation, Limits, generate
from eutectic.inference.sample import Sampling, probabilities, sample
from eutectic.train import tokenizer

BYTES = tokenizer.make("bytes", lambda: iter(()))
GREEDY = Sampling(temperature=0)
PROMPTS = ["a", "The melt", "", "of tin and", "copper", "x" * 70]


@pytest.fixture(scope="module")
def model() -> Model:
    return perturb(build(shape("[hyena*3|attn]+mamba2", vocab_size=256), 0).double(), 0.3).eval()


def test_the_likeliest_tokens_are_those_of_the_forward_pass(model: Model) -> None:
    (text,) = generate(model, BYTES, ["The melt"], Limits(20), GREEDY)
    ids = [0, *b"The melt"]
    for token in text.ids:
        assert int(model(torch.tensor([ids]))[0, -1].argmax()) == token
        ids.append(token)
    assert (len(text.ids), text.ended) in [(20, "length"), (len(text.ids), "document")]


@pytest.mark.parametrize("by", [GREEDY, Sampling(1.5, seed=3), Sampling(2.0, top_k=9, top_p=0.8)])
def test_what_is_beside_a_text_changes_nothing(model: Model, by: Sampling) -> None:
    """Six texts in two rows, of which each goes to the next text when one ends, and in six."""
    one, two, six = (generate(model, BYTES, PROMPTS, Limits(30, ("e",)), by, rows=rows) for rows in (1, 2, 6))
    assert [text.ids for text in one] == [text.ids for text in two] == [text.ids for text in six]
    assert [text.number for text in two] == list(range(6))
    assert len({tuple(text.ids) for text in two}) > 1


def test_seeds_and_texts_draw_apart(model: Model) -> None:
    drawn = [generate(model, BYTES, ["tin", "tin"], Limits(12), Sampling(3.0, seed=seed)) for seed in (0, 1)]
    assert len({tuple(text.ids) for texts in drawn for text in texts}) == 4


def test_what_is_heard_is_the_text(model: Model) -> None:
    heard: dict[int, str] = {}

    def hear(number: int, text: str) -> None:
        heard[number] = heard.get(number, "") + text

    texts = generate(model, BYTES, PROMPTS, Limits(25, ("ab", "q")), Sampling(2.0), 3, hear)
    assert {text.number: text.text for text in texts if text.text} == heard


def continued(text: str, stop: tuple[str, ...], tokens: int = 99) -> tuple[str, str, list[str]]:
    told = Continuation(0, BYTES.decoder())
    heard = []
    for byte in text.encode():
        heard.append(told.add(byte, BYTES.ends, Limits(tokens, stop)))
        if told.ended:
            break
    return told.text, told.ended, heard


def test_a_text_ends_before_a_stop_string() -> None:
    assert continued("one two three", ("two",))[:2] == ("one ", "stop")
    assert continued("abababc", ("ababc",))[:2] == ("ab", "stop")
    assert continued("a first b", ("second", "st b"))[:2] == ("a fir", "stop")
    assert continued("one\0two", ())[:2] == ("one", "document")
    assert continued("one two", (), 3)[:2] == ("one", "length")
    assert continued("one two", ("onex",), 3)[:2] == ("one", "length")


def test_text_is_held_while_it_may_be_a_stop_string() -> None:
    assert continued("ab aba!", ("abc",))[2] == ["", "", "ab ", "", "", "ab", "a!"]


def test_a_character_of_several_bytes_comes_whole() -> None:
    assert continued("aé€!", ())[2] == ["a", "", "é", "", "", "€", "!"]


def test_bpe_decodes_what_it_encoded() -> None:
    text = "Melting points fall — naïve, 東京 🜚 and back.\n  two"
    bpe = tokenizer.make("bpe-300", lambda: iter([text * 3]))
    decode = bpe.decoder()
    parts = [decode(int(token)) for token in bpe.encode([text])[0]]
    assert "".join(parts) == text
    assert len(parts) > 5


def logits() -> torch.Tensor:
    return torch.tensor([[0.1, 2.0, 1.0, -1.0, 2.0], [3.0, 0.0, 0.0, 0.0, 0.0]])


def test_probabilities_are_the_formulas() -> None:
    expected = np.exp(logits().double().numpy() / 0.7)
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities(logits(), Sampling(0.7)), expected, rtol=1e-12)
    assert probabilities(logits(), GREEDY).tolist() == [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert probabilities(logits()[1:], Sampling(1e-320)).tolist() == [[1, 0, 0, 0, 0]]
    kept = probabilities(logits(), Sampling(top_k=3))
    assert (kept > 0).tolist() == [[False, True, True, False, True], [True] * 5]
    # of the first row the likeliest two hold .78, three .92, four .98; of the second one alone .83, and four .96
    for top_p, counts in ((0.3, [1, 1]), (0.72, [2, 1]), (0.8, [3, 1]), (0.95, [4, 4])):
        kept = probabilities(logits(), Sampling(top_p=top_p))
        assert (kept > 0).sum(1).tolist() == counts
        torch.testing.assert_close(kept.sum(1), torch.ones(2).double())


def test_draws_have_the_probabilities() -> None:
    n = 4000
    drawn = sample(logits()[:1].expand(n, -1), Sampling(), [(0, k) for k in range(n)])
    p = probabilities(logits()[:1], Sampling())[0].numpy()
    assert stats.chisquare(np.bincount(drawn, minlength=5), n * p).pvalue > 1e-3
