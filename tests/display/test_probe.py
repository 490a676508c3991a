"""Tables of scores and correlations: each number with its interval, chance above it, and what cannot be told said."""

import io

import numpy as np
import pandas as pd
import trials_table
from rich.console import Console

from eutectic.analysis import rank
from eutectic.analysis.probe import means, scores
from eutectic.display.probe import show_correlations, show_scores


def trials() -> pd.DataFrame:
    control = trials_table.trials(("attn",), {"recall(vocab=16,length=128)": 0.125}, level={"attn": 0.1}, control=True)
    return pd.concat([trials_table.trials(), control], ignore_index=True)


def console() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=120, highlight=False, markup=False), out


def printed(found: pd.DataFrame) -> str:
    shown, out = console()
    show_scores(shown, found)
    return out.getvalue()


def cells(text: str) -> dict[str, list[list[str]]]:
    """Rows by their first cell."""
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("│"):
            name, *rest = [cell.strip() for cell in line.strip("│").split(" │")]
            found.setdefault(name, []).append(rest)
    return found


def test_scores_have_intervals_and_chance() -> None:
    found = scores(trials())
    text = printed(found)
    assert "…" not in text and max(map(len, text.splitlines()[:20])) <= 120
    assert text.count("chance 0.125") == 3 and "chance 0.00781" in text
    first, second = cells(text)["[mamba2|attn]"]
    own = found[(found["arch"] == "[mamba2|attn]") & (found["label"] == "recall")].iloc[0]
    mean = means(found).table.set_index("arch").loc["[mamba2|attn]"]
    shown = [f"{one['accuracy']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" for one in (mean, own)]
    assert first[:2] == shown and len(first) == 4 and len(second) == 3
    assert cells(text)["attn (control)"][0][0] == "" and "answers drawn anew" in text and "seeds: 3." in text


def test_intervals_are_shown_within_what_accuracy_can_be() -> None:
    level = {"attn": 1.0, "hyena": 0.0}
    found = scores(trials_table.trials(("attn", "hyena"), {"recall(vocab=16,length=128)": 0.1}, level=level))
    assert found["high"].max() > 1 and found["low"].min() < 0
    rows = cells(printed(found))
    assert all(cell.endswith(", 1.00]") for cell in rows["attn"][0])
    assert all(" [0.00, " in cell for cell in rows["hyena"][0])
    alone = cells(printed(scores(trials_table.trials(("attn",), seeds=1))))
    assert "[" not in str(alone["attn"][0][0])


def test_what_is_not_in_the_mean_is_said() -> None:
    found = scores(trials())
    text = printed(found.drop(found.index[(found["arch"] == "h3") & (found["label"] == "recall")]))
    assert "recall is not in the mean, not tried by h3." in text


def test_correlations_are_printed_with_their_sentences() -> None:
    archs = (*trials_table.ARCHS[:6], "retnet")
    losses = pd.DataFrame({"arch": archs, "budget": 1e15, "loss": [3.0, 3.3, 3.1, 3.2, 3.5, np.nan, 3]})
    losses["status"] = ["optimum"] * 5 + ["beyond grid", "optimum"]
    found = rank.correlation(scores(trials()), losses)
    shown, out = console()
    show_correlations(shown, found, "large", "state", 2)
    text = out.getvalue()
    row = found.table.iloc[0]
    interval = f"[{row['tau_low']:.2f}, {row['tau_high']:.2f}]"
    assert f"│   1e15 │ mean           │ {row['tau']:.2f} {interval}" in text
    assert text.count("cannot be told from none with 5 architectures.") == 7
    assert "No compute-optimal loss: gla, " in text and "No scores: retnet." in text
    assert "Left out at 1e15 FLOPs: mamba2+attn (beyond grid)." in text
    assert "Mean: of recall, fuzzy_recall," in text and "loss of large: 2 layers, equal state" in text
