"""The model configuration of Triton Inference Server, as text: NAME/config.pbtxt.

The fields are those of `inference.ModelConfig` in triton-inference-server/common,
protobuf/model_config.proto.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from emca.errors import UserError
from runtime.backends import EngineFile, InputShape, ModelFile
from runtime.serving.start import VERSION_COMPATIBLE
from segdata.card import ModelCard

# A message of the text format: (field, value) in order; a list stands for a repeated number.
Value: TypeAlias = "str | int | bool | Word | list[int] | list[str] | Fields"
Fields: TypeAlias = "list[tuple[str, Value]]"

KINDS = ("gpu", "cpu")
CLASSES, PALETTE = "classes", "palette"  # parameters that clients read
WARMUP_COUNT = 3  # runs: the first two allocate
# In some releases of onnxruntime WeightBiasQuantization breaks INT8 files (docs/serve.md), and
# Triton can only turn all optimisers off: that is level 2 of its onnxruntime backend.
NO_OPTIMISATION = 2
DEFAULT_DELAY_US, MOST_DELAY_US = 2000, 10_000_000


class Word(str):
    """A name of an enumeration, which the text format writes without quotes."""


@dataclass(frozen=True)
class Batching:
    """How requests become batches.

    Attributes:
        maximum: images in one batch; 0 means that requests are run one by one, as they come.
        preferred: batch sizes to wait for; empty for any.
        delay_us: microseconds that a request may wait for others.
    """

    maximum: int
    preferred: tuple[int, ...] = ()
    delay_us: int = 0


@dataclass(frozen=True)
class Served:
    """One model as it will be served.

    Attributes:
        name: in the repository and in requests.
        source: the model file.
        instances: how many copies run side by side on each device.
        kind: "gpu" or "cpu".
    """

    name: str
    source: ModelFile | EngineFile
    batching: Batching
    instances: int
    kind: str

    @property
    def is_engine(self) -> bool:
        """Whether it is a TensorRT plan."""
        return isinstance(self.source, EngineFile)

    @property
    def file_name(self) -> str:
        """What Triton looks for in the folder of a version."""
        return "model.plan" if self.is_engine else "model.onnx"


def choose_batching(
    source: ModelFile | EngineFile,
    *,
    maximum: int | None,
    preferred: Sequence[int] = (),
    delay_us: int | None = None,
) -> Batching:
    """The batching that a model allows and the user wants.

    A model of a fixed batch is run one request at a time. One of any batch takes up to `maximum`
    images, by default 8; an engine no more than its profiles do without a gap. A request waits
    for others for `delay_us` microseconds, by default DEFAULT_DELAY_US.

    Raises:
        UserError: the wishes contradict the model or each other.
    """
    limit = _limit(source)
    if limit == 0:
        wishes = {"--max-batch": maximum, "--preferred": preferred, "--delay-us": delay_us}
        for flag, given in wishes.items():
            if given is not None and given != ():
                raise UserError(
                    f"{flag}: {source.path} has a fixed batch of {source.input_shape[0]}; export "
                    "with --dynamic-batch, or leave the option out"
                )
        return Batching(0)
    chosen = maximum or (limit if limit else 8)
    if limit and chosen > limit:
        raise UserError(
            f"--max-batch={chosen}: the profiles of {source.path} take batches of 1 to {limit}; "
            "build it with larger --maxShapes, or ask for less"
        )
    if wrong := [size for size in preferred if not 1 <= size <= chosen]:
        raise UserError(f"--preferred={wrong[0]} is not within 1 to {chosen}, the largest batch")
    return Batching(chosen, tuple(preferred), DEFAULT_DELAY_US if delay_us is None else delay_us)


def count_of(flag: str, least: int, most: int) -> Callable[[str], int]:
    """Reads the value of a flag, a whole number; UserError where it is none or out of range."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise UserError(f"{flag}={text} is no whole number from {least} to {most}")
        return int(text)

    return parse


def config_text(served: Served) -> str:
    """The content of config.pbtxt."""
    fields: Fields = [
        ("name", served.name),
        ("platform", "tensorrt_plan" if served.is_engine else "onnxruntime_onnx"),
        ("max_batch_size", served.batching.maximum),
        ("input", _tensor("image", _dims(served, 3))),
        ("output", _tensor("labels", _dims(served, 2))),
        ("instance_group", _instances(served)),
    ]
    if served.batching.maximum:
        fields.append(("dynamic_batching", _dynamic(served.batching)))
    if not served.is_engine and served.source.card.precision == "int8":
        graph: Fields = [("level", NO_OPTIMISATION)]
        optimization: Fields = [("graph", graph)]
        fields.append(("optimization", optimization))
    fields += [("model_warmup", warmup) for warmup in _warmups(served)]
    fields += _parameters(served.source)
    return "".join(f"{line}\n" for line in _lines(fields))


def _limit(source: ModelFile | EngineFile) -> int | None:
    """The largest batch up to which the model takes every one, 0 for a fixed one, None for any.

    Raises:
        UserError: an engine that does not take single images.
    """
    if source.input_shape[0] is not None:
        return 0
    if isinstance(source, ModelFile):
        return None
    if source.least_batch > 1:
        raise UserError(
            f"{source.path} takes no batch below {source.least_batch}, and a server gets single "
            "images too; build it with --minShapes of batch 1"
        )
    reached = 0  # a batch in a gap between profiles would be run under the wrong one
    for low, high in sorted((p.minimum[0], p.maximum[0]) for p in source.profiles):
        if low <= reached + 1:
            reached = max(reached, high)
    return reached


def _dims(served: Served, rank: int) -> list[int]:
    """H, W and what follows; before them the batch where Triton does not make it."""
    shape: InputShape = served.source.input_shape
    inner = [shape[1], shape[2], 3][:rank]
    return inner if served.batching.maximum else [shape[0] or 1, *inner]


def _tensor(name: str, dims: list[int]) -> Fields:
    # No label_filename: Triton would take a pixel's place in the map for its class.
    return [("name", name), ("data_type", Word("TYPE_UINT8")), ("dims", dims)]


def _instances(served: Served) -> Fields:
    fields: Fields = [("count", served.instances), ("kind", Word(f"KIND_{served.kind.upper()}"))]
    if isinstance(served.source, EngineFile) and len(served.source.profiles) > 1:
        # Without this Triton knows the first profile alone.
        fields.append(("profile", [str(index) for index in range(len(served.source.profiles))]))
    return fields


def _dynamic(batching: Batching) -> Fields:
    fields: Fields = []
    if batching.preferred:
        fields.append(("preferred_batch_size", list(batching.preferred)))
    if batching.delay_us:
        fields.append(("max_queue_delay_microseconds", batching.delay_us))
    return fields


def _warmups(served: Served) -> list[Fields]:
    """Random images at the smallest and the largest batch, before the model counts as ready."""
    sizes = sorted({1, max(served.batching.maximum, 1)})
    image: Fields = [
        ("data_type", Word("TYPE_UINT8")),
        ("dims", _dims(served, 3)),
        ("random_data", True),
    ]
    entry: Fields = [("key", "image"), ("value", image)]
    return [
        [
            ("name", f"batch_{size}"),
            ("batch_size", size),
            ("inputs", entry),
            ("count", WARMUP_COUNT),
        ]
        for size in sizes
    ]


def _parameters(source: ModelFile | EngineFile) -> Fields:
    """What a client needs to draw the labels; Triton hands it out with the configuration."""
    card: ModelCard = source.card
    texts = {
        CLASSES: json.dumps(card.classes, ensure_ascii=False),
        PALETTE: json.dumps(card.palette),
        "precision": card.precision,
        "checkpoint_sha256": card.checkpoint_sha256,
    }
    if isinstance(source, EngineFile) and source.version_compatible:
        texts[VERSION_COMPATIBLE] = "true"
    found: Fields = []
    for key, text in texts.items():
        value: Fields = [("string_value", text)]
        entry: Fields = [("key", key), ("value", value)]
        found.append(("parameters", entry))
    return found


def _lines(fields: Fields, indent: str = "") -> list[str]:
    """Protocol buffer text format, one field a line."""
    lines = []
    for name, value in fields:
        if isinstance(value, list) and all(isinstance(item, tuple) for item in value):
            inner = _lines(value, f"{indent}  ")  # type: ignore[arg-type]  # tuples, as asked
            lines += [f"{indent}{name} {{", *inner, f"{indent}}}"]
        elif isinstance(value, list):
            items = ", ".join(_scalar(item) for item in value)  # type: ignore[arg-type]
            lines.append(f"{indent}{name}: [ {items} ]")
        else:
            lines.append(f"{indent}{name}: {_scalar(value)}")
    return lines


def _scalar(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, Word)):
        return str(value)
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(letter, letter) for letter in value) + '"'


def folder_of(repository: Path, served: Served) -> Path:
    """Where the model stands in the repository."""
    return repository / served.name
