"""The models of a comparison: their files, names, costs and backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from emca.errors import UserError
from emca.files import sha256
from runtime.backends import EngineFile, ModelFile, choose_for_onnx, is_engine
from runtime.comparison.table import Model
from runtime.evaluate import check_classes
from runtime.graph.flops import Cost, count
from segdata.datasets import Dataset

DEFAULT_STEM = "model"  # of a file that training and export name: its folder says more


def named(words: Sequence[str]) -> dict[str, Path]:
    """The files by the name they get in the tables: NAME of NAME=FILE, else from their paths.

    Raises:
        UserError: no model, a name or a file that is given twice, an empty name.
    """
    if not words:
        raise UserError("no model given; name FP32 .onnx files of export.to_onnx or engines")
    pairs = [_split(word) for word in words]
    files = [path.resolve() for _, path in pairs]
    for place, file in enumerate(files):
        if file in files[:place]:
            raise UserError(f"{pairs[place][1]} is given twice; give each model once")
    derived = _derived_names([path for name, path in pairs if name is None])
    found: dict[str, Path] = {}
    for name, path in pairs:
        name = name if name is not None else derived[path]
        if name in found:
            raise UserError(
                f'the name "{name}" is given to two models, {found[name]} and {path}; '
                "write NAME=FILE to tell them apart"
            )
        found[name] = path
    return found


def _split(word: str) -> tuple[str | None, Path]:
    name, sign, path = word.partition("=")
    if not sign or Path(word).exists():
        return None, Path(word)
    if not name.strip() or not path:
        raise UserError(f'"{word}" lacks a name or a file; write NAME=FILE')
    return name.strip(), Path(path)


def _derived_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The shortest end of each path that no other shares, `model` alone never being one."""
    tails = {path: [*path.resolve().parts[1:-1], path.stem] for path in paths}
    names: dict[Path, str] = {}
    for path, tail in tails.items():
        others = [other for key, other in tails.items() if key != path]
        if tail[-1] == DEFAULT_STEM and len(tail) > 1:
            others = [other[:-1] for other in others if other[-1] == DEFAULT_STEM]
            tail = tail[:-1]
        lengths = range(1, len(tail) + 1)
        length = next((n for n in lengths if all(o[-n:] != tail[-n:] for o in others)), len(tail))
        names[path] = "/".join(tail[-length:])
    return names


def read(files: Mapping[str, Path], dataset: Dataset | None) -> list[Model]:
    """What each file says about itself, checked before anything takes time.

    Raises:
        UserError: a file that cannot be read or is not FP32, or classes that the data lacks.
    """
    models = []
    for name, path in files.items():
        engine = EngineFile.read(path) if is_engine(path) else None
        file = engine or ModelFile.read_fp32(path)
        if dataset:
            check_classes(file, dataset)
        size = (file.input_shape[1], file.input_shape[2])
        cost = engine_cost(file) if isinstance(file, EngineFile) else count(file.proto)
        models.append(Model(name, path, file.card, size, cost, sha256(path), engine))
    return models


def engine_cost(engine: EngineFile) -> Cost | None:
    """Operations and parameters of an engine, counted in the FP32 file that it goes back to.

    None where this file is not beside the one that the engine was built from, or has changed.
    """
    made_from, precision = engine.onnx, engine.card.precision
    if precision == "fp32":
        source, fingerprint = made_from, engine.onnx_sha256
    else:
        stem = made_from.stem.removesuffix(f".{precision}")
        source, fingerprint = made_from.with_name(f"{stem}.onnx"), engine.card.source_sha256
    if not source.is_file() or sha256(source) != fingerprint:
        return None
    return count(ModelFile.read(source).proto)


def chosen(backend: str, models: Sequence[Model]) -> dict[str, str]:
    """The backend of each model by its name; an engine among ONNX files runs on its own.

    Raises:
        UserError: no such backend, or one that does not run these files.
    """
    others = [model for model in models if not model.engine]
    if not others:
        return dict.fromkeys((model.name for model in models), backend)
    name = choose_for_onnx(others[0].path, backend)
    return {model.name: "auto" if model.engine else name for model in models}
