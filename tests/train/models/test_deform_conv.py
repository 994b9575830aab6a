from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from train.models.deform_conv import DeformConvolution, ModulatedDeformConv2d

PLAIN = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "deformable_groups": 1}


def bilinear(image, y, x):
    """One value of a 2-D image between four pixels, those outside being zero."""
    height, width = image.shape
    top, left = int(np.floor(y)), int(np.floor(x))
    value = 0.0
    for row, weight_y in ((top, top + 1 - y), (top + 1, y - top)):
        for column, weight_x in ((left, left + 1 - x), (left + 1, x - left)):
            if 0 <= row < height and 0 <= column < width:
                value += weight_y * weight_x * image[row, column]
    return value


def reference(
    x, offset, mask, weight, bias, *, stride, padding, dilation, groups, deformable_groups
):
    """The definition, one output at a time: a sum over channels and kernel points, in FP64."""
    out_dim, group_in, kernel_h, kernel_w = weight.shape
    out = np.zeros((len(x), out_dim, *offset.shape[-2:]))
    for b, o, h, w in np.ndindex(*out.shape):
        for c, k, m in np.ndindex(group_in, kernel_h, kernel_w):
            channel = o // (out_dim // groups) * group_in + c
            group = channel // (x.shape[1] // deformable_groups)
            point = group * kernel_h * kernel_w + k * kernel_w + m
            y = h * stride - padding + k * dilation + offset[b, 2 * point, h, w]
            xx = w * stride - padding + m * dilation + offset[b, 2 * point + 1, h, w]
            value = mask[b, point, h, w] * bilinear(x[b, channel], y, xx)
            out[b, o, h, w] += weight[o, c, k, m] * value
    return out + bias[:, None, None]


def random_inputs(geometry, kernel=(3, 3), size=(5, 7)):
    """x, offset, mask, weight and bias in FP64; some points fall far outside."""
    rng = np.random.default_rng(0)
    points = geometry["deformable_groups"] * kernel[0] * kernel[1]
    height, width = (
        (n + 2 * geometry["padding"] - geometry["dilation"] * (k - 1) - 1) // geometry["stride"] + 1
        for n, k in zip(size, kernel, strict=True)
    )
    offset = rng.normal(0, 2, (2, 2 * points, height, width))
    offset[0, :, 0, 0] = 1e4
    return [
        rng.normal(size=(2, 4, *size)),
        offset,
        rng.uniform(size=(2, points, height, width)),
        rng.normal(size=(6, 4 // geometry["groups"], *kernel)),
        rng.normal(size=6),
    ]


def tensors(arrays):
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


@pytest.mark.parametrize(
    ("changes", "kernel", "size"),
    [
        ({}, (3, 3), (5, 7)),
        ({"dilation": 2, "padding": 2}, (3, 3), (5, 7)),
        ({"stride": 2, "padding": 0}, (3, 3), (8, 7)),
        ({"groups": 2, "deformable_groups": 4}, (3, 3), (3, 4)),
        ({"padding": 0, "deformable_groups": 2}, (1, 2), (4, 5)),
        ({}, (3, 3), (1, 3)),
    ],
)
def test_it_is_the_numpy_reference(changes, kernel, size):
    geometry = PLAIN | changes
    arrays = random_inputs(geometry, kernel, size)
    expected = reference(*arrays, **geometry)
    assert np.abs(expected).mean() > 0.5
    ours = DeformConvolution(**geometry)(*tensors(arrays))
    np.testing.assert_allclose(ours.numpy(), expected, atol=3e-5)


def test_without_offsets_it_is_a_convolution():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 9, 11)
    conv = ModulatedDeformConv2d(in_dim=4, out_dim=6, kernel_size=3, padding=2, dilation=2)
    torch.nn.init.normal_(conv.bias)
    out = conv(x, torch.zeros(2, 18, 9, 11), torch.ones(2, 9, 9, 11))
    torch.testing.assert_close(out, F.conv2d(x, conv.weight, conv.bias, padding=2, dilation=2))


def test_gradients_are_those_of_the_reference():
    arrays = random_inputs(PLAIN, size=(3, 4))
    leaves = [x.requires_grad_() for x in tensors(arrays)]
    rng = np.random.default_rng(1)
    direction = rng.normal(size=(2, 6, 3, 4))
    out = DeformConvolution(**PLAIN)(*leaves)
    (out * torch.tensor(direction, dtype=torch.float32)).sum().backward()
    for i, leaf in enumerate(leaves):
        # Along one random direction per input, by differences of the reference.
        step = rng.normal(size=arrays[i].shape)
        moved = [
            reference(*arrays[:i], arrays[i] + sign * 1e-6 * step, *arrays[i + 1 :], **PLAIN)
            for sign in (1, -1)
        ]
        expected = ((moved[0] - moved[1]) * direction).sum() / 2e-6
        assert (leaf.grad.numpy() * step).sum() == pytest.approx(expected, rel=1e-3)
        assert abs(expected) > 0.1


def test_autocast_keeps_sampling_points_in_single_precision():
    """In bfloat16 column 200.5 would round to 200 or 201, and a unit step be seen or missed."""
    torch.manual_seed(0)
    x = torch.randn(1, 8, 4, 256)
    offset = torch.full((1, 18, 4, 256), 0.5)
    mask = torch.rand(1, 9, 4, 256)
    conv = ModulatedDeformConv2d(in_dim=8, out_dim=8, kernel_size=3, padding=1, bias=False)
    expected = conv(x, offset, mask)
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(x.bfloat16(), offset.bfloat16(), mask.bfloat16())
    assert out.dtype == torch.bfloat16
    assert (out.float() - expected).abs().max() < 0.03 * expected.std()
    out.sum().backward()
    assert conv.weight.grad.abs().sum() > 0


def test_the_core_holds_no_parameters():
    conv = ModulatedDeformConv2d(in_dim=4, out_dim=6, kernel_size=3, groups=2)
    assert {name: tuple(x.shape) for name, x in conv.state_dict().items()} == {
        "weight": (6, 2, 3, 3),
        "bias": (6,),
    }
    assert isinstance(conv.convolution, DeformConvolution)
