"""Runs the tutorials when the site is built: a page shows a script, what it prints and draws.

A tutorial is a plain script in ``docs/tutorials``. Comments that begin a cell (``# %%``) are its
text; the code after them runs, and what it prints stands below. A picture that it writes is shown
where the text names it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_FOLDER = Path(__file__).with_name("tutorials")
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:src|examples|benchmarks|tests)/[^)]*\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every page of theory, and every guide that the navigation forgot, into it."""
    docs = Path(__file__).parent
    for entry in config.nav or []:
        if "Theory" in entry:
            entry["Theory"] = [f"theory/{file.name}" for file in sorted(docs.glob("theory/*.md"))]
        if "Guides" in entry:
            known = {*entry["Guides"], "index.md"}
            others = sorted(file.name for file in docs.glob("*.md") if file.name not in known)
            entry["Guides"] = [*entry["Guides"], *others]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every tutorial, and the pictures that it draws."""
    sys.path.insert(0, str(_FOLDER.parents[1] / "src"))
    for script in sorted(_FOLDER.glob("*.py")):
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            text = _page(script)
            uri = f"tutorials/{script.stem}"
            files.append(File.generated(config, f"{uri}.md", content=text))
            for picture in sorted(Path(folder).glob("*.png")):
                content = picture.read_bytes()
                name = f"tutorials/{picture.name}"
                files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Of links to files that are in the checkout and not on the site, the text."""
    return _OUTSIDE.sub(r"\1", markdown)


def _page(script: Path) -> str:
    """Run a script cell by cell; its page."""
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(script)}
    parts = []
    source = script.read_text(encoding="utf-8")
    os.environ.setdefault("MPLBACKEND", "Agg")
    for cell in source.split("# %%\n")[1:]:
        lines = cell.rstrip().splitlines()
        end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        parts.append("\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:end]))
        code = "\n".join(lines[end:]).strip("\n")
        if not code:
            continue
        parts.append(f"```python\n{code}\n```")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(code, str(script), "exec"), names)
        if printed.getvalue():
            parts.append(f"```text\n{printed.getvalue().rstrip()}\n```")
    parts.append(f"*This page was made by running `docs/tutorials/{script.name}`.*")
    return "\n\n".join(parts) + "\n"
