"""Checkpoints of any supported origin: ours, Hugging Face, detectron2, PEM, PIDNet."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from emca.errors import UserError
from train.checkpoint import FORMAT, Checkpoint, parse_checkpoint
from train.config import Config
from train.models import build_model
from train.pickles import read_state
from train.sources import hugging_face, mask2former, pem, pidnet
from train.sources.imported import Imported
from train.sources.taxonomies import check_task, input_size, taxonomy

__all__ = ["load_source"]

STATE_DICTS = (mask2former, pem, pidnet)
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_source(source: str, *, tell: Callable[[str], None]) -> Checkpoint:
    """Read a checkpoint in terms of our own.

    Args:
        source: our `.pth`; a Hugging Face folder or hub id of Mask2Former, MaskFormer or
            SegFormer; a detectron2 `.pkl` or `.pth` of Mask2Former; a PEM `.pth`; a PIDNet `.pt`.
        tell: takes the account of a foreign checkpoint's tensors, one line.

    Raises:
        UserError: it cannot be read, is of another kind or task, or a tensor is missing, left
            over, or of another shape than the rest implies.
    """
    path = Path(source)
    if path.suffix == ".safetensors":
        raise UserError(f"'{source}': give the folder that also holds its config.json")
    if path.suffix == ".onnx":
        raise UserError(f"'{source}' is an exported file; give the checkpoint that it comes from")
    if path.is_file():
        tree, state = read_state(path)
        if tree.get("format") == FORMAT:
            return parse_checkpoint(tree, path)
        imported = _read_state_dict(source, state)
    elif path.is_dir() or (HUB_ID.fullmatch(source) and path.suffix not in (".pth", ".pkl", ".pt")):
        if not path.is_dir():
            tell(f"looking for {source} on the Hugging Face hub")
        imported = hugging_face.read(source)
    else:
        raise UserError(f"no checkpoint at '{source}'")
    check_task(source, imported)
    state = _complete(source, imported, tell)
    known = taxonomy(imported.num_classes, imported.classes)
    return Checkpoint(
        config=dataclasses.replace(
            Config(), model=imported.model, eval_size=input_size(known.name)
        ),
        classes=known.classes,
        palette=known.palette,
        iterations=0,
        miou=None,
        model=state,
        imported_from=f"{imported.kind}: {path.name if path.exists() else source}",
    )


def _read_state_dict(source: str, state: dict[str, Tensor]) -> Imported:
    for kind in STATE_DICTS:
        if kind.matches(state):
            try:
                return kind.read(state)
            except UserError as error:
                raise UserError(f"'{source}': {error}") from None
    names = sorted(state)
    raise UserError(
        f"'{source}' holds {len(names)} tensors of no model that is known here ('{names[0]}', …); "
        "known: checkpoints of this project, Mask2Former (detectron2), PEM, PIDNet; Hugging Face "
        "models as folders"
    )


def _complete(source: str, imported: Imported, tell: Callable[[str], None]) -> dict[str, Tensor]:
    """The state dict that fits the model exactly; counters that the source lacks are zero."""
    conversion = imported.conversion
    with torch.device("meta"):  # names and shapes alone
        own = build_model(imported.model, num_classes=imported.num_classes).state_dict()
    counters = [name for name in own if name.endswith("num_batches_tracked")]
    state = {name: torch.tensor(0) for name in counters} | conversion.tensors
    missing = sorted(own.keys() - state.keys())
    tell(f"{imported.kind}: {conversion.summary(missing)}")
    for name in sorted(own.keys() & state.keys()):
        if own[name].shape != state[name].shape:
            raise UserError(
                f"'{source}': tensor '{conversion.origin(name)}' gives '{name}' the shape "
                f"{tuple(state[name].shape)}, the rest of the checkpoint implies "
                f"{tuple(own[name].shape)}"
            )
    unknown = [*conversion.left_over, *sorted(state.keys() - own.keys())]
    if unknown:
        raise UserError(
            f"'{source}': {len(unknown)} tensors are left over, first '{unknown[0]}'; "
            f"it is no plain {imported.kind}"
        )
    if missing:
        raise UserError(
            f"'{source}' lacks {len(missing)} tensors, first what becomes '{missing[0]}'"
        )
    return {name: value.float() if value.is_floating_point() else value
            for name, value in state.items()}  # fmt: skip
