"""What to train with a compute budget, in tables and sentences."""

import math

from rich.console import Console
from rich.table import Table

from eutectic.analysis.compare import Estimate
from eutectic.analysis.predict import Answer, Duel, Rung
from eutectic.analysis.settings import Basis
from eutectic.display.tables import table_of
from eutectic.display.words import Text, capped, compute, interval, short

DECIDED = 0.95  # of resamples
SETTINGS = {"lr": "learning rate", "batch": "batch"}
WORDS = {"params": "parameters", "tokens": "tokens"}


def show_answer(console: Console, answer: Answer, source: str) -> None:
    """What to train, what else there was, and how far to trust it. source: where the compute is from, or empty."""
    console.print(_answer_table(answer))
    console.print(_losses_table(answer))
    console.print(_fits_table(answer))
    if answer.duel:
        console.print(_duel_table(answer.duel, answer.compute))
    for line in [f"{compute(answer.compute)} FLOPs are {source}."] * bool(source) + _answer_notes(answer):
        console.print(line, markup=False)


def _answer_table(answer: Answer) -> Table:
    left = ("", "95% interval", "beyond the runs")
    title = f"with {compute(answer.compute)} FLOPs: train {answer.arch}"
    table = table_of("", "answer", *left[1:], left=left, title=title, title_justify="left")
    reach, ends = answer.reach, dict.fromkeys(_shape(rung) for rung in answer.rungs[1:])
    off = "" if answer.rungs[0].where == "ladder" else f"{answer.rungs[0].where} the ladder"

    def row(name: str, estimate: Estimate, most: float, away: str, text: Text = short) -> None:
        table.add_row(name, capped(estimate.value, most, text), interval(estimate, most, text), away)

    by_law = [share.optimum.share for share in answer.shares if share.optimum is not None]
    shares = f"{_best_of(by_law[0])} best by the law of mixes" if by_law else ""
    table.add_row("share of attention", f"{answer.attn_share:.2f}", shares, "")
    row("parameters", answer.params, 1e12, _away(reach.params))
    row("training tokens", answer.tokens, 1e15, _away(reach.tokens))
    table.add_row("layers x width", _shape(answer.rungs[0]), " to ".join(ends), off)
    row("peak learning rate", answer.lr, 1.0, _along(answer.basis["lr"]), "{:.2g}".format)
    row("tokens a batch", answer.batch, 1e12, _along(answer.basis["batch"]))
    row("loss, nats a token", answer.loss, 100.0, f"FLOPs {_away(reach.compute)}", "{:.3f}".format)
    row("perplexity", answer.perplexity, 1e6, f"FLOPs {_away(reach.compute)}")
    return table


def _losses_table(answer: Answer) -> Table:
    title = f"each at its best size with {compute(answer.compute)} FLOPs"
    table = table_of("architecture", "loss", "95% interval", "lowest in", title=title, title_justify="left")
    for arch, loss in answer.losses.items():
        cells = capped(loss.value, 100.0, "{:.3f}".format), interval(loss, 100.0, "{:.3f}".format)
        table.add_row(arch, *cells, f"{answer.wins[arch]:.0%} of resamples")
    return table


def _fits_table(answer: Answer) -> Table:
    """The laws that all this is by: what each minimizes, over how many runs, and how sure its minimum is."""
    names = ("law", "runs", "delta", "objective", "gradient", "starts in best", "minima", "condition")
    table = table_of(
        "of",
        *names,
        left=("of", "law"),
        title="the laws, by Huber loss of ln L with delta twice the median error",
        title_justify="left",
    )
    mixes = {f"mixes of {share.family}": share.fit for share in answer.shares if share.fit}
    for name, fit in (answer.fits | mixes).items():
        how = fit["certificate"]
        table.add_row(
            name,
            fit["law"],
            str(fit["n"]),
            f"{fit['delta']:.2g}",
            f"{fit['objective']:.3g}",
            f"{how['gradient']:.0e}",
            f"{round(how['share_best'] * how['starts'])} of {how['starts']}",
            str(how["basins"]),
            f"{how['condition']:.0e}",
        )
    return table


def _duel_table(duel: Duel, at: float) -> Table:
    title = f"{duel.a} against {duel.b} with {compute(at)} FLOPs"
    table = table_of("", duel.a, duel.b, left=("",), title=title, title_justify="left")

    def cell(estimate: Estimate, text: Text = "{:.3f}".format) -> str:
        often = f" in {estimate.share:.0%}" if estimate.share < DECIDED else ""
        return f"{capped(estimate.value, 1e3, text)} {interval(estimate, 1e3, text)}".rstrip() + often

    table.add_row("loss at its best size", *map(cell, duel.losses))
    table.add_row("the lower in", f"{duel.wins:.0%} of resamples", f"{1 - duel.wins:.0%}")
    table.add_row(f"FLOPs to reach the loss of {duel.b}, over its own", cell(duel.multiplier, "{:.2g}".format), "1")
    table.add_row("nats lost when four times too small", *(cell(small) for small, _ in duel.missized))
    table.add_row("nats lost when four times too large", *(cell(large) for _, large in duel.missized))
    meets = duel.crossover
    where = "nowhere seen" if math.isnan(meets.value) else f"{compute(meets.value)} {interval(meets, 1e30, compute)}"
    table.add_row("they change places at, FLOPs", where, f"seen in {meets.share:.0%} of resamples")
    return table


def _answer_notes(answer: Answer) -> list[str]:
    lines, reach, runner_up = [], answer.reach, list(answer.losses)[1:2]
    win = answer.wins[answer.arch]
    for other in runner_up:
        verdict = f"{answer.arch} is lowest in {win:.0%} of resamples; next is {other}, in {answer.wins[other]:.0%}."
        lines.append(verdict if win >= DECIDED else f"Not decided: {verdict}")
    for share in answer.shares:
        law = f"the {share.family} family's law of loss against the share of attention"
        if share.optimum is None:
            lines.append(f"No best share by {law}: {share.refusal or 'the runs show no dependence on it'}.")
            continue
        best, verdict = share.optimum.share, share.optimum.verdict
        where = f"{capped(best.value, 1.0, '{:.2f}'.format)} {interval(best, 1.0, '{:.2f}'.format)} ({verdict})"
        apart = "" if best.low <= answer.attn_share <= best.high else ", at odds with the choice above"
        lines.append(f"By {law} ({share.law}, p = {share.p_none:.1g} against none) the best is {where}{apart}.")
    side = "beyond" if reach.compute > 0 else "below"
    place = f"{abs(reach.compute):.1f} decades {side}" if reach.compute else "within"
    trained = f"the budgets trained, {compute(answer.budgets[0])} to {compute(answer.budgets[-1])}"
    lines.append(f"{compute(answer.compute)} FLOPs are {place} {trained}. {_tried(answer)}")
    if any(rung.where == "beyond" for rung in answer.rungs):
        lines.append("Shapes beyond the recipes' ladder keep its last rung's width over depth.")
    lines += _settings_notes(answer)
    untuned = [name for target, name in SETTINGS.items() if not answer.basis[target].tuned]
    verb = "continue" if len(untuned) > 1 else "continues"
    rule = f"{' and '.join(untuned).capitalize()} {verb} what these runs were trained with; not tuned. "
    lines.append(
        f"{rule * bool(untuned)}Intervals take the law for true, and know nothing of where it ends. "
        f"{answer.n_runs} runs{_dropped(answer)}, FLOPs by {answer.convention}, tokens of {answer.tokenizer}."
    )
    return lines + [f"{arch} was left out: {refusal}" for arch, refusal in answer.refusals.items()]


def _dropped(answer: Answer) -> str:
    if not answer.dropped:
        return ""
    return f" ({', '.join(f'{n} more not used: {reason}' for reason, n in answer.dropped.items())})"


def _settings_notes(answer: Answer) -> list[str]:
    lines = [_tuning(name, answer.basis[target]) for target, name in SETTINGS.items() if answer.basis[target].varied]
    most = max(answer.basis.values(), key=lambda basis: basis.varied)
    if 0 < most.varied < most.cells:
        lines.append(
            f"Only {most.varied} of {most.cells} cells of {answer.arch} were trained at several settings and fitted at "
            "the best: beside them the others look worse than they need be, which moves the best size."
        )
    return lines


def _tuning(name: str, basis: Basis) -> str:
    """Of a setting tried at several values: where its law comes from, and what missing the best costs."""
    over, found = _variables(basis), "1 cell" if basis.optima == 1 else f"{basis.optima} cells"
    found += " of this architecture (a size and its tokens)"
    if basis.tuned:
        where = f" in {WORDS[basis.beyond.over]}" if len(basis.over) > 1 else ""
        away = f", {_away(basis.beyond.decades)} of them{where}" if basis.beyond.decades else ""
        text = f"The {name} is tuned: by a power law of {over} through the best of {found}{away}."
    else:
        text = f"No law of the {name}: {found} with an optimum in it, and three that differ in {over} are needed."
    if basis.nearest is None:
        return text
    where = f"{short(basis.nearest.params)} parameters and {short(basis.nearest.tokens)} tokens"
    return f"{text} Twice or half the best costs {basis.nearest.twice:.2g} nats at the nearest, {where}."


def _tried(answer: Answer) -> str:
    reach = answer.reach
    if not reach.n:
        return "No budget above two others could be held out, so nothing tells how wrong the law goes there."
    further = ", and this asks for more" if abs(reach.compute) > 1.5 * reach.audited else ""
    better = f" ({reach.best_law} came closer)" if reach.best_law != "chinchilla" else ""
    return (
        f"Held-out budgets {reach.audited:.1f} decades up were off by {reach.rms:.1%} of their loss (rms of {reach.n} "
        f"runs){better}{further}."
    )


def _away(decades: float) -> str:
    if decades == 0:
        return "within"
    times = short(10 ** abs(decades))
    return f"{times} times the largest" if decades > 0 else f"1/{times} of the smallest"


def _along(basis: Basis) -> str:
    """Where an answer lies in what its setting follows; of two variables, in the one that is further out."""
    out = basis.beyond
    return f"{WORDS[out.over]} {_away(out.decades)}" if out.decades else f"{_variables(basis)} within"


def _variables(basis: Basis) -> str:
    return " and ".join(WORDS[name] for name in basis.over)


def _best_of(share: Estimate) -> str:
    return f"{share.value:.2f} {interval(share, 1.0, '{:.2f}'.format)}"


def _shape(rung: Rung) -> str:
    return f"{rung.n_layers} x {rung.d_model}" if rung.n_layers else "unknown"
