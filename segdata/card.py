"""What an exported model says about itself, kept in the ONNX file's `metadata_props`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emca.errors import UserError

FORMAT_VERSION = "1"
HEADS = ("labels", "scores", "masks")
HEAD_ORDERS = ("fast", "official")
PRECISIONS = ("fp32", "fp16", "int8")
LARGEST_SIZE = 1 << 20
ADDED = ("imported_from", "head_order", "ranges")  # since the first files were written


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Everything a reader of an exported model needs to know beyond its graph.

    Attributes:
        classes: class names; the index is the label.
        palette: one RGB colour per class, 0..255.
        mean, std: normalisation inside the graph, RGB in 0..255 units.
        ignore_index: label of pixels that count nowhere.
        input_size: height and width the network takes, up to LARGEST_SIZE.
        head: "labels", "scores" or "masks".
        precision: "fp32", "fp16" or "int8".
        checkpoint_sha256: fingerprint of the checkpoint it was exported from.
        trained_iterations: optimiser steps behind the weights; 0 means not trained.
        versions: library name to version, at export.
        command: the command line that wrote the file.
        task: what the labels mean; "semantic".
        source_sha256: fingerprint of the ONNX file that a cast or quantised model was made from.
        calibration: how the INT8 ranges came about: data spec, images, method.
        imported_from: the foreign checkpoint that the weights come from; empty: trained here.
        head_order: "fast" (classes and masks meet before upsampling) or "official" (after).
        ranges: what quantisation-aware training learnt: tensor of an FP32 file's graph -> the
            largest absolute value that INT8 shall represent of it.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    ignore_index: int
    input_size: tuple[int, int]
    head: str
    precision: str
    checkpoint_sha256: str
    trained_iterations: int
    versions: dict[str, str]
    command: str
    task: str = "semantic"
    source_sha256: str = ""
    calibration: dict[str, Any] = field(default_factory=dict)
    imported_from: str = ""
    head_order: str = "fast"
    ranges: dict[str, float] = field(default_factory=dict)

    @property
    def is_trained(self) -> bool:
        """Whether anything was learnt: steps of ours, or somebody else's checkpoint."""
        return self.trained_iterations > 0 or bool(self.imported_from)

    def to_props(self) -> dict[str, str]:
        """The card as ONNX metadata: one key per field with a JSON value, and `format_version`."""
        values = {f.name: json.dumps(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {"format_version": FORMAT_VERSION, **values}

    @classmethod
    def from_props(cls, props: Mapping[str, str], where: str) -> ModelCard:
        """Read the card back; `where` names the file in errors. Keys of others are passed over.

        Raises:
            UserError: the metadata are not ours, of another version, or incomplete.
        """
        version = props.get("format_version")
        if version is None:
            raise UserError(
                f"{where} was not written by export.to_onnx: it has no format_version in its "
                "metadata; export the checkpoint with python -m export.to_onnx"
            )
        if version != FORMAT_VERSION:
            raise UserError(
                f"{where} has metadata format {version!r} but this version reads "
                f"{FORMAT_VERSION!r}; export it again or update this package"
            )
        values = {f.name: _value(props, f, where) for f in dataclasses.fields(cls)}
        card = cls(**values)
        card._check(where)
        return card

    def _check(self, where: str) -> None:
        wrong = [
            name
            for name, right in {
                "classes": _is_row(self.classes, str),
                "palette": _is_row(self.palette, tuple, len(self.classes))
                and all(_are_whole(colour, 3, 0, 255) for colour in self.palette),
                "mean": _is_row(self.mean, float, 3),
                "std": _is_row(self.std, float, 3),
                "input_size": _are_whole(self.input_size, 2, 1, LARGEST_SIZE),
                "head": self.head in HEADS,
                "head_order": self.head_order in HEAD_ORDERS,
                "precision": self.precision in PRECISIONS,
                "ranges": _are_ranges(self.ranges),
            }.items()
            if not right
        ]
        if wrong:
            value = getattr(self, wrong[0])
            if wrong[0] == "ranges" and isinstance(value, dict):  # hundreds, and most are right
                value = {name: r for name, r in value.items() if not _are_ranges({name: r})}
                value = dict(list(value.items())[:1])
            raise UserError(f"{where}: metadata key {wrong[0]!r} is {value!r}; export it again")


def _is_row(value: object, kind: type, length: int | None = None) -> bool:
    """Whether `value` is a tuple of `kind` and of `length`, or of any length but zero."""
    return (
        isinstance(value, tuple)
        and all(isinstance(item, kind) for item in value)
        and (len(value) == length if length else bool(value))
    )


def _are_whole(values: object, count: int, least: int, most: int) -> bool:
    """Whether `values` is a tuple of `count` integers within the limits."""
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(type(value) is int and least <= value <= most for value in values)
    )


def _are_ranges(value: object) -> bool:
    """Whether `value` maps names to numbers that can be ranges."""
    return isinstance(value, dict) and all(
        isinstance(largest, float) and math.isfinite(largest) and largest >= 0
        for largest in value.values()
    )


def _value(props: Mapping[str, str], f: dataclasses.Field[Any], where: str) -> Any:
    if f.name not in props and f.name in ADDED:
        return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
    if f.name not in props:
        raise UserError(f"{where}: metadata key {f.name!r} is missing; export it again")
    try:
        return _frozen(json.loads(props[f.name]))
    except json.JSONDecodeError:
        raise UserError(f"{where}: metadata key {f.name!r} is not JSON; export it again") from None


def _frozen(value: Any) -> Any:
    """JSON knows lists only; the card's sequences are tuples. Objects are left alone."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
