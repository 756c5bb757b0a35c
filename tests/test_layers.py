"""Each package imports only from those above it, and importing the package stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import thalweg

SOURCE = Path(thalweg.__file__).parent

LAYERS = [
    "errors", "documents", "threads", "parameters", "objective", "paths", "certify", "symmetry",
    "connect", "geometry", "topology", "theory", "tasks", "study", "plots", "report", "cli",
]  # fmt: skip

ABOVE = {layer: set(LAYERS[: i + 1]) for i, layer in enumerate(LAYERS)}
# Stricter where the order alone would allow more.
ABOVE["paths"] = {"errors", "parameters", "paths"}


def imported(file: Path) -> set[str]:
    """Packages of thalweg that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "thalweg":
                names = [f"thalweg.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name == "thalweg" or name.startswith("thalweg."):
                found.add(name.split(".")[1] if "." in name else name)
    return found


def files(layer: str) -> list[Path]:
    package = SOURCE / layer
    return sorted(package.rglob("*.py")) if package.is_dir() else [SOURCE / f"{layer}.py"]


@pytest.mark.parametrize(
    "layer", [layer for layer in LAYERS if any(f.exists() for f in files(layer))]
)
def test_a_package_imports_only_from_those_above_it(layer):
    for file in files(layer):
        below = {name for name in imported(file) if name in LAYERS} - ABOVE[layer]
        assert not below, f"{file.relative_to(SOURCE)} imports {sorted(below)}"


def test_every_package_has_its_place_among_the_layers():
    packages = {p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists()}
    modules = {p.stem for p in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert packages | modules <= set(LAYERS)


@pytest.mark.parametrize("layer", LAYERS[:-3])
def test_the_heart_knows_no_picture_and_no_console(layer):
    heavy = {"matplotlib", "plotly", "rich", "typer", "sqlalchemy", "dask", "distributed"}
    if layer == "study":  # whose store is a database, and whose workers may be a cluster's
        heavy -= {"sqlalchemy", "distributed"}
    for file in files(layer):
        if file.exists():
            for node in ast.walk(ast.parse(file.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                assert not [n for n in names if n.split(".")[0] in heavy], file


def test_importing_the_package_loads_nothing_heavy():
    heavy = "matplotlib", "sklearn", "typer", "rich", "plotly", "sqlalchemy", "dask", "pandas"
    code = f"import sys, thalweg; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(SOURCE.parent), "PATH": ""},
    )  # fmt: skip
    assert run.stdout.strip() == "[]"


def test_every_public_name_exists_and_is_listed_once():
    assert len(set(thalweg.__all__)) == len(thalweg.__all__)
    assert all(hasattr(thalweg, name) for name in thalweg.__all__)
