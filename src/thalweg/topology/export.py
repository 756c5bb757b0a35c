"""Atlases for other programs: networkx graphs, and the files of the Cambridge landscape tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thalweg.topology.atlas import Atlas, Link

if TYPE_CHECKING:
    import networkx


def to_networkx(atlas: Atlas) -> networkx.Graph:
    """A graph with a node for each minimum and an edge for each two that a path joins.

    Args:
        atlas: with its paths.

    Returns:
        Nodes ``0 … m - 1`` with ``energy``; edges with ``level``, ``certificate``, ``beads`` and
        ``normalized_length`` of the lowest path found.

    Example:
        >>> import numpy as np, torch
        >>> link = Link(0, 1, 1.0, 0.9, "proved", "connected", 2, 1.1, 10, 20)
        >>> flat = np.zeros((2, 2))
        >>> atlas = Atlas(torch.zeros(2, 1), np.zeros(2), flat, flat, (link,))
        >>> to_networkx(atlas).edges[0, 1]["level"]
        0.9
    """
    import networkx

    graph = networkx.Graph()
    for i, energy in enumerate(atlas.energies):
        graph.add_node(i, energy=float(energy))
    for link in _best(atlas):
        graph.add_edge(
            link.a, link.b, level=link.level, certificate=link.certificate, beads=link.beads,
            normalized_length=link.normalized_length or 1.0,
        )  # fmt: skip
    return graph


def to_pathsample(atlas: Atlas) -> tuple[str, str]:
    """The contents of ``min.data`` and ``ts.data``, as PATHSAMPLE and pele read them.

    A line of ``min.data`` holds energy, logarithm of the product of frequencies, order of the point
    group and three moments of inertia; one of ``ts.data`` the same with the numbers of the two
    minima, from 1, before the moments. What a network does not have is 0, and the order 1. The
    energy of a "transition state" is the certified level of a path: an upper bound.

    Args:
        atlas: with its paths.

    Returns:
        Both, line by line.
    """
    minima = [f"{energy:.12g} 0.0 1 0.0 0.0 0.0" for energy in atlas.energies]
    joins = [
        f"{link.level:.12g} 0.0 1 {link.a + 1} {link.b + 1} 0.0 0.0 0.0" for link in _best(atlas)
    ]
    return "".join(f"{line}\n" for line in minima), "".join(f"{line}\n" for line in joins)


def _best(atlas: Atlas) -> list[Link]:
    """The lowest path of each two minima."""
    best: dict[tuple[int, int], Link] = {}
    for link in atlas.links:
        key = (min(link.a, link.b), max(link.a, link.b))
        if link.connected and (key not in best or link.level < best[key].level):
            best[key] = link
    return [best[key] for key in sorted(best)]
