# %%
# # How non-convex is my problem
#
# In a convex problem every two models below a level are joined by the straight line between them:
# no bead, normalized length 1. How much longer a path has to be, and how many beads it takes, says
# how far a problem is from that, at each level (Freeman & Bruna 2017, Figure 1).
import torch

import thalweg
from thalweg.tasks import get_task

task = get_task("quadratic-small")
objective = task.build(None)
print(task.architecture, "-", task.summary)

# %%
# Some pairs of networks, trained below each level, and connected. All beads of all pairs of a level
# train together.
levels = (0.1, 0.05, 0.025)
table = []
for level in levels:
    starts = [
        objective.theta(task.initialize(torch.Generator().manual_seed(seed))) for seed in range(8)
    ]
    models = [m.theta for m in thalweg.train(objective, starts, target=task.alpha * level)]
    found = thalweg.connect_pairs(
        objective,
        list(zip(models[::2], models[1::2], strict=True)),
        threshold=level,
        certificate="sampled",
    )
    connected = [c for c in found if c.connected]
    lengths = [c.normalized_length for c in connected]
    beads = [c.beads for c in connected]
    table.append((level, len(connected), sum(lengths) / len(lengths), sum(beads) / len(beads)))
for level, connected, length, count in table:
    print(f"L0 = {level:<6}  {connected} of 4 connected  length {length:.3f}  beads {count:.2f}")

# %%
# The lower the level, the farther around paths have to go. Four pairs are few; `thalweg study` does
# this for any task, with many pairs, means with their errors, power laws, and a store that survives
# being killed: `thalweg study run figure1-quadratic --store q.db`, then
# `thalweg study plot figure1-quadratic --store q.db --out figure1.png`.
from matplotlib.figure import Figure

figure = Figure(figsize=(6, 3), layout="constrained")
left, right = figure.subplots(1, 2)
left.loglog(levels, [row[2] for row in table], "o-")
left.set(xlabel="threshold L0", ylabel="normalized length")
right.semilogx(levels, [row[3] for row in table], "s-")
right.set(xlabel="threshold L0", ylabel="beads")
figure.savefig("non_convex.png", dpi=110)

# %%
# ![Length and beads against the threshold](non_convex.png)
