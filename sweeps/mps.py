"""NVIDIA's multi-process service (MPS), through which processes run on one GPU at the same time and not in turns."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"
PLACES = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")


@contextlib.contextmanager
def shared_gpu(gpu: str) -> Iterator[bool]:
    """Within, processes started see this one GPU (as CUDA_VISIBLE_DEVICES names it), under a daemon of ours or one that
    runs already; gives whether there is one. Without MPS they share the GPU by turns, as by default."""
    before = {name: os.environ.get(name) for name in (*PLACES, "CUDA_VISIBLE_DEVICES")}
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    with tempfile.TemporaryDirectory(prefix="mps-") as place, contextlib.ExitStack() as stack:
        try:
            yield _say("get_server_list") or _started(Path(place), stack)
        finally:
            stack.close()
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _started(place: Path, stack: contextlib.ExitStack) -> bool:
    if not shutil.which(CONTROL):
        return False
    os.environ |= dict.fromkeys(PLACES, str(place))
    if subprocess.run([CONTROL, "-d"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        for name in PLACES:
            del os.environ[name]
        return False
    stack.callback(_say, "quit -t 5")
    os.environ["CUDA_VISIBLE_DEVICES"] = "0"  # the daemon's clients count the devices that it was given
    return True


def _say(command: str) -> bool:
    """Whether a daemon answered."""
    if not shutil.which(CONTROL):
        return False
    asked = subprocess.run([CONTROL], input=f"{command}\n", text=True, capture_output=True, timeout=60)
    return asked.returncode == 0 and "Cannot find MPS control daemon" not in asked.stdout + asked.stderr
