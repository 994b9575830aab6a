"""Segmentation models of Hugging Face: a folder with config.json and weights, or a hub id."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import model_info
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors import SafetensorError
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

from emca.errors import UserError
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


HUB_TIMEOUT = 10.0  # seconds
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
    with _quiet():
        return _read(source, {} if Path(source).is_dir() else {"local_files_only": _away(source)})


def _read(source: str, options: dict[str, bool]) -> Imported:
    config = _try(source, lambda: AutoConfig.from_pretrained(source, **options))
    if config.model_type not in READERS:
        raise UserError(
            f"'{source}' is a {config.model_type} model; supported: {', '.join(READERS)}"
        )
    _check_normalization(source, options)
    cls, reader = READERS[config.model_type]
    model, info = _try(
        source,
        lambda: cls.from_pretrained(
            source,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype="float32",
            **options,
        ),
    )
    try:
        imported = reader(model.state_dict(), model.config)
    except UserError as error:
        raise UserError(f"'{source}': {error}") from None
    _check_complete(source, info, imported, cls.__name__)
    names = tuple(str(model.config.id2label[i]) for i in sorted(model.config.id2label))
    return imported._replace(classes=names)


def _check_complete(source: str, info: dict[str, Any], imported: Imported, kind: str) -> None:
    """Refuse a file that does not fill the model; enter what it holds besides in the account."""
    conversion = imported.conversion
    if mismatched := sorted(info["mismatched_keys"]):
        name, theirs, ours = mismatched[0]
        raise UserError(
            f"'{source}': tensor '{name}' is {tuple(theirs)}, its config.json asks for "
            f"{tuple(ours)}"
        )
    # Older releases stored an index for each window attention, and Swin without its last norm.
    absent = set(info["missing_keys"])
    if missing := sorted(absent - set(conversion.unneeded)):
        raise UserError(
            f"'{source}' lacks {len(missing)} tensors, first '{missing[0]}'; is it a {kind}?"
        )
    conversion.unneeded = [name for name in conversion.unneeded if name not in absent]
    for name in sorted(info["unexpected_keys"]):
        known = name.endswith("relative_position_index")
        (conversion.unneeded if known else conversion.left_over).append(name)


def _away(source: str) -> bool:
    """Whether the hub cannot be asked; then the library's cache is all there is.

    One question, since the library repeats each of its own for half a minute.
    """
    try:
        model_info(source, timeout=HUB_TIMEOUT)
    except RepositoryNotFoundError:  # or one that asks for consent
        raise UserError(
            f"'{source}' is neither a file nor a folder here, and the Hugging Face hub has no "
            "model of that name that you may read; correct the name or run: hf auth login"
        ) from None
    except Exception:  # no network, or whatever else keeps the hub from answering
        return True
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """What the libraries say of retries and of their own internals is not the user's concern."""
    verbosity, logger = hf_logging.get_verbosity(), logging.getLogger("huggingface_hub")
    level, bars = logger.level, hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        logger.setLevel(level)
        if bars:
            hf_logging.enable_progress_bar()


def _try(source: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # damaged files make the libraries below raise almost anything
        if _is_damage(error):
            raise UserError(
                f"'{source}': its weights are damaged, truncated or of another kind; fetch them "
                "again"
            ) from None
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


def _is_damage(error: Exception) -> bool:
    """Whether a file of weights is there but cannot be read."""
    kinds = (SafetensorError, pickle.UnpicklingError, EOFError)
    return isinstance(error, kinds) or "PytorchStreamReader" in str(error)


def _check_normalization(source: str, options: dict[str, bool]) -> None:
    """Refuse a model that was trained on pixels normalised in another way than ours."""
    path = cached_file(
        source,
        "preprocessor_config.json",
        _raise_exceptions_for_missing_entries=False,
        **options,
    )
    if path is None:
        return
    try:
        settings = json.loads(Path(path).read_text())
        if not isinstance(settings, dict):
            raise ValueError("no settings by name")
    except ValueError as error:
        raise UserError(
            f"'{source}': preprocessor_config.json cannot be read: {error}; fetch it again"
        ) from None
    for key, ours in (("image_mean", MEAN), ("image_std", STD)):
        theirs = settings.get(key)
        if theirs is not None and not _are_close(theirs, ours):
            raise UserError(
                f"'{source}' normalises with {key}={theirs}; only ImageNet's statistics "
                f"({', '.join(f'{value / 255:.3f}' for value in ours)}) are supported"
            )


def _are_close(theirs: Any, ours: tuple[float, ...]) -> bool:
    """Whether a setting, in 0..1, means our statistic, in 0..255."""
    try:
        return np.allclose(255 * np.asarray(theirs, float), ours, atol=0.5)
    except (TypeError, ValueError):  # no numbers, or not three
        return False
