"""Losses of tokens against the model's own probabilities, one window at a time."""

import pytest
from zoo import perturbed, tokens

from eutectic.inference import score


def test_each_tokens_loss_is_minus_its_log_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "AT_ONCE", 20)  # two windows of nine tokens and what is left
    model, rows = perturbed("hyena+attn"), tokens(5, 10)
    found = score.token_losses(model, rows)
    assert found.shape == (5, 9)
    for row, losses in zip(rows, found, strict=True):
        for t in range(9):
            logs = model(row[None, : t + 1])[0, -1].log_softmax(0)
            assert losses[t].item() == pytest.approx(-logs[row[t + 1]].item(), abs=1e-5)
    assert score.perplexity(model, rows) == pytest.approx(float(found.mean().exp()), rel=1e-6)
