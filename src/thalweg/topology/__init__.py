"""Many minima: the levels at which they are joined, components, disconnectivity graphs."""

from thalweg.topology.atlas import Atlas, Link, explore, link_of, lower_levels
from thalweg.topology.barriers import check_levels, components, minimax
from thalweg.topology.disconnectivity import Node, disconnectivity_graph
from thalweg.topology.export import to_networkx, to_pathsample
from thalweg.topology.persistence import Pair, sublevel_persistence

__all__ = [
    "Atlas",
    "Link",
    "Node",
    "Pair",
    "check_levels",
    "components",
    "disconnectivity_graph",
    "explore",
    "link_of",
    "lower_levels",
    "minimax",
    "sublevel_persistence",
    "to_networkx",
    "to_pathsample",
]
