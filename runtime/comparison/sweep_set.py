"""Sets of configurations for a sweep: YAML files that say what varies and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emca.errors import UserError, nearest

KEYS = ("base", "data", "set", "variants")


@dataclass(frozen=True)
class SweepSet:
    """What to train and compare.

    Attributes:
        path: the file that says so.
        base: preset or file that all variants start from, as python -m train takes it.
        base_file: the file behind `base`, or None where there is no such preset or file.
        data: labelled images to compare on, if any are named.
        common: key=value words for all variants.
        variants: key=value words by name, which go after the common ones.
    """

    path: Path
    base: str
    base_file: Path | None
    data: str | None
    common: tuple[str, ...]
    variants: dict[str, tuple[str, ...]]

    def overrides(self, name: str) -> list[str]:
        """All key=value words of a variant; the last one of a key counts."""
        return [*self.common, *self.variants[name]]


def read_set(source: str, overrides: Sequence[str] = ()) -> SweepSet:
    """Read a set by the path of its file or by the name of one that comes with the training code.

    Args:
        source: path or name.
        overrides: key=value words of the command line, for all variants; they replace those of
            `set`, while what a variant is made by stays. A val_data among them replaces `data`.

    Raises:
        UserError: no such set, or one that is not as it should be.
    """
    path = _find(source)
    tree = _load(path)
    for key in tree:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key '{key}'{nearest(str(key), KEYS)}")
    base = tree.get("base")
    if not isinstance(base, str) or not base:
        raise UserError(f"{path}: 'base' must name a preset or a YAML file of python -m train")
    common = _settings(tree.get("set") or {}, path)
    given = dict(_pair(word, "the command line") for word in overrides)
    data = given.get("val_data") or tree.get("data") or common.get("val_data")
    if data is not None and not isinstance(data, str):
        raise UserError(f"{path}: 'data' must be NAME:PATH:SPLIT, not {data!r}")
    return SweepSet(
        path=path,
        base=base,
        base_file=_base_file(base),
        data=data,
        common=tuple(f"{key}={value}" for key, value in (common | given).items()),
        variants=_variants(tree.get("variants"), path),
    )


def _find(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    folder = _training_configs()
    sets = {file.stem: file for file in sorted((folder / "sets").glob("*.yaml"))} if folder else {}
    if source not in sets:
        known = f"; sets: {', '.join(sets)}" if sets else ""
        raise UserError(f"no set or file '{source}'{nearest(source, sets)}{known}")
    return sets[source]


def _base_file(base: str) -> Path | None:
    folder = _training_configs()
    preset = folder / f"{base}.yaml" if folder else None
    return next((path for path in (preset, Path(base)) if path and path.is_file()), None)


def _training_configs() -> Path | None:
    """Where the training code keeps its presets; it is looked up, not imported."""
    spec = find_spec("train")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / "configs" if places else None


def _load(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ModuleNotFoundError:
        raise UserError("sets are read with pyyaml; pip install pyyaml") from None
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold 'key: value' lines: {', '.join(KEYS)}")
    return tree


def _settings(tree: Any, path: Path) -> dict[str, str]:
    """The `set` of a file as words for the command line of the training; dotted keys or nested."""
    if not isinstance(tree, dict):
        raise UserError(f"{path}: 'set' must hold 'key: value' lines, not {tree!r}")
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": text for inner, text in _settings(value, path).items()}
        else:
            flat[str(key)] = _text(value)
    return flat


def _text(value: Any) -> str:
    """A YAML value as the training takes it on its command line: sizes as HxW."""
    if isinstance(value, list):
        return "x".join(map(str, value))
    return "" if value is None else str(value)


def _variants(tree: Any, path: Path) -> dict[str, tuple[str, ...]]:
    if not isinstance(tree, dict) or not tree:
        raise UserError(f"{path}: 'variants' must hold lines of the form NAME: [key=value, …]")
    found: dict[str, tuple[str, ...]] = {}
    for key, words in tree.items():
        name = str(key)
        if (
            name != name.strip()
            or not name
            or name.startswith((".", "-"))
            or set(name) & set("/\\=")
        ):
            raise UserError(
                f"{path}: '{name}' cannot name a variant: names become folders and go before an "
                "equals sign; leave out / \\ = and a leading . or -"
            )
        if not isinstance(words, list | None) or not all(isinstance(w, str) for w in words or []):
            raise UserError(
                f"{path}: variant '{name}' must be a list [key=value, …], not {words!r}"
            )
        found[name] = tuple(
            f"{k}={v}" for k, v in (_pair(w, f"{path}: '{name}'") for w in words or [])
        )
    same = {words: name for name, words in reversed(found.items())}
    for name, words in found.items():
        if same[words] != name:
            raise UserError(f"{path}: variants '{same[words]}' and '{name}' are the same")
    return found


def _pair(word: str, where: str) -> tuple[str, str]:
    key, sign, value = word.partition("=")
    if not sign or not key:
        raise UserError(f"{where}: '{word}' is not of the form key=value")
    return key, value
