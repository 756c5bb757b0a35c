# %%
# # Connect two of your models
#
# You have a PyTorch model, data, and two sets of trained weights. Are they connected below a loss
# of your choice? First, what Thalweg has to know: the model, its loss, the data, and what is held
# against the threshold.
import torch
from sklearn.datasets import load_digits
from torch import nn

import thalweg

pixels, labels = load_digits(return_X_y=True)
x, y = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


objective = thalweg.Objective(
    network(0),
    nn.functional.cross_entropy,
    train=(x[:1400], y[:1400]),
    test=(x[1400:], y[1400:]),
    criterion=thalweg.Criterion("loss", split="train"),
    training=thalweg.Training("Adam", learning_rate=1e-2, batch_size=100),
)

# %%
# Two models, trained as you always train them. Thalweg has no part in this.


def trained(seed: int) -> nn.Module:
    model = network(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(25):
        for batch in torch.randperm(1400).split(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model


a, b = trained(seed=1), trained(seed=2)
values = objective.criterion_of(torch.stack([objective.theta(a), objective.theta(b)])).values
print([round(value, 4) for value in values[:, 0].tolist()])

# %%
# Both lie below 0.08. Is there a path between them that stays below it all the way?
connection = thalweg.connect(objective, a, b, threshold=0.08, seed=0, profile_points=17)
print(connection.outcome)
print(f"{connection.beads} beads, {connection.normalized_length:.3f} times the straight line")
print(f"loss at most {connection.max_criterion_bound:.5f} on all of it ({connection.certificate})")

# %%
# `beads` are intermediate models that were trained below the level; with the straight segments
# between them they make the path. The picture compares it with the straight line.
from thalweg.plots import save_profile

save_profile(connection, "connected.png")

# %%
# ![The loss along the path and along the straight line](connected.png)
#
# Keep it, look at it a second time from its files alone, and read it in a browser.
from thalweg.report import save_report

connection.save("my-connection")
print(thalweg.verify(thalweg.load_connection("my-connection"), objective).passed)
save_report(connection, "report.html")

# %%
# On the command line the same is `thalweg connect a.pt b.pt --problem my_problem.py:problem
# --threshold 0.08`, where `problem` is a function that returns the objective.
