"""Mixers by name: ours, another package's (entry points of group eutectic.mixers) or a file's. A mixer of ours is one
line here and its file.

A class's options are its constructor's keyword-only arguments.
"""

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import math
import sys
from pathlib import Path
from typing import Any

from eutectic.arch import layout
from eutectic.arch.base import Layer, Mixer
from eutectic.arch.layout import MixerTerm
from eutectic.errors import UserError

SEQUENCE = {
    "attn": "attn:Attention",
    "swa": "swa:SlidingWindow",
    "hyena": "hyena:Hyena",
    "hyena_implicit": "hyena_implicit:HyenaImplicit",
    "multihyena": "multihyena:MultiHyena",
    "hyena_se": "hyena_se:HyenaSE",
    "hyena_mr": "hyena_mr:HyenaMR",
    "h3": "h3:H3",
    "rtf": "rtf:RTF",
    "s4d": "s4d:S4D",
    "mamba": "mamba:Mamba",
    "mamba2": "mamba2:Mamba2",
    "linear_attn": "linear_attn:LinearAttention",
    "gla": "gla:GLA",
    "retention": "retention:Retention",
    "deltanet": "deltanet:DeltaNet",
    "gated_deltanet": "gated_deltanet:GatedDeltaNet",
    "rwkv6": "rwkv6:RWKV6",
    "rwkv7": "rwkv7:RWKV7",
    "mlstm": "mlstm:MLSTM",
    "mega": "mega:Mega",
    "monarch": "monarch:Monarch",
}
CHANNEL = {
    "swiglu": "swiglu:SwiGLU",
    "mlp": "mlp:MLP",
    "moe": "moe:MoE",
    "monarch_mlp": "monarch_mlp:MonarchMLP",
    "rwkv_channel": "rwkv_channel:RWKVChannel",
    "none": "none:NoChannelMixer",
}
ENTRY_POINTS = "eutectic.mixers"
LARGEST_OPTION = 1e9
_from_files: dict[str, type[Layer]] = {}


def names(kind: type[Layer]) -> list[str]:
    """Of every mixer of a kind, Mixer or ChannelMixer, ours first; other packages' are listed unloaded."""
    own = SEQUENCE if kind is Mixer else CHANNEL
    files = [name for name, loaded in _from_files.items() if issubclass(loaded, kind)]
    return [*own, *_entry_points(), *files]


def find(name: str, kind: type[Layer]) -> type[Any]:
    """The class of a mixer. Raises UserError, with the nearest name, where there is none of that kind."""
    if name in _from_files:
        found: type[Any] = _from_files[name]
    elif _is_ours(name):
        module, _, attribute = (SEQUENCE | CHANNEL)[name].partition(":")
        found = getattr(importlib.import_module(f"eutectic.arch.mixers.{module}"), attribute)
    elif name in _entry_points():
        found = _loaded(name)
    else:
        raise _unknown(name, kind)
    if not issubclass(found, kind):
        raise _unknown(name, kind)
    return found


def make(term: MixerTerm, kind: type[Layer], shape: Any) -> Any:
    """An instance with the term's options. Raises UserError for an option it has not or a value it cannot take."""
    given = options(term, kind)
    try:
        return find(term.name, kind)(shape, **given)
    except UserError:
        raise
    except Exception as error:
        if _is_ours(term.name):
            raise
        raise UserError(f"mixer {term.name} cannot be made ({type(error).__name__}: {error}); mend its code.") from None


def options(term: MixerTerm, kind: type[Layer]) -> dict[str, Any]:
    """A term's options in the types of their defaults."""
    defaults = option_defaults(find(term.name, kind))
    values = {}
    for key, text in term.options:
        if key not in defaults:
            there = ", ".join(f"{k}={written(v)}" for k, v in defaults.items()) or "none"
            raise UserError(f"{term.name} has no option {key!r}; its options, with their defaults, are: {there}.")
        values[key] = _typed(term.name, key, text, type(defaults[key]))
    return values


def option_defaults(mixer: type[Layer]) -> dict[str, Any]:
    parameters = inspect.signature(mixer.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def canonical(text: str, kind: type[Layer] = Mixer) -> str:
    """A layout with options at their defaults left out, so that equal models have equal names.

    Raises UserError for a mixer or an option that there is not.
    """
    parsed = layout.parse(text)
    if kind is not Mixer and any(len(layer.parts) > 1 for layer in parsed.block):
        raise UserError(f"channel mixers cannot stand side by side as in {text!r}; put + between them.")
    return str(parsed.with_terms(lambda term: _canonical(term, kind)))


def filled(text: str, option: str, value: Any) -> str:
    """A layout with an option written into every mixer that has it and leaves it open."""

    def fill(term: MixerTerm) -> MixerTerm:
        if option not in option_defaults(find(term.name, Mixer)) or option in dict(term.options):
            return term
        return MixerTerm(term.name, tuple(sorted([*term.options, (option, written(value))])))

    return str(layout.parse(text).with_terms(fill))


def origins(*layouts: str) -> tuple[str, ...]:
    """For the layouts' mixers that are not ours, `name=SHA-256 of the file` or `name=package version`."""
    terms = {term.name for text in layouts for layer in layout.parse(text).block for term, _ in layer.parts}
    return tuple(f"{name}={_origin(name)}" for name in sorted(terms) if not _is_ours(name))


def load_file(path: Path) -> list[str]:
    """Register the mixers of a Python file under the `name` each class gives itself; returns the names.

    Raises UserError where the file cannot be run, has no mixer or takes a name of ours.
    """
    try:
        digest = source_hash(path)
        spec = importlib.util.spec_from_file_location(f"eutectic_mixer_{digest[:16]}", path)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        sys.modules[module.__name__] = module
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except (Exception, SystemExit) as error:
        raise UserError(f"mixer file {path} cannot be loaded ({type(error).__name__}: {error}); mend it.") from None
    found = {
        str(value.name): value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Layer)
        and value.__module__ == module.__name__
        and hasattr(value, "name")
    }
    if not found:
        raise UserError(f"{path} has no mixer: a class derived from eutectic.arch.base.Mixer with `name = ...`.")
    for name, loaded in found.items():
        if _is_ours(name):
            raise UserError(f"mixer file {path} names its mixer {name!r}, which eutectic has; choose another name.")
        for option, default in option_defaults(loaded).items():
            if type(default) not in (bool, int, float, str):
                raise UserError(
                    f"option {option} of {name} in {path} needs a default that is a bool, int, float or str."
                )
        loaded.source_sha256 = digest  # type: ignore[attr-defined]
        _from_files[name] = loaded
    return list(found)


def source_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _is_ours(name: str) -> bool:
    return name in SEQUENCE or name in CHANNEL


def _loaded(name: str) -> type[Any]:
    point = _entry_points()[name]
    try:
        loaded: type[Any] = point.load()
    except Exception as error:
        raise UserError(
            f"mixer {name} cannot be loaded from {point.value} ({type(error).__name__}: {error}); mend its package."
        ) from None
    return loaded


def _origin(name: str) -> str:
    if name in _from_files:
        return str(find(name, Layer).source_sha256)
    package = _entry_points()[name].dist
    return f"{package.name} {package.version}" if package else ""


def _canonical(term: MixerTerm, kind: type[Layer]) -> MixerTerm:
    defaults = option_defaults(find(term.name, kind))
    given = options(term, kind)
    changed = sorted((k, written(v)) for k, v in given.items() if v != defaults[k])
    return MixerTerm(term.name, tuple(changed))


def _typed(name: str, key: str, text: str, kind: type[Any]) -> Any:
    try:
        value = {"true": True, "false": False}[text] if kind is bool else kind(text)
    except (KeyError, ValueError):
        value = math.nan
    if isinstance(value, int | float) and not abs(value) < LARGEST_OPTION:
        what = "true or false" if kind is bool else f"a {kind.__name__} of a size below {LARGEST_OPTION:.0e}"
        raise UserError(f"option {key} of {name} is {what}, not {text!r}.")
    return value


def written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unknown(name: str, kind: type[Layer]) -> UserError:
    there = names(kind)
    near = difflib.get_close_matches(name, there, 1, 0.4)
    hint = f"did you mean {near[0]!r}?" if near else "choose among those."
    what = "mixer" if kind is Mixer else "channel mixer"
    return UserError(f"unknown {what} {name!r}; there are {', '.join(there)}: {hint}")
