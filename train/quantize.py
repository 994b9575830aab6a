"""Quantisation-aware training: which layers of a network round as INT8 does.

The layers are those that `rewrite.placement` quantises in the exported file: convolutions and
products with a constant matrix, but for what a module declares in `float_layers` (heads, gates,
what says where to sample, what depends on no image); and of the sums that a convolution is fused
with, the other operand, where a module declares its maker in `residuals`.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from train.models.fake_quantize import quantize_layer, quantize_output, remove_quantizers


def quantize(network: nn.Module) -> None:
    """Let a network round as its INT8 file will, in place; the ranges are 0 until observed."""
    modules = list(network.named_modules())
    for _, module in modules:
        quantize_layer(module)
    for path in _declared(modules, "residuals"):
        quantize_output(network.get_submodule(path))
    for path in _declared(modules, "float_layers"):
        remove_quantizers(network.get_submodule(path))


def _declared(modules: list[tuple[str, nn.Module]], attribute: str) -> Iterator[str]:
    """Paths of the submodules that the modules name in an attribute."""
    for path, module in modules:
        for name in getattr(module, attribute, ()):
            yield f"{path}.{name}" if path else name
