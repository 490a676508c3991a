"""Data flows one way: nothing imports what stands to its right, and heavy libraries keep to their places."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# what may import only from its own place or from further left; analysis.schema is the contract that logs are written by
ORDER = (
    *("errors", "files", "config", "schema", "kernels", "arch", "train"),
    *("corpora", "inference", "probes", "sweeps", "analysis", "display", "values", "model_arguments", "arguments"),
    "commands",
)
FOLDERS = "analysis arch commands corpora display inference kernels probes sweeps train"
FILES = sorted(
    path
    for part in (*FOLDERS.split(), "")
    for path in (ROOT / part).glob("**/*.py" if part else "*.py")
    if path.name != "__init__.py"
)


def place(module: str) -> str:
    """`eutectic.arch.mixers.attn` -> `arch`; `eutectic.analysis.schema` -> `schema`."""
    parts = module.split(".")[1:]
    return "schema" if parts[:2] == ["analysis", "schema"] else parts[0] if parts else ""


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """Modules a file imports; at its top level only, unless everywhere."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_place(path: Path) -> str:
    return place(".".join(("eutectic", *path.relative_to(ROOT).with_suffix("").parts)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_imports_what_stands_to_its_right(path: Path) -> None:
    own = own_place(path)
    if own == "cli":
        return
    for module in imports(path):
        if module.startswith("eutectic."):
            target = place(module)
            if (own, target) in {("commands", "cli"), ("train", "__version__"), ("analysis", "__version__")}:
                continue
            if target in ORDER:
                assert ORDER.index(target) <= ORDER.index(own), f"{path.name} imports {module}"


def test_each_heavy_library_has_its_place() -> None:
    users: dict[str, set[str]] = {
        name: set()
        for name in ("torch", "submitit", "optuna", "matplotlib", "rich", "scipy", "plotly", "itables", "jinja2")
    }
    for path in FILES:
        for module in imports(path):
            root = module.split(".")[0]
            if root in users:
                users[root].add(str(path.relative_to(ROOT)))
    assert users["submitit"] == {"sweeps/submit.py"}
    assert users["plotly"] == users["itables"] == users["jinja2"] == {"display/page.py"}
    assert users["optuna"] <= {"sweeps/tune.py"}
    assert not [name for name in users["torch"] if name.startswith("analysis/")]
    assert all(name.startswith("analysis/figures/") for name in users["matplotlib"])
    assert all(name.startswith(("display/", "commands/")) for name in users["rich"])
    assert all(name.startswith("analysis/") for name in users["scipy"])
