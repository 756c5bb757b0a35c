# %%
# # Draw the plane
#
# A connection, and the plane through its endpoints and a bead.
import torch

import thalweg
from thalweg.plots import plane_figure, write_figure
from thalweg.tasks import get_task

task = get_task("digits-small")
objective = task.build(None)
starts = [objective.theta(task.initialize(torch.Generator().manual_seed(s))) for s in (0, 1)]
a, b = (model.theta for model in thalweg.train(objective, starts, target=0.095))
connection = thalweg.connect(objective, a, b, threshold=0.1, profile_points=17)

plane = thalweg.connection_plane(connection, objective, shape=(41, 31))
write_figure(plane_figure(plane), "plane.png")
for mark in plane.marks:
    print(mark.name, [round(x, 3) for x in mark.position], f"{mark.distance:.1g} off the plane")

# %%
# ![The loss on the plane, with the path on it](plane.png)
#
# The axes are distances in parameter space. The path is projected: its other beads lie off the
# plane, and it can be lower than what is drawn under it.
#
# The same around one model, along random directions whose filters are as long as the model's own
# (Li et al. 2018, Section 4).
frame = thalweg.random_directions(objective, a, seed=0)
around = thalweg.plane(objective, frame, extent=1.0, shape=31, models={"A": a})
write_figure(plane_figure(around, "contour"), "around.png")

# %%
# ![The loss around one model](around.png)
#
# And the string in the space of its principal components, step by step (Appendix D of the paper).
from thalweg.plots import compute_string, string_figure

info = compute_string(connection)
write_figure(string_figure(info), "string.png")
print([f"{100 * part:.1f} %" for part in info.explained])

# %%
# ![Snapshots of the algorithm](string.png)
