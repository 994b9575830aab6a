"""INT8/FP16 mixes of one model: what `calibration.int8` and `calibration.search` choose among."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain

from onnx import ModelProto

from calibration.rewrite.blocks import HEADS, blocks
from calibration.rewrite.cast import OPSET_OF_HALF_SCALES, halve
from calibration.rewrite.edit import check_is_float, opset, raise_opset
from calibration.rewrite.fold import folded
from calibration.rewrite.placement import place
from calibration.rewrite.qdq import insert
from emca.errors import UserError


class Mixes:
    """Versions of one FP32 model with some blocks in INT8 and the rest in FP16.

    Explicit Q/DQ as TensorRT wants it: signed, symmetric, zero points 0, a scale per tensor for
    activations and per output channel for weights. The rest is in FP16 with the FP32 nodes of
    `calibration.rewrite.fp32_nodes`: what is in FP32 runs without tensor cores in TensorRT or, on
    Turing with TensorRT-RTX, not at all.

    Attributes:
        folded: the FP32 model with constants and batch normalisation folded; ranges are its.
        blocks: block -> outputs of the layers in it (`calibration.rewrite.blocks`).
        usual: the blocks that are quantised unless told otherwise: all but the heads.
        ranges: tensor -> the largest absolute value that INT8 shall represent. To be filled by
            the owner, at least for `tensors()`, before anything is built.
    """

    def __init__(self, model: ModelProto) -> None:
        """Take a model, which is left alone.

        Raises:
            UserError: it is in another number format, has nothing to quantise, or an opset
                before 18.
        """
        check_is_float(model)
        if opset(model) < 18:
            raise UserError(f"the model has opset {opset(model)}; export it with --opset 18")
        self.folded = folded(model)
        self.blocks = blocks(self.folded)
        self.usual = tuple(name for name in self.blocks if name != HEADS)
        if not self.usual:
            raise UserError("the model has no convolution and no matrix product to quantise")
        self.ranges: Mapping[str, float] = {}

    def tensors(self, quantised: Collection[str] | None = None) -> set[str]:
        """Names of the activations whose ranges these blocks need; by default the usual ones."""
        return set(place(self.folded, self._layers(quantised)).reads)

    def build(self, quantised: Collection[str] | None = None) -> ModelProto:
        """The model with these blocks in INT8, by default the usual ones, and the rest in FP16.

        Metadata are copied as they are. With a block in INT8 the opset is 19, the first whose
        Q/DQ takes FP16 scales; without any it is the FP16 file of `calibration.fp16`.

        Raises:
            UserError: weights that are not finite.
        """
        model = ModelProto()
        model.CopyFrom(self.folded)
        chosen = self._layers(quantised)
        if chosen := chosen - self._silent(chosen):
            insert(model, place(model, chosen), self.ranges)
            raise_opset(model, OPSET_OF_HALF_SCALES)
        halve(model)
        return model

    def remarks(self) -> list[str]:
        """Lines about what stays in floating point although its block is quantised."""
        silent = sorted(self._silent(self._layers(None)))
        if not silent:
            return []
        return [f"{len(silent)} layers stay FP16, their input is 0 on every image: {silent[0]}, …"]

    def _silent(self, chosen: Collection[str]) -> set[str]:
        """The layers that would read a tensor without a range: nothing but 0 was seen of it."""
        placement = place(self.folded, chosen)
        reads = (placement.reads[name] for name in placement.reads if not self.ranges[name])
        return placement.weights.keys() & set(chain.from_iterable(reads))

    def _layers(self, quantised: Collection[str] | None) -> set[str]:
        names = self.usual if quantised is None else quantised
        return set(chain.from_iterable(self.blocks[name] for name in names))
