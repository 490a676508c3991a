"""Slurm's options as users give them, the job a process is in, and what becomes of jobs as Slurm tells it."""

import contextlib
import math
import os
import pwd
import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eutectic.errors import UserError

Options = dict[str, Any]

LINES = ("setup", "teardown", "srun_args")
NUMBERS = {"array_parallelism": 1, "nodes": 1, "signal_delay_s": 0}  # and the least that each may be
# what a sweep's script has for itself, and submitit's words for Slurm's: what to say instead
INSTEAD = {
    "array": "--workers N and --slurm array_parallelism=N",
    "output": "`eutectic status`, which names the logs",
    "error": "`eutectic status`, which names the logs",
    "open_mode": "nothing: logs are appended to",
    "wrap": "--slurm 'setup=COMMAND'",
    "mem_gb": "--slurm mem=8GB",
    "timeout_min": "--slurm time=30",
}
COLLECTOR = "eutectic-collect"  # the name of the job that follows an array
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD")
GOING = (*WAITING, "RUNNING", "SUSPENDED", "STOPPED", "COMPLETING", "COMPLETED")
_seen_running: set[str] = set()
ENDS = {
    "BOOT_FAIL": "its node did not start",
    "DEADLINE": "its deadline passed",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it was killed for its memory",
    "PREEMPTED": "it was preempted and not requeued",
    "TIMEOUT": "it reached its time limit",
}


def options(words: Iterable[str]) -> Options:
    """KEY=VALUE words, by submitit's names where it has one.

    A key without a value is a switch; script lines are lists, of one or several words. Raises UserError for a value
    that cannot be.
    """
    found: Options = {}
    lines: dict[str, list[str]] = {}
    for word in words:
        key, sign, text = word.partition("=")
        name = key.replace("-", "_")
        if name in INSTEAD:
            raise UserError(f"--slurm {key} cannot be set for jobs of a sweep; use {INSTEAD[name]}.")
        if sign and not text:
            raise UserError(f"--slurm {word} has no value; give one, or leave it out.")
        if name in LINES:
            lines.setdefault(name, []).extend(text.splitlines())
        elif name in NUMBERS and not (text.isdigit() and int(text) >= NUMBERS[name]):
            raise UserError(f"--slurm {key}={text} must be a whole number, {NUMBERS[name]} or more.")
        elif name == "time":
            found[name] = _minutes(text)
        else:
            found[name] = int(text) if text.isdigit() else text or True
    return found | lines


def _minutes(text: str) -> int:
    """Of a time limit in one of Slurm's forms: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S."""
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", text):
        raise UserError(f"--slurm time={text} is no time limit of Slurm's; write minutes, 4:00:00 or 1-12.")
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    before = 0 if days or len(parts) == 3 else 1  # units that are left out ahead of the first: hours
    hours, minutes, seconds = ([0] * before + parts + [0, 0])[:3]
    return math.ceil(((int(days or 0) * 24 + hours) * 60) + minutes + seconds / 60)


def identity() -> dict[str, Any]:
    """The job that this process is in: its id, that of its array, and how often it was requeued; empty outside one."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return {}
    array, life = os.environ.get("SLURM_ARRAY_JOB_ID", job), int(os.environ.get("SLURM_RESTART_COUNT", 0))
    return {"job": job, "array": array, "life": life}


def job_log() -> dict[str, str]:
    """The name that the log of this process's job has among those of its sweep; empty where submitit began no job."""
    by, array = os.environ.get("SUBMITIT_EXECUTOR"), os.environ.get("SLURM_ARRAY_JOB_ID")
    if by == "local":
        job = os.environ["SUBMITIT_LOCAL_JOB_ID"]
    elif by == "slurm":
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    else:
        return {}
    return {"log": f"{job}_0_log.err"}


def is_over(job: str, array: str) -> bool:
    """Whether Slurm has a job as no longer running. What it was seen to run once is not asked for again."""
    if job not in _seen_running:
        command = ["squeue", "-h", "-t", "running,suspended,stopped,signaling", "-o", "%A", "-j", array]
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return False
        if told.returncode and "Invalid job id" not in told.stderr:  # which a job that ended some time ago has
            return False
        _seen_running.update(told.stdout.split())
    return job not in _seen_running


@dataclass(frozen=True)
class Ended:
    """A job that Slurm ended, or that failed. state: Slurm's word; how: the same in a few of ours; log: None where
    there is none, as of what had not begun."""

    job: str
    state: str
    how: str
    log: str | None

    def to_dict(self) -> dict[str, str | None]:
        return asdict(self)


def submitted(folder: Path) -> list[str]:
    """Ids of all jobs that were ever submitted to train for the sweep in a folder, one for an array.

    The one that collects is known by its script: accounting forgets for a while the name of a job that is cancelled
    before it began.
    """
    paths = folder.glob("jobs/*_submission.sh")
    collects = f"--job-name={COLLECTOR}\n"
    return [path.name.removesuffix("_submission.sh") for path in paths if collects not in path.read_text()]


def ended(folder: Path) -> list[Ended]:
    """A sweep's jobs that Slurm's accounting has as neither waiting, running nor completed; none where there is no
    accounting."""
    jobs = submitted(folder)
    if not jobs:
        return []
    command = ["sacct", "-nP", "-o", "JobID,State,ExitCode", "-j", ",".join(jobs)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split("|") for line in told.splitlines()]
    # a job whose step was killed for its memory has FAILED, as far as Slurm goes
    greedy = {job.partition(".")[0] for job, state, _ in rows if state == "OUT_OF_MEMORY"}
    found = []
    for job, words, status in rows:
        state, *by = words.split()
        if "." not in job and state not in GOING:
            state = "OUT_OF_MEMORY" if job in greedy else state
            log = folder / "jobs" / f"{job}_0_log.err"
            found.append(Ended(job, state, _how(state, by, status), str(log) if log.exists() else None))
    return found


def _how(state: str, by: list[str], status: str) -> str:
    """by: what follows CANCELLED; status: exit status and signal, as sacct has them."""
    if state == "CANCELLED":
        return f"it was cancelled{''.join(f' by {_user(uid)}' for uid in by[1:])}"
    if state == "FAILED":
        code, _, number = status.partition(":")
        return f"it was killed by signal {number}" if number.strip("0") else f"it failed with exit status {code}"
    return ENDS.get(state, state)


def _user(uid: str) -> str:
    with contextlib.suppress(KeyError, ValueError):
        return pwd.getpwuid(int(uid)).pw_name
    return f"user {uid}"
