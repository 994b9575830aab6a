"""Segmentation models of Hugging Face: a folder with config.json and weights, or a hub id."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from transformers import (
    AutoConfig,
    Mask2FormerForUniversalSegmentation,
    MaskFormerForInstanceSegmentation,
    PreTrainedModel,
    SegformerConfig,
    SegformerForSemanticSegmentation,
)
from transformers.utils import cached_file
from transformers.utils import logging as hf_logging

from segdata.errors import UserError
from segdata.preprocess import MEAN, STD
from train.sources import mask2former, maskformer, segformer
from train.sources.imported import Imported


def _read_segformer(state: Mapping[str, Tensor], config: SegformerConfig) -> Imported:
    ours = SegformerConfig()
    for field in SEGFORMER_FIXED:
        value, wanted = (_plain(getattr(c, field)) for c in (config, ours))
        if value != wanted:
            raise UserError(
                f"SegFormer with {field}={value} is not supported; the published ones have {wanted}"
            )
    return segformer.read(state)


def _plain(value: Any) -> Any:
    """JSON makes lists of tuples."""
    return list(value) if isinstance(value, tuple) else value


# What changes the computation but no shape.
SEGFORMER_FIXED = ("num_attention_heads", "sr_ratios", "strides", "hidden_act", "layer_norm_eps")
READERS: dict[str, tuple[type[PreTrainedModel], Callable[..., Imported]]] = {
    "mask2former": (Mask2FormerForUniversalSegmentation, mask2former.read_hugging_face),
    "maskformer": (MaskFormerForInstanceSegmentation, maskformer.read_hugging_face),
    "segformer": (SegformerForSemanticSegmentation, _read_segformer),
}


def read(source: str) -> Imported:
    """The model in a folder or on the hub, in our terms, class names included.

    Raises:
        UserError: nothing there, no network, another kind of model, damaged or foreign weights.
    """
    config = _try(source, lambda: AutoConfig.from_pretrained(source))
    if config.model_type not in READERS:
        raise UserError(
            f"'{source}' is a {config.model_type} model; supported: {', '.join(READERS)}"
        )
    _check_normalization(source)
    cls, reader = READERS[config.model_type]
    model, info = _try(
        source,
        lambda: cls.from_pretrained(
            source, output_loading_info=True, ignore_mismatched_sizes=True, dtype="float32"
        ),
    )
    if mismatched := sorted(info["mismatched_keys"]):
        name, theirs, ours = mismatched[0]
        raise UserError(
            f"'{source}': tensor '{name}' is {tuple(theirs)}, its config.json asks for "
            f"{tuple(ours)}"
        )
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"'{source}' lacks {len(missing)} tensors, first '{missing[0]}'; "
            f"is it a {cls.__name__}?"
        )
    imported = reader(model.state_dict(), model.config)
    names = tuple(str(model.config.id2label[i]) for i in sorted(model.config.id2label))
    imported.conversion.left_over.extend(sorted(info["unexpected_keys"]))
    return imported._replace(classes=names)


def _try(source: str, load: Callable[[], Any]) -> Any:
    # What the libraries say of retries and of their own internals is not the user's concern.
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return load()
    except Exception as error:  # damaged files make the libraries below raise almost anything
        if Path(source).is_dir():
            reason = (str(error) or repr(error)).splitlines()[0]
            raise UserError(
                f"'{source}': {reason}; a folder needs config.json and model.safetensors"
            ) from None
        raise UserError(
            f"'{source}' is neither a file nor a folder here, and cannot be fetched from the "
            f"Hugging Face hub; where there is a network run: hf download {source} "
            f"--local-dir FOLDER, then give FOLDER"
        ) from None


def _check_normalization(source: str) -> None:
    """Refuse a model that was trained on pixels normalised in another way than ours."""
    path = cached_file(
        source, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
    )
    if path is None:
        return
    settings = json.loads(Path(path).read_text())
    for key, ours in (("image_mean", MEAN), ("image_std", STD)):
        theirs = settings.get(key)
        if theirs is not None and not np.allclose(255 * np.asarray(theirs), ours, atol=0.5):
            raise UserError(
                f"'{source}' normalises with {key}={theirs}; only ImageNet's statistics "
                f"({', '.join(f'{value / 255:.3f}' for value in ours)}) are supported"
            )
