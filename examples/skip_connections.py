"""The surfaces of a ResNet-20 with and without skip connections, side by side.

Li et al. 2018 (Figure 1) draw the loss around trained networks along filter-normalized random
directions: skip connections make it smooth. Here at a size that a laptop's processor does in a few
minutes: a subset of CIFAR-10, a short training, a narrow network of the same depth.

    THALWEG_DATA=DIR python examples/skip_connections.py --out skip-connections.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

import thalweg
from thalweg.plots import draw_plane, plane_table, save_table, write_figure
from thalweg.plots.figure import add_colorbar, color_scale
from thalweg.tasks import read_cifar10


class Block(nn.Module):
    """Two convolutions with BatchNorm; around them, or not, a skip connection (He et al. 2016)."""

    def __init__(self, inside: int, outside: int, stride: int, *, skips: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outside)
        self.stride, self.more, self.skips = stride, outside - inside, skips

    def forward(self, x: Tensor) -> Tensor:
        """Images `[n, inside, h, w]` to `[n, outside, h / stride, w / stride]`."""
        out = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        if self.skips:  # the shortcut without parameters: fewer pixels, new channels of zeros
            short = x[:, :, :: self.stride, :: self.stride]
            out = out + F.pad(short, (0, 0, 0, 0, 0, self.more))
        return F.relu(out)


def resnet20(width: int, *, skips: bool) -> nn.Sequential:
    """Three stages of three blocks, 20 layers with weights."""
    channels = (width, width, 2 * width, 4 * width)
    blocks = [
        Block(channels[stage] if i == 0 else channels[stage + 1], channels[stage + 1],
              2 if stage and i == 0 else 1, skips=skips)
        for stage in range(3) for i in range(3)
    ]  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10),
    )  # fmt: skip


def data(images: int) -> tuple[Tensor, Tensor]:
    """The first images of CIFAR-10, each channel of mean 0 and deviation 1."""
    read = read_cifar10("train", None).first(images)
    pixels = torch.from_numpy(read.pixels.copy()).float()
    mean, deviation = pixels.mean((0, 2, 3), keepdim=True), pixels.std((0, 2, 3), keepdim=True)
    return (pixels - mean) / deviation, torch.from_numpy(read.labels.copy()).long()


def trained(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> nn.Module:
    """Train as one trains networks, with momentum and a rate that falls to zero."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    steps = epochs * -(-len(x) // 100)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    model.train()
    last = float("nan")
    for epoch in range(epochs):
        for batch in torch.randperm(len(x)).split(100):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
            last = float(loss.detach())
        print(f"  epoch {epoch + 1}: loss {last:.3f}", flush=True)
    return model.eval()


def main() -> None:
    """Train both, evaluate both surfaces, draw them with one scale of colours."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=8, help="channels of the first stage; He: 16")
    parser.add_argument("--images", type=int, default=3000, help="to train with")
    parser.add_argument("--shown", type=int, default=256, help="images of each point of a surface")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--shape", type=int, default=15, help="points along each axis")
    parser.add_argument("--extent", type=float, default=1.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("skip-connections.png"))
    given = parser.parse_args()
    x, y = (tensor.to(given.device) for tensor in data(given.images))
    planes = {}
    for title, skips in (("ResNet-20", True), ("ResNet-20 without skip connections", False)):
        print(title, flush=True)
        torch.manual_seed(0)
        model = trained(resnet20(given.width, skips=skips).to(given.device), x, y, given.epochs)
        objective = thalweg.Objective(
            model, F.cross_entropy, train=(x[: given.shown], y[: given.shown]),
            calibration=thalweg.Calibration(examples=given.shown, batch_size=given.shown),
        )  # fmt: skip
        frame = thalweg.random_directions(objective, model, seed=1)
        name = "skips" if skips else "plain"
        planes[title] = thalweg.plane(
            objective, frame, given.extent, given.shape, models={"": frame.origin.cpu()},
            resume=given.out.with_name(f"{given.out.stem}-{name}.safetensors"),
            progress=lambda done, total: print(f"  {done} of {total} points", flush=True),
        )  # fmt: skip
        save_table(plane_table(planes[title]), given.out.with_name(f"{given.out.stem}-{name}.csv"))
    values = [v for plane in planes.values() for v in plane.surface.values.flatten().tolist()]
    scale = color_scale(values)
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    axes = figure.subplots(1, 2)
    drawn = [
        draw_plane(plane, ax, "contour", scale=scale, colorbar=False)
        for ax, plane in zip(axes, planes.values(), strict=True)
    ]
    for ax, title in zip(axes, planes, strict=True):
        ax.set_title(title)
    add_colorbar(figure, drawn[0], axes, "loss on train")
    write_figure(figure, given.out)
    print(f"written: {given.out}")


if __name__ == "__main__":
    main()
