"""The options of the commands that are about trained models."""

import argparse
from pathlib import Path

from eutectic.values import as_count, as_number, as_words


def add_options(name: str, command: argparse.ArgumentParser) -> None:
    """Of a command of this name, where it is about trained models."""
    if name == "generate":
        _generating(command)
    if name == "graft":
        _grafting(command)
    if name == "export":
        command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a trained run's folder")
        command.add_argument("folder", type=Path, metavar="FOLDER", help="to be made")
    if name == "context":
        _probing(command)
    if name == "filters":
        words = "trained runs' folders, or exported ones; one or more; with --name, rows are kept for figures"
        command.add_argument("checkpoint", type=Path, nargs="+", metavar="CHECKPOINT", help=words)
    if name == "distill":
        _distilling(command)
    if name == "prune":
        _pruning(command)
    if name == "cache":
        _caching(command)


def _generating(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="a trained run's folder, an exported one, or one of Hugging Face's form",
    )
    add("--prompt", action="append", required=True, metavar="TEXT", help="text to continue; may be given again")
    add(
        "--tokens", type=as_count("--tokens", "writes"), default=200, metavar="N", help="at most so many (default: 200)"
    )
    add(
        "--temperature",
        type=as_number(float, "--temperature"),
        default=1.0,
        metavar="T",
        help="of the draws (default: 1)",
    )
    add("--greedy", action="store_true", help="take the likeliest token each time")
    add("--top-k", type=as_number(int, "--top-k"), default=0, metavar="K", help="draw among so many tokens; 0: all")
    add(
        "--top-p",
        type=as_number(float, "--top-p"),
        default=1.0,
        metavar="P",
        help="draw among the likeliest of so much",
    )
    add("--seed", type=as_number(int, "--seed"), default=0, metavar="S", help="of the draws (default: 0)")
    add("--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given again")
    add("--rows", type=as_count("--rows", "continues"), default=8, metavar="N", help="texts at once (default: 8)")
    add("--device", choices=("cpu", "cuda"), default="cpu")


def _grafting(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    words = "a trained run's folder, an exported or pruned one, or one of Hugging Face's form"
    add("checkpoint", type=Path, metavar="CHECKPOINT", help=words)
    add("--archs", nargs="+", default=[], type=as_words, metavar="LAYOUT", help="to graft, e.g. hyena*3+attn")
    add("--source", help="text to regress, train and judge on, by the model's own tokenizer (default: the run's)")
    add("--recipe", help="by whose rules it is trained on (default: the run's; of a model without a run, quick)")
    words = "to train on with, e.g. 1e14 3e14"
    add("--budget", "--budgets", nargs="+", default=[], type=as_words, metavar="FLOPS", help=words)
    words = "of training text that new mixers are regressed on (default: a tenth of the run's, else of the text)"
    add("--tokens", type=as_count("--tokens", "teaches"), metavar="N", help=words)
    add("--seeds", nargs="+", default=[], type=as_words, metavar="SEED", help="of data order (default: the run's + 1)")
    add("--scratch", action="store_true", help="train the same from scratch as well, with as many FLOPs in all")
    add("--scan", action="store_true", help="only say what replacing each layer's mixer alone by --to-mixer costs")
    add("--to-mixer", metavar="MIXER", help="e.g. hyena")


def _probing(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    words = "trained runs' folders, exported ones, or those of Hugging Face's form; one or more"
    add("checkpoint", type=Path, nargs="+", metavar="CHECKPOINT", help=words)
    add("--source", help="documents, less those trained on; by default those that the runs' sweeps held out")
    words = "tokens at the end of each document whose loss is measured (default: 2048)"
    add("--targets", type=as_count("--targets", "measures"), default=2048, metavar="N", help=words)
    words = "tokens before them; by default 0, 256 and its doubles, as far as half of the documents reach"
    add("--contexts", nargs="+", default=[], type=as_words, metavar="N", help=words)
    words = "at most so many, the longest (default: 32)"
    add("--documents", type=as_count("--documents", "measures"), default=32, metavar="N", help=words)
    add("--device", choices=("cpu", "cuda"), default="cpu")


def _distilling(command: argparse.ArgumentParser) -> None:
    _shrinking(command)
    add = command.add_argument
    add("--order", type=as_count("--order", "keeps"), required=True, metavar="D", help="real states a channel, at most")
    words = "share of the Hankel singular values that a channel's order may leave out (default: 1e-3)"
    add("--tolerance", type=as_number(float, "--tolerance"), default=1e-3, metavar="T", help=words)


def _pruning(command: argparse.ArgumentParser) -> None:
    _shrinking(command)
    words = "rise of perplexity to allow (default: 0.01, one percent), judged by half of the held-out text"
    command.add_argument("--budget", type=as_number(float, "--budget"), default=0.01, metavar="B", help=words)


def _shrinking(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="a trained run's folder, or an exported one; with --name, rows are kept",
    )
    add("--source", help="text to judge by, the model's own tokenizer's (default: what the run's sweep held out)")
    add("--to", type=Path, required=True, metavar="FOLDER", help="where the new model goes, to be named as a run is")
    add("--device", choices=("cpu", "cuda"), default="cpu")


def _caching(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--archs", nargs="+", required=True, type=as_words, metavar="LAYOUT", help="e.g. attn 'hyena*3+attn'")
    add("--lengths", nargs="+", default=[["32768"]], type=as_words, metavar="L", help="tokens (default: 32768)")
    add("--shape", default="7b", help="7b, of StripedHyena-7B (default), or LAYERSxWIDTHxHEADSxKV_HEADS")
    add("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the model (default: bfloat16)")
