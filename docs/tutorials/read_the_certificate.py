# %%
# # Read the certificate
#
# A path is low if all of it is, and a grid of points says nothing of what lies between them. Here
# is a segment on which a coarse grid is wrong, and what a certificate says of it.
import torch
from torch import nn

import thalweg

x = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(-1, 1)
objective = thalweg.Objective(
    nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double(),
    nn.functional.mse_loss,
    train=(x, torch.sin(3 * x)),
    training=thalweg.Training(learning_rate=0.02),
)
starts = [
    torch.randn(objective.layout.size, generator=torch.Generator().manual_seed(s)).double()
    for s in (0, 1)
]
a, b = (model.theta for model in thalweg.train(objective, starts, target=0.01))

# %%
# An upper bound over the whole segment between two models, as tight as the budget allows.
# `seen` is the largest value that was evaluated: the true maximum lies between the two.
certificate = thalweg.bound_segment(objective, a, b, kind="proved")
print(f"seen {certificate.seen:.6f}  bound {certificate.bound:.6f}  ({certificate.kind})")

# %%
# Brute force agrees: no point of a fine grid lies above the bound.
t = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
values = objective.criterion_of((1 - t) * a + t * b).values[:, 0]
print(f"largest of 2,001 points {values.max():.6f}")
assert certificate.seen <= certificate.bound
assert values.max() <= certificate.bound

# %%
# Asked about a threshold, a certificate accepts or refuses. Here it refuses, at the first point
# that it finds above the level: that is cheap, and needs no bound.
refused = thalweg.bound_segment(objective, a, b, threshold=0.01)
print(refused.accepted, f"a value of {refused.seen:.4f} is above 0.01")

# %%
# A connection holds one certificate for every segment. `proved` is a theorem about the function of
# the stored weights on these data, rounding included; `sampled` is an adaptive estimate and is
# never called a proof. Neither says anything of other data.
connection = thalweg.connect(objective, a, b, threshold=0.02)
print(connection.message)
for i, segment in enumerate(connection.segments, 1):
    print(f"{i}: length {segment.length:.3f}  seen {segment.seen:.5f}  bound {segment.bound:.5f}")

# %%
# `verify` proves it again, on another subdivision, and looks at points of its own.
found = thalweg.verify(connection, objective)
print(found.passed, found.proved_again)
