"""Modulated deformable convolution, DCNv2 (Zhu et al., CVPR 2019, arXiv 1811.11168, section 3.2).

Offsets and masks are laid out as detectron2, mmcv, torchvision and TensorRT have them: for each
deformable group, dy and dx of the first kernel point, then of the second, row by row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DeformConvolution(nn.Module):
    """Sample at shifted points, weigh by the mask, multiply by the kernel.

    The one operation that TensorRT has a plugin for. It holds no parameters; an exporter replaces
    it by a custom op of the same signature.

    Args:
        stride, padding, dilation: the same in both directions.
        groups: of the kernel, as in `nn.Conv2d`.
        deformable_groups: runs of input channels with offsets and masks of their own.
    """

    def __init__(
        self,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        deformable_groups: int = 1,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.deformable_groups = deformable_groups

    def forward(
        self, x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Convolve; in the notation below D deformable groups, kernel of k x l points.

        Args:
            x: BxCxHxW. offset: Bx(2Dkl)xhxw, in pixels of x. mask: Bx(Dkl)xhxw.
            weight: Ox(C/groups)xkxl. bias: O.

        Returns:
            BxOxhxw.
        """
        batch, out_dim = x.shape[0], weight.shape[0]
        rows, columns = self.sampling_points(offset, weight.shape[-2:])
        samples = sample(x, rows, columns, mask).to(x.dtype)
        samples = samples.reshape(batch, self.groups, -1, samples.shape[-1])
        out = weight.reshape(self.groups, out_dim // self.groups, -1) @ samples
        out = out.reshape(batch, out_dim, *offset.shape[-2:])
        return out if bias is None else out + bias.to(out.dtype).reshape(-1, 1, 1)

    def sampling_points(self, offset: Tensor, kernel: torch.Size) -> tuple[Tensor, Tensor]:
        """Where each kernel point of each output looks, in FP32 whatever the offsets are in.

        Args:
            offset: Bx(2Dkl)xhxw. kernel: (k, l).

        Returns:
            Rows and columns of the input, both BxDx(kl)xhxw and not whole numbers.
        """
        batch, _, height, width = offset.shape

        def axis(length: int, step: int) -> Tensor:
            return torch.arange(length, device=offset.device, dtype=torch.float32) * step

        kernel_y = axis(kernel[0], self.dilation).repeat_interleave(kernel[1])
        kernel_x = axis(kernel[1], self.dilation).repeat(kernel[0])
        y = kernel_y.view(-1, 1, 1) + axis(height, self.stride).view(-1, 1) - self.padding
        x = kernel_x.view(-1, 1, 1) + axis(width, self.stride) - self.padding
        shape = (batch, self.deformable_groups, len(kernel_y), 2, height, width)
        dy, dx = offset.float().reshape(shape).unbind(dim=3)
        return y + dy, x + dx


def sample(x: Tensor, rows: Tensor, columns: Tensor, mask: Tensor) -> Tensor:
    """Bilinear samples of x, zero outside, times the mask.

    On a CPU `grid_sample` takes between a half and a seventh of the time of four gathers.

    Args:
        x: BxCxHxW. rows, columns: BxDxKxhxw, see `DeformConvolution.sampling_points`.
        mask: Bx(DK)xhxw.

    Returns:
        Bx(CK)x(hw) FP32, the K points of a channel side by side.
    """
    batch, groups, count, height, width = rows.shape
    in_height, in_width = x.shape[-2:]
    folded = batch * groups
    # To grid_sample -1 and 1 are the outer edges of the image, and x comes before y.
    grid = torch.stack(((2 * columns + 1) / in_width - 1, (2 * rows + 1) / in_height - 1), dim=-1)
    with torch.autocast(x.device.type, enabled=False):
        samples = F.grid_sample(
            x.float().reshape(folded, -1, in_height, in_width),
            grid.view(folded, count * height, width, 2),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        samples = samples * mask.float().reshape(folded, 1, count * height, width)
    return samples.view(batch, -1, height * width)


class ModulatedDeformConv2d(nn.Module):
    """A deformable convolution that is told its offsets and masks.

    Args:
        in_dim: channels C. out_dim: channels O.
        kernel_size: k, of a square kernel.
        stride, padding, dilation, groups, deformable_groups: see `DeformConvolution`.
    """

    def __init__(
        self,
        *,
        in_dim: int,
        out_dim: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.convolution = DeformConvolution(
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            deformable_groups=deformable_groups,
        )
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim // groups, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_dim)) if bias else None
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """BxCxHxW, Bx(2Dkk)xhxw and Bx(Dkk)xhxw -> BxOxhxw."""
        return self.convolution(x, offset, mask, self.weight, self.bias)
