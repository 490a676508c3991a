"""The tasks by name, and text that names one: `recall`, `recall(vocab=32,length=256)`."""

import dataclasses
from typing import Any

from eutectic.errors import UserError
from eutectic.probes.copy_tasks import Compression, Memorization, SelectiveCopy
from eutectic.probes.recall_tasks import AssociativeRecall, FuzzyRecall, Induction, NoisyRecall, Recall
from eutectic.probes.task import Task

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        Recall,
        FuzzyRecall,
        NoisyRecall,
        SelectiveCopy,
        Compression,
        Memorization,
        Induction,
        AssociativeRecall,
    )
}
# those of mechanistic design, by which architectures are compared unless others are named
MECHANISTIC = ("recall", "fuzzy_recall", "noisy_recall", "selective_copy", "compression", "memorization")


def find(text: str) -> Task:
    """Raises UserError for a task or a setting that there is not, or one that cannot be drawn."""
    name, opened, settings = text.partition("(")
    if name not in TASKS or (opened and not settings.endswith(")")):
        raise UserError(
            f"no task is named {text!r}; tasks are {', '.join(TASKS)}, with settings as in recall(vocab=32)."
        )
    kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(TASKS[name])}
    given: dict[str, Any] = {}
    for part in filter(None, settings.rstrip(")").split(",")):
        key, _, value = part.partition("=")
        if key not in kinds:
            raise UserError(f"{name} has no setting {key!r}; it has {', '.join(kinds)}.")
        if key in given:
            raise UserError(f"{text} gives {key} twice; give it once.")
        try:
            given[key] = kinds[key](value)
        except ValueError:
            raise UserError(f"{name} has a {key} of {value!r}, which is no {kinds[key].__name__}.") from None
    return TASKS[name](**given)


def along(text: str) -> list[Task]:
    """The task of this text, or of `recall:length` the tasks along an axis of its difficulty, from the easiest. Raises
    as find()."""
    name, colon, axis = text.partition(":")
    task = find(name)
    if not colon:
        return [task]
    if axis not in task.axes:
        raise UserError(f"{task.name} has no axis {axis!r} of difficulty; it has {', '.join(task.axes)}.")
    kind = type(getattr(task, axis))
    return [dataclasses.replace(task, **{axis: kind(value)}) for value in task.axes[axis]]


def written(task: Task) -> str:
    """What find() reads, with every setting."""
    return f"{task.name}({','.join(f'{key}={value!r}' for key, value in dataclasses.asdict(task).items())})"
