"""From a table with a planted truth to the report; and the tables that are refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eutectic.analysis import compare, envelope, schema
from eutectic.analysis.archs import families
from eutectic.analysis.bootstrap import Resamples
from eutectic.analysis.fit import Fit
from eutectic.analysis.load import load, screen
from eutectic.analysis.report import Report, fits, report
from eutectic.analysis.solve import Refused
from eutectic.errors import UserError

pytestmark = pytest.mark.usefixtures("few_starts")

ARCHS = {"hyena": 0.0, "hyena*3+attn": 0.25, "hyena+attn": 0.5, "hyena+attn*3": 0.75, "attn": 1.0}
BUDGETS = (1e15, 3e15, 1e16)


def table() -> pd.DataFrame:
    """Every layout follows L(N, D) with an E that is lowest at a share of 0.4."""
    kinds = {"str": "", "int": 0, "float": 0.0}
    names = {"string": "str", "int64": "int", "double": "float"}
    blank = {c.name: kinds[names[str(c.type)]] for c in schema.RUNS}
    rows = []
    for budget in BUDGETS:
        for arch, share in ARCHS.items():
            for params in np.sqrt(budget / 6) * np.geomspace(0.3, 3, 5):
                tokens = budget / (6 * params)
                loss = 1.7 + 0.2 * (share - 0.4) ** 2 + 400 / params**0.34 + 400 / tokens**0.34
                rows.append(
                    blank
                    | {
                        "run_id": f"{len(rows):016x}",
                        "status": "done",
                        "arch": arch,
                        "attn_share": share,
                        "budget": budget,
                        "convention": "6nd",
                        "tokenizer": "bytes",
                        "params": int(params),
                        "tokens": int(tokens),
                        "flops": 6.0 * int(params) * int(tokens),
                        "d_model": int(params),
                        "loss": loss,
                        "bytes_per_token": 1.0,
                    }
                )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def found() -> Report:
    """Of the table and one run more, which diverged."""
    frame = table()
    bad = frame.iloc[:1].assign(run_id="bad", status="diverged")
    return report(screen(pd.concat([bad, frame], ignore_index=True)))


def test_the_planted_truth_is_reported(found: Report) -> None:
    assert (found.n_runs, found.seeds, list(found.shares)) == (75, (0,), list(ARCHS))
    assert found.dropped == (("bad", "hyena", 1e15, "diverged"),)
    for optimum in found.optima:
        assert optimum.status == "optimum"
        # alpha = beta and A = B, so that N* = D* = sqrt(C / 6)
        assert optimum.params == pytest.approx(np.sqrt(optimum.budget / 6), rel=0.01)
    assert found.refusals == {}
    for arch, law in found.laws.items():
        values = law.fit.values
        assert (values["alpha"], values["beta"]) == (pytest.approx(0.34, rel=0.01), pytest.approx(0.34, rel=0.01))
        assert values["E"] == pytest.approx(1.7 + 0.2 * (ARCHS[arch] - 0.4) ** 2, rel=1e-3)
        assert law.fit.certificate.refusal == "" and law.fit.certificate.gradient < 1e-6
        for optimum in law.optima:
            assert optimum.params.value == pytest.approx(np.sqrt(optimum.compute / 6), rel=0.01)
            assert optimum.params.low <= optimum.params.value <= optimum.params.high
        assert [e.value for e in law.exponents] == [pytest.approx(0.5, abs=0.01)] * 2
        assert law.agreement is not None and law.agreement.ratio == pytest.approx(1.0, abs=0.03)
    for front in found.frontiers:
        assert front.params is not None and front.tokens is not None
        assert front.params.exponent + front.tokens.exponent == pytest.approx(1.0, abs=0.02)


def test_the_best_sizes_are_reported_by_every_curve(found: Report) -> None:
    assert [other.method for other in found.other_curves] == ["cubic", "akima"]
    for other in found.other_curves:
        for one, parabola, outside in zip(other.optima, found.optima, other.outside, strict=True):
            assert (one.arch, one.budget, one.method) == (parabola.arch, parabola.budget, other.method)
            assert one.params == pytest.approx(np.sqrt(one.budget / 6), rel=0.05)
            assert parabola.params_interval is not None and one.params is not None
            low, high = parabola.params_interval
            assert outside == (not low <= one.params <= high)
        exponents = [front.params.exponent for front in other.frontiers if front.params]
        assert exponents == pytest.approx([0.5] * 5, abs=0.02)


def test_the_laws_are_audited(found: Report) -> None:
    audits = found.audits
    assert (audits.n_runs, audits.budgets) == (75, BUDGETS)
    assert {h.held for h in audits.held} == {1e16} and all(d.decades == 0.52 for d in audits.distances)
    for row in audits.distances:
        assert row.n == {"chinchilla": 25, "gamma": 25, "frontier-0": 5}.get(row.law, 25)
    # the truth is L(N, D), and a share's law of E alone follows it
    assert next(d.rms for d in audits.distances if (d.law, d.family) == ("chinchilla", False)) < 1e-3
    assert [(one.family, one.share, one.n) for one in audits.left_out] == [("hyena", r, 15) for r in ARCHS.values()]


def test_the_best_mix_is_reported(found: Report) -> None:
    (family,) = found.families
    assert (family.name, family.archs, family.refusal) == ("hyena", tuple(ARCHS), "")
    assert family.law is not None and family.law.depends
    for hybrid, optimum in zip(family.ratios, family.law.optima, strict=True):
        assert (hybrid.verdict, hybrid.share) == ("optimum", pytest.approx(0.4, abs=0.01))
        assert (optimum.verdict, optimum.share.value) == ("interior", pytest.approx(0.4, abs=0.02))
    # a cubic takes six shares
    assert [(cubic.budget, cubic.verdict) for cubic in family.cubics] == [(b, "best of those tried") for b in BUDGETS]


def test_architectures_are_compared_with_attention(found: Report) -> None:
    assert [(c.arch, c.reference) for c in found.comparisons] == [(arch, "attn") for arch in ARCHS if arch != "attn"]
    for comparison in found.comparisons:
        # attention's E is highest, so that everything reaches its loss with less
        assert all(m.value < 1 for m in comparison.multipliers)
        assert comparison.crossover.share < 0.5
    # 0.5 and 0.25 are nearest to 0.4 and miss it by 0.1 and 0.15
    assert found.wins["hyena+attn"] == (1.0, 1.0, 1.0)


def test_mixers_make_families() -> None:
    archs = ["hyena", "mamba2*3+attn", "attn", "hyena+attn", "[mamba2|attn]", "hyena+mamba2"]
    assert families(archs) == {
        "hyena": ("hyena", "attn", "hyena+attn"),
        "mamba2": ("mamba2*3+attn", "attn", "[mamba2|attn]"),
        "hyena+mamba2": ("attn", "hyena+mamba2"),
    }


def test_what_cannot_be_fitted_says_why() -> None:
    """One budget: no law, no comparison, and the sentence that says so; the isoFLOP optima stand."""
    frame = table()
    found = report(screen(frame[frame["budget"] == BUDGETS[0]]))
    assert (found.laws, found.comparisons, found.wins) == ({}, (), {})
    assert "needs 8 points or more; there are 5" in found.refusals["attn"]
    assert [o.status for o in found.optima] == ["optimum"] * 5
    assert "needs two budgets or more, and all 25 points are of one" in found.families[0].refusal


def test_an_architecture_whose_resamples_fail_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more than that: the others have their laws and comparisons."""
    frame = table()
    runs, drawn, original = screen(frame[frame["arch"].str.count(r"\*") == 0]), [], compare.wild

    def fails_for_the_third(fit: Fit, signs: np.ndarray) -> Resamples:
        drawn.append(fit)
        if len(drawn) == 3:
            raise Refused("only 861 of 1000 resamples of chinchilla converged; it has no intervals.")
        return original(fit, signs)

    monkeypatch.setattr(compare, "wild", fails_for_the_third)
    found = report(runs)
    assert set(found.laws) == {*runs.archs} - {runs.archs[2]} and len(found.laws) == len(found.comparisons) + 1 == 2
    assert found.refusals == {runs.archs[2]: "only 861 of 1000 resamples of chinchilla converged; it has no intervals."}


def test_curves_make_envelopes() -> None:
    """A run of each size whose curve is its loss at every compute: the envelope's exponent of N is the law's."""
    frame = table()[:40].assign(arch="attn", budget=1e17)
    curves = []
    for k, params in enumerate(np.geomspace(1e6, 1e8, 40)):
        frame.loc[k, "params"] = int(params)
        compute = np.geomspace(1e14, 1e17, 200)
        tokens = compute / (6 * params)
        losses = 1.7 + 400 / params**0.34 + 400 / tokens**0.34
        own = {"run_id": frame.loc[k, "run_id"], "tokens": tokens, "flops": compute, "train_loss": losses}
        curves.append(pd.DataFrame(own))
    found = report(screen(frame, pd.concat(curves)))
    law = found.envelopes[0].frontier.params
    assert law is not None and law.exponent == pytest.approx(0.5, abs=0.01)
    assert found.to_dict()["envelopes"][0]["frontier"]["params"]["exponent"] == law.exponent


def test_envelopes_begin_at_a_tenth_of_the_smallest_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's loss before that is far below its law's: only where such computes counted would it be the lowest."""
    frame = table()[:2].assign(arch="attn", budget=1e17)
    curves = []
    for k in range(2):
        flops = np.geomspace(1e14, 1e17, 200)
        losses = np.where((flops < 9e15) & (k == 1), 1.0, 3.0 - k * 0.1 * np.log10(flops / 1e17))
        own = {"run_id": frame["run_id"].iloc[k], "tokens": flops / 6e6, "flops": flops, "train_loss": losses}
        curves.append(pd.DataFrame(own))
    runs = screen(frame, pd.concat(curves))
    (found,) = envelope.of_sweep(runs)
    assert found.compute.min() == pytest.approx(1e16, rel=0.05) and found.loss.min() > 2.9
    monkeypatch.setattr(envelope, "WARM", 0.01)
    assert envelope.of_sweep(runs)[0].loss.min() == pytest.approx(1.0)


def test_the_report_is_plain_json(found: Report) -> None:
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["laws"]["attn"]["candidate"]["fit"]["values"]["alpha"] == pytest.approx(0.34, rel=0.01)
    assert set(plain["laws"]["attn"]["candidate"]["fit"]["certificate"]) >= {"gradient", "basins", "condition"}
    assert "theta" not in plain["laws"]["attn"]["candidate"]
    law = plain["families"][0]["law"]
    assert law["drawn"][0] == {"law": law["fit"]["law"]}


def test_order_of_rows_does_not_matter(found: Report) -> None:
    shuffled = fits(screen(table().sample(frac=1.0, random_state=0).reset_index(drop=True)))
    for a, b in zip(found.optima, shuffled.optima, strict=True):
        assert (a.arch, a.budget, a.status) == (b.arch, b.budget, b.status)
        assert a.params == pytest.approx(b.params)
    for arch, law in found.laws.items():
        assert law.fit.values == pytest.approx(shuffled.laws[arch].fit.values, rel=1e-5)


@pytest.mark.parametrize("column", ["corpus_sha256", "tokenizer_sha256", "seq_len", "convention"])
def test_runs_that_do_not_compare_are_refused(column: str) -> None:
    frame = table()
    frame.loc[3, column] = 7 if column == "seq_len" else "other"
    with pytest.raises(UserError, match=f"these runs differ in {column}"):
        screen(frame)


def test_nothing_to_fit_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the 75 runs ended with a loss"):
        screen(table().assign(status="diverged"))
    with pytest.raises(UserError, match="run `eutectic sweep` first"):
        load(tmp_path)
    (tmp_path / "runs.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"runs\.parquet cannot be read"):
        load(tmp_path)
