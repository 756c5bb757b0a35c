"""The plane through two MNIST networks and a bead between them, with the path on it.

Once with the string that greedy Dynamic String Sampling finds, once with a Bézier curve (Garipov
et al. 2018), whose plane through its one control point holds all of it.

    THALWEG_DATA=DIR python examples/mnist_plane.py --out mnist-plane.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

import thalweg
from thalweg.plots import draw_plane, plane_positions, plane_table, save_table, write_figure
from thalweg.plots.figure import legend_below
from thalweg.tasks import get_task

_LEVEL = 0.2


def main() -> None:
    """Train two networks, connect them by both methods, draw both planes side by side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", type=int, default=31, help="points along each axis")
    parser.add_argument("--out", type=Path, default=Path("mnist-plane.png"))
    given = parser.parse_args()
    task = get_task("mnist-mlp-small")
    objective = task.build(None)
    starts = [
        objective.theta(task.initialize(torch.Generator().manual_seed(seed))) for seed in (0, 1)
    ]
    a, b = (m.theta for m in thalweg.train(objective, starts, target=task.alpha * _LEVEL))
    figure = Figure(figsize=(12, 5), layout="constrained")
    for ax, method in zip(figure.subplots(1, 2), ("greedy", "bezier"), strict=True):
        connection = thalweg.connect(
            objective, a, b, threshold=_LEVEL, method=method, certificate="sampled"
        )
        print(f"{method}: {connection.message}", flush=True)
        plane = thalweg.connection_plane(connection, objective, shape=given.shape)
        draw_plane(plane, ax)
        ax.set_title(f"{method}, normalized length {connection.normalized_length:.3f}")
        for table, what in ((plane_table(plane), ""), (plane_positions(plane), "-positions")):
            save_table(table, given.out.with_name(f"{given.out.stem}-{method}{what}.csv"))
        if method == "bezier":
            legend_below(ax)
    write_figure(figure, given.out)
    print(f"written: {given.out}")


if __name__ == "__main__":
    main()
