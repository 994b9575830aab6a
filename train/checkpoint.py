"""Checkpoint files: plain tensors and plain values, written whole or not at all."""

from __future__ import annotations

import dataclasses
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emca.errors import UserError
from emca.files import atomic_path
from train.config import Config, from_dict
from train.models import build_model
from train.models.network import Network
from train.pickles import load_tensors
from train.quantize import quantize

log = logging.getLogger(__name__)

FORMAT = "emca-checkpoint"
VERSION = 1
FREE_ON_RESUME = ("workers", "eval_every", "save_every")


@dataclass(frozen=True)
class Checkpoint:
    """What a `.pth` file of ours holds."""

    config: Config
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    iterations: int
    """Optimizer steps behind the weights; 0 = not trained."""
    miou: float | None
    """On the validation data, where it was evaluated."""
    model: dict[str, Tensor]
    training: dict[str, Any] | None = None
    """Optimizer, averaged weights and so on, in files that a run can resume from."""
    imported_from: str = ""
    """What it was before, where it was not trained here."""

    def build(self) -> Network:
        """The network with these weights, in evaluation mode; rounding where it trained so.

        Raises:
            UserError: the weights do not fit the configuration.
        """
        config = dataclasses.replace(self.config.model, backbone_weights="")
        model = build_model(config, num_classes=len(self.classes))
        if self.config.quantize:
            quantize(model)
        load_weights(model, self.model)
        return model.eval()


def load_weights(model: torch.nn.Module, state: dict[str, Tensor]) -> None:
    """Load a state dict that must fit exactly.

    Raises:
        UserError: names the first tensor that is missing, left over, or of another shape.
    """
    own = model.state_dict()
    for key in sorted(own.keys() | state.keys()):
        if key not in state:
            raise UserError(f"the checkpoint lacks '{key}', which its configuration asks for")
        if key not in own:
            raise UserError(f"the checkpoint holds '{key}', which its configuration does not know")
        if own[key].shape != state[key].shape:
            raise UserError(
                f"checkpoint tensor '{key}' is {tuple(state[key].shape)}, its configuration and "
                f"class count ask for {tuple(own[key].shape)}"
            )
    model.load_state_dict(state)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically and durably: a crash at any moment leaves the previous file or this one."""
    tree = {
        "format": FORMAT,
        "version": VERSION,
        "config": dataclasses.asdict(checkpoint.config),
        "classes": list(checkpoint.classes),
        "palette": [list(color) for color in checkpoint.palette],
        "iterations": checkpoint.iterations,
        "miou": checkpoint.miou,
        "model": checkpoint.model,
        "training": checkpoint.training,
        "imported_from": checkpoint.imported_from,
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(tree, file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in the file is executed.

    Raises:
        UserError: missing, truncated or foreign file, or a pickle with code in it.
    """
    tree = load_tensors(path)
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise UserError(f"'{path}' was not written by this project's training")
    return parse_checkpoint(tree, path)


def parse_checkpoint(tree: dict[str, Any], path: Path) -> Checkpoint:
    """The content of a file of ours, checked; `path` names it in errors.

    Raises:
        UserError: another version, or incomplete.
    """
    if tree.get("version") != VERSION:
        raise UserError(
            f"'{path}' has checkpoint version {tree.get('version')}; this release reads {VERSION}"
        )
    try:
        if not all(isinstance(value, Tensor) for value in tree["model"].values()):
            raise TypeError("the model's weights are not tensors")
        return Checkpoint(
            config=from_dict(tree["config"]),
            classes=tuple(tree["classes"]),
            palette=tuple((r, g, b) for r, g, b in tree["palette"]),
            iterations=tree["iterations"],
            miou=tree["miou"],
            model=tree["model"],
            training=tree["training"],
            imported_from=tree.get("imported_from", ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"'{path}' is no complete checkpoint: {error}") from None


def find_previous(config: Config, out: Path, *, resume: bool) -> Checkpoint | None:
    """The run in `out` that is to be continued, if there is one.

    Raises:
        UserError: there is one but `resume` is false, or it was trained with another configuration.
    """
    for leftover in out.glob(".*.part.pth"):  # of a run that was killed while it wrote
        leftover.unlink()
    path = out / "last.pth"
    if not path.exists():
        if resume:
            log.info("nothing to resume in %s: starting", out)
        return None
    if not resume:
        raise UserError(f"'{out}' already holds a run; continue it with --resume or choose --out")
    previous = load_checkpoint(path)
    if previous.training is None:
        raise UserError(f"'{path}' holds weights alone, no state to resume from")
    ours, theirs = dataclasses.asdict(config), dataclasses.asdict(previous.config)
    for key, value in ours.items():
        if value != theirs[key] and key not in FREE_ON_RESUME:
            raise UserError(
                f"cannot resume '{path}': it was trained with {key}={theirs[key]}, not {value}; "
                "give the same or choose another --out"
            )
    return previous
