"""The eye before it is exported: a small residual network, whose embedding decides what it names."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

WIDTHS = (16, 32, 64)
"""Channels at a quarter, an eighth and a sixteenth of the picture's side. Sixteen is what a vector unit holds."""
DIMENSIONS = 64
SHARPNESS = 4.0
"""What cosines are multiplied by to be log-odds. At 10, photos of a kind end up further from each other."""


class Block(nn.Module):
    """Two convolutions beside a way past them; what follows a layer is a ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = convolution(width, width)
        self.second = convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.second(torch.relu(self.first(x)))
        return x + inner


class Network(nn.Module):
    """From pixels to log-odds and embeddings.

    A label's log-odds are the cosine between a photo's embedding and the label's own vector, sharpened. So photos
    of one kind come to lie close to each other without a loss of its own for that.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        stem = convolution(3, WIDTHS[0], kernel=7, stride=4)
        layers = [stem, Block(WIDTHS[0])]
        for width, next_width in pairwise(WIDTHS):
            layers += [convolution(width, next_width, stride=2), Block(next_width)]
        self.body = nn.ModuleList(layers)
        self.embed = nn.Linear(WIDTHS[-1], DIMENSIONS)
        self.names = nn.Parameter(torch.randn(labels, DIMENSIONS))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, labels] log-odds and [B, DIMENSIONS] embeddings of photos [B, side, side, 3], 0 to 255."""
        x = pixels.permute(0, 3, 1, 2).float() / 255
        for layer in self.body:
            x = torch.relu(layer(x))
        embedding = normalize(self.embed(x.mean(dim=(2, 3))))
        return SHARPNESS * embedding @ normalize(self.names).T, embedding


def convolution(channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """kernel × kernel, with a batch norm."""
    inner = nn.Conv2d(channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(inner, nn.BatchNorm2d(out_channels))
