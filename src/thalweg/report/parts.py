"""Pieces of pages: tables that can be downloaded, figures that follow the page's colours."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thalweg.plots import Table
    from thalweg.plots.style import Palette

# Rows of a table on a page: it stays small however long the string is.
ROWS = 2000
# A longer table is folded away.
_OPEN_ROWS = 25


def page(
    *,
    title: str,
    mood: str,
    answer: str,
    body: Iterable[str],
    data: Mapping[str, Any] | None = None,
) -> str:
    """A complete HTML document that refers to nothing outside itself.

    Args:
        title: of the window.
        mood: ``"good"``, ``"bad"`` or ``"plain"``: the colour of the answer.
        answer: the first thing to read.
        body: sections, as HTML.
        data: for the pictures that move; None: there are none, and no library for them.
    """
    # Imported here: matplotlib takes a second, which the words alone do not need.
    from thalweg.plots.style import DARK, LIGHT

    own = files("thalweg.report")
    library = "" if data is None else f"<script>{_plotly()}</script>"
    # What ends a script is no part of it, whatever a name holds.
    content = json.dumps(data or {}, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    template = Template((own / "template.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        light=_variables(LIGHT),
        dark=_variables(DARK),
        mood=mood,
        answer=escape(answer),
        body="\n".join(body),
        data=content,
        library=library,
        script=(own / "page.js").read_text(encoding="utf-8"),
    )


def section(title: str, *content: str, anchor: str = "") -> str:
    """A heading and what belongs under it."""
    name = f' id="{escape(anchor)}"' if anchor else ""
    return "\n".join([f"<section{name}>", f"<h2>{escape(title)}</h2>", *content, "</section>"])


def note(text: str) -> str:
    """A remark in small print."""
    return f'<p class="note">{escape(text)}</p>'


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and their values."""
    rows = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>\n{rows}\n</dl>"


def folded(summary: str, content: str) -> str:
    """Something that opens at a touch or a key."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    link: Callable[[int], str | None] = lambda row: None,
) -> str:
    """A table whose columns sort, where scripts run; of long ones, the first rows.

    Args:
        columns: headings.
        rows: texts.
        caption: what it is, for those who do not see it, and where it is folded away.
        link: from the number of a row to where its first cell leads; None: nowhere.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = []
    for i, row in enumerate(rows[:ROWS]):
        cells = [escape(cell) for cell in row]
        target = link(i)
        if target is not None:
            cells[0] = f'<a href="{escape(target)}">{cells[0]}</a>'
        body.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    whole = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="sortable"><thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(body)
        + "\n</tbody></table></div>"
    )
    return whole if len(rows) <= _OPEN_ROWS else folded(caption, whole)


def download(content: Table, name: str) -> str:
    """A link to a table as a CSV file, which the page itself holds.

    Args:
        content: the table.
        name: of the file.
    """
    encoded = base64.b64encode(content.csv().encode()).decode()
    rows = "row" if len(content.rows) == 1 else "rows"
    return (
        f'<p><a class="download" download="{escape(name)}" '
        f'href="data:text/csv;charset=utf-8;base64,{encoded}">{escape(name)}</a> '
        f'<span class="note">({len(content.rows):,} {rows})</span></p>'
    )


def picture(figure: Figure, label: str, caption: str, plot: str = "") -> str:
    """A figure as inline SVG whose colours follow the page.

    Args:
        figure: drawn in the light palette.
        label: what it shows, for those who do not see it.
        caption: under it.
        plot: name of the moving picture that takes its place where scripts run.
    """
    from thalweg.plots import render
    from thalweg.plots.style import LIGHT

    drawn = render(figure, "svg").decode()
    drawn = drawn[drawn.index("<svg") :]
    for name, color in LIGHT.items():
        drawn = drawn.replace(color, f"var(--{name})")
    if plot:
        # Names of parts are those of one picture; the page holds several.
        drawn = drawn.replace('id="', f'id="{plot}-').replace('"#', f'"#{plot}-')
        drawn = drawn.replace("url(#", f"url(#{plot}-")
    drawn = drawn.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    width, height = figure.get_size_inches()
    # A wide picture scrolls by itself on a narrow screen, where its text would be too small.
    wide = ' wide" tabindex="0' if width > 1.4 * height else ""
    moving = f'<div class="plot" data-plot="{plot}" hidden></div>\n' if plot else ""
    return (
        f'<figure>{moving}<div class="still{wide}">{drawn}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings as pairs of a dotted name and a text."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)


def _plotly() -> str:
    """The source of plotly.js, as its package has it."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("</script", "<\\/script")


def _variables(palette: Palette) -> str:
    return "; ".join(f"--{name}: {color}" for name, color in palette.items())
