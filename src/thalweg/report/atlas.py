"""An atlas as one HTML page: the disconnectivity graph, components by level, every search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.parameters import replacing
from thalweg.report.parts import download, note, page, picture, section, table

if TYPE_CHECKING:
    from thalweg.plots.disconnectivity_info import DisconnectivityInfo
    from thalweg.study import Store
    from thalweg.topology import Atlas


def save_atlas_report(store: Store, name: str, file: str | Path) -> None:
    """Write the page of an atlas, completely or not at all.

    Args:
        store: that has the atlas.
        name: of the atlas.
        file: name of the page.

    Raises:
        InputError: if the store has no such atlas, or it cannot be written.
    """
    from thalweg.study import atlas_levels, load_atlas

    content = atlas_html(load_atlas(store, name), name, atlas_levels(store, name))
    with replacing(Path(file)) as temporary:
        temporary.write_text(content, encoding="utf-8")


def atlas_html(atlas: Atlas, name: str, levels: Sequence[float] = ()) -> str:
    """The page of an atlas.

    Args:
        atlas: with its paths.
        name: how to call it.
        levels: to count components at; none: those at which searches were made.

    Returns:
        A complete HTML document that loads nothing from outside itself.

    Raises:
        InputError: if there are neither levels nor searches.
    """
    from thalweg.plots.disconnectivity_info import compute_disconnectivity

    info = compute_disconnectivity(atlas, levels or [link.threshold for link in atlas.links])
    lowest = info.counts[0]
    symmetry = " up to symmetry" if atlas.aligned else ""
    return page(
        title=f"{name} - Thalweg",
        mood="plain",
        answer=f"{name}: {len(atlas.energies):,} minima; at {info.criterion} of {lowest.level:g} "
        f"they lie in at most {lowest.at_most:,} component{'s' * (lowest.at_most != 1)}{symmetry}.",
        body=[_graph(info), _components(info), _searches(atlas)],
    )


def _graph(info: DisconnectivityInfo) -> str:
    from thalweg.plots.disconnectivity import disconnectivity_figure

    return section(
        "Disconnectivity graph",
        picture(
            disconnectivity_figure(info),
            "Tree of minima: branches meet at the lowest level at which paths join them",
            "Two branches meet at the lowest level at which a chain of paths joins them, raised to "
            "the next of the levels asked for (Becker & Karplus 1997).",
        ),
        anchor="graph",
    )


def _components(info: DisconnectivityInfo) -> str:
    from thalweg.plots.table import Table

    columns = ("level", "minima", "at most", "at least")
    rows = [(count.level, count.minima, count.at_most, count.at_least) for count in info.counts]
    return section(
        "Components of the level sets",
        note("At most: as far as paths are known. At least: as obstructions prove."),
        table(columns, [tuple(f"{value:g}" for value in row) for row in rows], "Components"),
        download(Table(columns, rows), "components.csv"),
        anchor="components",
    )


def _searches(atlas: Atlas) -> str:
    from thalweg.plots.table import Table

    columns = ("first", "second", "threshold", "level", "certificate", "outcome", "beads",
               "normalized length", "gradient samples")  # fmt: skip
    exact = [
        (link.a, link.b, link.threshold, link.level if link.connected else None, link.certificate,
         link.outcome, link.beads, link.normalized_length, link.gradient_samples)
        for link in atlas.links
    ]  # fmt: skip
    texts = [tuple(_text(value) for value in row) for row in exact]
    return section(
        "Searches",
        table(columns, texts, f"{len(exact):,} searches"),
        download(Table(columns, exact), "links.csv"),
        anchor="searches",
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.5g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
