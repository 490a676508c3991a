"""Means over documents, paired with their shortest context, and what is drawn of them."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from eutectic.analysis.context import summary
from eutectic.analysis.figures import style
from eutectic.analysis.figures.context import figure

CONTEXTS = (0, 256, 512, 1024)


def planted(documents: int = 40, noise: float = 0.02) -> pd.DataFrame:
    """Documents that differ by half a nat, and gain 0.1 nats a doubling, or lose 0.05, give or take `noise`; the first
    two are too short for the longest context."""
    random = np.random.default_rng(0)
    rows = []
    for model, arch, slope in (("m1", "hyena", -0.1), ("m2", "attn", 0.05)):
        for k, level in enumerate(random.normal(3, 0.5, documents)):
            for doubling, context in enumerate(CONTEXTS[: 3 if k < 2 else 4]):
                nats = level + slope * doubling + (noise * random.normal() if doubling else 0)
                about = {"model": model, "arch": arch, "seq_len": 512, "source": "validation", "targets": 64}
                told = {"document": f"d{k}", "length": 64 + context, "context": context, "nats": nats}
                rows.append(about | told | {"bits_per_byte": nats / 3, "device": "cpu"})
    return pd.DataFrame(rows)


def test_changes_are_of_the_same_documents() -> None:
    """The level's spread of half a nat does not come into them."""
    table = planted()
    means = summary(table).set_index(["model", "context"])
    assert means["documents"].tolist() == [40, 40, 40, 38] * 2
    for (model, context), row in means.iterrows():
        own = table[table["model"] == model].pivot(index="document", columns="context", values="nats")
        pairs = own[[0, context]].dropna() if context else own[[0]]
        assert row["change"] == pytest.approx((pairs[context] - pairs[0]).mean(), abs=1e-12)
        assert row["nats"] == pytest.approx(pairs[context].mean())
        assert row["bits_per_byte"] == pytest.approx(row["nats"] / 3)
        assert row["low"] <= row["change"] <= row["high"]
        if context:  # a normal mean's interval, as the bootstrap's must be near to
            half = 1.96 * (pairs[context] - pairs[0]).std() / len(pairs) ** 0.5
            assert row["high"] - row["low"] == pytest.approx(2 * half, rel=0.15)


def test_of_one_document_there_is_no_interval() -> None:
    means = summary(planted(3).query("document == 'd2'"))
    assert means["low"].isna().all() and means["high"].isna().all()
    assert means["change"].notna().all()


def test_the_figure_shows_documents_means_and_the_trained_length() -> None:
    table = planted(5)
    means = summary(table)
    with matplotlib.rc_context(style.RC):
        drawn = figure(table)
        drawn.canvas.draw()
    attn, hyena, both = drawn.axes
    assert [axes.get_title() for axes in (attn, hyena)] == ["attn", "hyena"]
    for axes, model in ((hyena, "m1"), (attn, "m2")):
        own = means[means["model"] == model]
        (container,) = axes.containers
        points = container.lines[0].get_xydata()
        assert points.tolist() == np.stack([[64, 256, 512, 1024], own["change"]], 1).tolist()
        thin = [line for line in axes.get_lines() if line.get_linewidth() == 0.5]
        assert sorted(len(line.get_xdata()) for line in thin) == [3, 3, 4, 4, 4]
        assert axes.get_ylabel() == ("change of loss (nats per token)" if model == "m2" else "")
    for axes in drawn.axes:
        assert axes.get_xlabel() == "context (tokens before the targets)"
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "256", "512", "1k"]
        (dotted,) = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
        assert set(dotted.get_xdata()) == {512}
    whole = table[~table["document"].isin(["d0", "d1"])]
    lines = {line.get_label(): line.get_ydata() for line in both.get_lines() if line.get_label() in ("hyena", "attn")}
    for arch, heights in lines.items():
        assert heights == pytest.approx(whole[whole["arch"] == arch].groupby("context")["nats"].mean().to_numpy())
    assert len(lines) == 2
    caption = " ".join(drawn.get_supxlabel().split())
    assert "the last 64 tokens of held-out documents (validation)" in caption
    assert "the 3 documents that are long enough for every context. 2 models, 3 to 5 documents a point" in caption


def test_models_alike_are_told_apart() -> None:
    table = planted(3).assign(arch="hyena")
    assert [axes.get_title() for axes in figure(table).axes[:2]] == ["hyena, m1", "hyena, m2"]
    nameless = planted(3).assign(arch=None, seq_len=np.nan)
    assert [axes.get_title() for axes in figure(nameless).axes[:2]] == ["m1", "m2"]
