"""Recipes from files: a sweep's folder keeps what such a recipe came to, for all that is planned there later.

NAME/recipes/RECIPE.py     a file of the same kind, of values alone, whatever becomes of the user's own
"""

import math
import pprint
import re
import runpy
import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from eutectic import files
from eutectic.arch.flops import CONVENTIONS
from eutectic.errors import UserError
from eutectic.sweeps import match
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps.recipe import Recipe, Shape

WORDS = {
    "device": ("cpu", "cuda"),
    "match": match.MODES,
    "convention": CONVENTIONS,
    "conv_algorithm": ("recurrence", "chunked", "fft"),
    "poles": ("complex", "real"),
    "optim.schedule": ("cosine", "wsd"),
}
HEADER = """\
from eutectic.config import OptimConfig
from eutectic.sweeps.recipe import PowerRule, Recipe, Shape

RECIPE = """


def named(word: str) -> Recipe:
    """The recipe of sweeps/grids/ that is called so, or of the file NAME.py. Raises UserError where there is none."""
    return load(Path(word)) if word.endswith(".py") else recipes.find(word)


def load(path: Path) -> Recipe:
    """The RECIPE of a Python file. Raises UserError where it cannot be run, or has none that can be planned by."""
    try:
        found = runpy.run_path(str(path)).get("RECIPE")
    except (Exception, SystemExit) as error:
        raise UserError(f"recipe file {path} cannot be loaded ({type(error).__name__}: {error}); mend it.") from None
    if type(found) is not Recipe:
        there = "no RECIPE" if found is None else f"a RECIPE that is a {type(found).__name__}"
        raise UserError(f"{path} has {there}; write RECIPE = Recipe(...), of eutectic.sweeps.recipe.")
    if wrong := next(_mistakes("", found, Recipe), None):
        raise UserError(f"{path}: {wrong}; mend its RECIPE.")
    if found.name in recipes.names() or not re.fullmatch(r"\w[\w.-]*", found.name, re.ASCII):
        why = "which eutectic has" if found.name in recipes.names() else "which is no name for a folder"
        raise UserError(f"{path} names its recipe {found.name!r}, {why}; choose another name.")
    return found


def keep(recipe: Recipe, folder: Path) -> None:
    """Write a recipe that is not of sweeps/grids/ into the folder of the sweep that it planned."""
    if recipe.name not in recipes.names():
        with files.replacing(files.own_folder(folder / "recipes") / f"{recipe.name}.py") as scratch:
            scratch.write_text(f"{HEADER}{pprint.pformat(recipe, width=120)}\n")


def find(name: str, folder: Path) -> Recipe:
    """The recipe of this name that planned a sweep: as it is kept in the sweep's folder, or of sweeps/grids/. Raises
    UserError where there is none, or others could write where it is kept."""
    kept = folder / "recipes" / f"{name}.py"
    if not kept.exists():
        return recipes.find(name)
    files.own_folder(kept.parent)
    return load(kept)


def _mistakes(name: str, value: Any, kind: Any) -> Iterator[str]:
    """What is wrong with a field, or a field of it, by its dotted name."""
    of = typing.get_args(kind)
    if of:
        if not isinstance(value, tuple) or not value:
            yield f"{name} is {value!r} and is to be a tuple of {of[0].__name__}, of one or more"
            return
        for item in value:
            yield from _mistakes(name, item, of[0])
    elif not isinstance(value, (int, float) if kind is float else kind):
        yield f"{name} is {value!r} and is to be of type {kind.__name__}"
    elif is_dataclass(value):
        for field, inner in typing.get_type_hints(kind).items():
            yield from _mistakes(f"{name}.{field}".lstrip("."), getattr(value, field), inner)
        if isinstance(value, Shape) and (value.d_model % value.n_heads or value.n_heads % value.n_kv_heads):
            yield f"{name} has {value}, whose heads do not divide its width or whose n_kv_heads do not divide its heads"
    elif value not in WORDS.get(name, (value,)):
        yield f"{name} is {value!r} and is to be one of {', '.join(WORDS[name])}"
    elif kind in (int, float):
        fits, wanted = _range(name, value)
        if not fits:
            yield f"{name} is {value} and is to be {wanted}"


def _range(name: str, value: float) -> tuple[bool, str]:
    """Whether a number is in the range of its field, and what that is."""
    if name.endswith(".exponent"):
        return math.isfinite(value), "finite"
    if name == "sizes":
        return value > 0 and value % 2 == 1, "odd, with as many below the size expected best as above it"
    if name in ("seeds", "mup_base", "max_epochs") or (name.startswith("optim.") and name != "optim.init_scale"):
        return 0 <= value < math.inf, "0 or more"
    return 0 < value < math.inf, "positive and finite"
