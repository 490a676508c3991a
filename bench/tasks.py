"""Tokens a second at which the synthetic tasks' examples are drawn, by one CPU core.

python bench/tasks.py > results/bench/tasks.md
"""

import statistics
import time

import numpy as np

from eutectic.probes import tasks

TOKENS = 1_000_000
REPEATS = 5


def main() -> None:
    print(
        "# Drawing examples of synthetic tasks\n\nWritten by `bench/tasks.py`: millions of tokens a second, one core.\n"
    )
    print("| task | easiest | hardest of each axis |\n|---|--:|---|")
    for name, task in tasks.TASKS.items():
        axes = [f"{axis}={values[-1]:g}" for axis, values in task.axes.items()]
        harder = ", ".join(f"{axis}: {speed(f'{name}({axis})'):.1f}" for axis in axes)
        print(f"| `{tasks.written(task())}` | {speed(name):.1f} | {harder} |")


def speed(text: str) -> float:
    task = tasks.find(text)
    index = np.arange(TOKENS // task.length)
    seconds = []
    for seed in range(REPEATS):
        began = time.perf_counter()
        task.examples(seed, index)
        seconds.append(time.perf_counter() - began)
    return len(index) * task.length / statistics.median(seconds) / 1e6


if __name__ == "__main__":
    main()
