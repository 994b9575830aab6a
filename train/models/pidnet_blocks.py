"""Building blocks of PIDNet (arXiv 2206.02066), with parameters named as in the released code."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the height and width of the other map."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def conv_norm(in_dim: int, out_dim: int, kernel: int = 1, *, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm."""
    return nn.Sequential(
        nn.Conv2d(in_dim, out_dim, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_dim),
    )


def norm_conv(in_dim: int, out_dim: int, kernel: int = 1, *, groups: int = 1) -> nn.Sequential:
    """Batch norm, ReLU, convolution without bias."""
    return nn.Sequential(
        nn.BatchNorm2d(in_dim),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_dim, out_dim, kernel, padding=kernel // 2, groups=groups, bias=False),
    )


class Residual(nn.Module):
    """What both residual blocks share: the shortcut, and a last ReLU that may be absent."""

    def __init__(self, in_dim: int, out_dim: int, *, stride: int, relu: bool) -> None:
        super().__init__()
        same = stride == 1 and in_dim == out_dim
        self.downsample = None if same else conv_norm(in_dim, out_dim, stride=stride)
        self.last_relu = relu

    def add(self, x: Tensor, change: Tensor) -> Tensor:
        """The block's input and what its convolutions made of it."""
        out = change + (x if self.downsample is None else self.downsample(x))
        return F.relu(out) if self.last_relu else out


class BasicBlock(Residual):
    """Two 3x3 convolutions."""

    def __init__(self, in_dim: int, dim: int, *, stride: int = 1, relu: bool = True) -> None:
        super().__init__(in_dim, dim, stride=stride, relu=relu)
        self.conv1 = nn.Conv2d(in_dim, dim, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.add(x, self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Bottleneck(Residual):
    """1x1, 3x3 and 1x1 convolutions; twice as wide at the end, and never a last ReLU."""

    def __init__(self, in_dim: int, dim: int, *, stride: int = 1) -> None:
        super().__init__(in_dim, 2 * dim, stride=stride, relu=False)
        self.conv1 = nn.Conv2d(in_dim, dim, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)
        self.conv3 = nn.Conv2d(dim, 2 * dim, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return self.add(x, self.bn3(self.conv3(out)))


class PixelAttention(nn.Module):
    """Pag: a pixel takes from the context branch as much as the two agree."""

    def __init__(self, dim: int, inner_dim: int) -> None:
        super().__init__()
        self.f_x = conv_norm(dim, inner_dim)
        self.f_y = conv_norm(dim, inner_dim)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """BxCxhxw and a smaller map BxCxh'xw' -> BxCxhxw."""
        key = resize(self.f_y(context), detail)
        share = (self.f_x(detail) * key).sum(dim=1, keepdim=True).sigmoid()
        return (1 - share) * detail + share * resize(context, detail)


class PyramidPooling(nn.Module):
    """What both pyramids share: averages over growing windows, the last one over the whole map."""

    float_layers: ClassVar = ("scale4",)

    def __init__(self, in_dim: int, dim: int, out_dim: int) -> None:
        super().__init__()
        self.scale0 = norm_conv(in_dim, dim)
        pools = [nn.AvgPool2d(2 * s + 1, stride=s, padding=s) for s in (2, 4, 8)]
        for i, pool in enumerate([*pools, nn.AdaptiveAvgPool2d(1)], start=1):
            setattr(self, f"scale{i}", nn.Sequential(pool, *norm_conv(in_dim, dim)))
        self.compression = norm_conv(5 * dim, out_dim)
        self.shortcut = norm_conv(in_dim, out_dim)

    def pooled(self, x: Tensor) -> list[Tensor]:
        """The four averages, projected and upsampled again."""
        return [resize(getattr(self, f"scale{i}")(x), x) for i in range(1, 5)]


class DAPPM(PyramidPooling):
    """Deep aggregation: every scale builds on the one before (DDRNet, arXiv 2101.06085)."""

    def __init__(self, in_dim: int, dim: int, out_dim: int) -> None:
        super().__init__(in_dim, dim, out_dim)
        for i in range(1, 5):
            setattr(self, f"process{i}", norm_conv(dim, dim, 3))

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.scale0(x)]
        for i, pooled in enumerate(self.pooled(x), start=1):
            maps.append(getattr(self, f"process{i}")(pooled + maps[-1]))
        return self.compression(torch.cat(maps, dim=1)) + self.shortcut(x)


class PAPPM(PyramidPooling):
    """Parallel aggregation: all scales at once, in one grouped convolution."""

    def __init__(self, in_dim: int, dim: int, out_dim: int) -> None:
        super().__init__(in_dim, dim, out_dim)
        self.scale_process = norm_conv(4 * dim, 4 * dim, 3, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        first = self.scale0(x)
        scales = self.scale_process(torch.cat([p + first for p in self.pooled(x)], dim=1))
        return self.compression(torch.cat((first, scales), dim=1)) + self.shortcut(x)


class Bag(nn.Module):
    """Boundary attention: detail where the boundary branch is active, context elsewhere."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = norm_conv(dim, dim, 3)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        share = boundary.sigmoid()
        return self.conv(share * detail + (1 - share) * context)


class LightBag(nn.Module):
    """The same with two 1x1 convolutions in place of the 3x3 one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv_p = conv_norm(dim, dim)
        self.conv_i = conv_norm(dim, dim)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        share = boundary.sigmoid()
        return self.conv_p((1 - share) * context + detail) + self.conv_i(context + share * detail)


class SegmentationHead(nn.Module):
    """A 3x3 and a 1x1 convolution, each after batch norm and ReLU."""

    def __init__(self, in_dim: int, dim: int, out_dim: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_dim)
        self.conv1 = nn.Conv2d(in_dim, dim, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, out_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
