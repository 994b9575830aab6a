"""Models and their formats side by side: rows, text tables, Markdown, JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.backends import EngineFile
from runtime.comparison.formats import REFERENCE
from runtime.comparison.rows import NOT_MEASURED, Row, aligned, number, points
from runtime.graph.flops import COMPONENTS, OTHER, Cost
from segdata.card import ModelCard

NOT_TRAINED = "not trained"

_ROWS = (
    *("model", "format", "MB", "median ms", "p90 ms", "FPS", "/ first", "/ FP32"),
    *("mIoU %", "Δ points"),
)
_TEXT_COLUMNS = 2  # the first ones of every table hold words, the others numbers


@dataclass(frozen=True)
class Model:
    """One of the networks: what does not depend on the number format.

    Attributes:
        name: what the table calls it.
        path: its FP32 file, or an engine.
        card: what that file says about itself.
        input_size: (H, W).
        cost: operations and parameters for one image; None where nobody counted them.
        sha256: of the file.
        engine: what is known of it where it is an engine, which is of one format.
    """

    name: str
    path: Path
    card: ModelCard
    input_size: tuple[int, int]
    cost: Cost | None
    sha256: str
    engine: EngineFile | None = None

    @property
    def trained(self) -> bool:
        """Whether its labels mean something: trained here, or imported with weights."""
        return self.card.is_trained

    @property
    def size_text(self) -> str:
        """HxW."""
        return f"{self.input_size[0]}x{self.input_size[1]}"


@dataclass(frozen=True)
class Entry:
    """One model in one format.

    Attributes:
        model: the network.
        row: its figures; the differences are those to the model's own FP32 file.
        ratio_to_fp32: median latency over that of this FP32 file.
        ratio_to_first: median latency over that of the first model in the same format.

    What refers to a file that is not there is None.
    """

    model: Model
    row: Row
    ratio_to_fp32: float | None
    ratio_to_first: float | None

    @property
    def miou_text(self) -> str:
        """In percent, or why there is none."""
        return number(self.row.miou, "{:.2f}", 100) if self.model.trained else NOT_TRAINED

    @property
    def delta_text(self) -> str:
        """In points, or why there is none."""
        return points(self.row.delta_miou) if self.model.trained else NOT_TRAINED


def entries(rows: Mapping[str, Sequence[Row]], models: Sequence[Model]) -> list[Entry]:
    """The rows of all models, given by name, in the order of the models."""
    first = {row.format: row.median_ms for row in rows[models[0].name]}
    found = []
    for model in models:
        has_reference = any(row.format == REFERENCE for row in rows[model.name])
        for row in rows[model.name]:
            reference = first.get(row.format)
            if not has_reference:
                row = replace(row, delta_miou=None, agreement=None)
            found.append(
                Entry(
                    model,
                    row,
                    row.ratio if has_reference else None,
                    row.median_ms / reference if reference else None,
                )
            )
    return found


def tables(models: Sequence[Model], found: Sequence[Entry]) -> str:
    """Both tables as aligned text for a terminal."""
    parts = [_model_cells(models), (_ROWS, [_entry_cells(entry) for entry in found])]
    return "\n\n".join(aligned(head, lines, left=_TEXT_COLUMNS) for head, lines in parts)


def notes(
    models: Sequence[Model], formats: Mapping[str, Sequence[str]], *, measured: bool
) -> list[str]:
    """What a reader of the tables has to know about them.

    Args:
        formats: by name of the model, what is to be said of its formats.
        measured: whether there were data to measure the accuracy on.
    """
    found = [f"/ first: median latency over that of {models[0].name} in the same format."]
    if len({model.input_size for model in models}) > 1:
        sizes = ", ".join(f"{model.name} {model.size_text}" for model in models)
        found.append(f"Input sizes differ ({sizes}): their latencies do not compare.")
    common = set.intersection(*(set(lines) for lines in formats.values()))
    said = [(name, line) for name, lines in formats.items() for line in lines]
    found += dict.fromkeys(line if line in common else f"{name}: {line}" for name, line in said)
    for model in models:
        if not model.trained:
            found.append(f"{model.name} is not trained: only its speed means something.")
        if model.engine:
            found.append(_engine_note(model.name, model.engine))
        if model.cost is None:
            found.append(f"{model.name}: the FP32 file to count operations in is not there.")
            continue
        if model.cost.flops[OTHER]:
            found.append(
                f"{model.name}: {model.cost.flops[OTHER] / 1e9:.2f} GFLOPs in nodes whose names "
                "do not say which part they are of; a new export names them."
            )
        if model.cost.uncounted:
            found.append(
                f"{model.name}: GFLOPs without {len(model.cost.uncounted)} nodes of unknown shape, "
                f"such as {model.cost.uncounted[0]}."
            )
    if not measured:
        found.append("Accuracy not measured: no data were given.")
    return found


def document(models: Sequence[Model], found: Sequence[Entry], folder: Path) -> dict[str, Any]:
    """Models and rows as plain values for JSON; paths are relative to `folder`."""
    return {
        "models": [_model_values(model, folder) for model in models],
        "rows": [_entry_values(entry) for entry in found],
    }


def markdown(
    models: Sequence[Model],
    found: Sequence[Entry],
    *,
    lines: Sequence[str],
    facts: Mapping[str, str],
    picture: str,
) -> str:
    """The tables, the picture, the notes `lines` and the `facts` of the run as Markdown."""
    rows = [_entry_cells(entry) for entry in found]
    parts = [
        "# Comparison",
        f"![speed and accuracy]({picture})",
        _markdown_table(_ROWS, rows),
        _markdown_table(*_model_cells(models)),
        "\n".join(f"- {_escaped(line)}" for line in lines),
        _markdown_table(("measured with", ""), list(facts.items()), left=2),
    ]
    return "\n\n".join(parts) + "\n"


def _entry_cells(entry: Entry) -> tuple[str, ...]:
    row = entry.row
    return (
        entry.model.name,
        row.format,
        f"{row.size_mb:.2f}",
        f"{row.median_ms:.2f}",
        f"{row.p90_ms:.2f}",
        f"{row.fps:.1f}",
        number(entry.ratio_to_first, "{:.3f}"),
        number(entry.ratio_to_fp32, "{:.3f}"),
        entry.miou_text,
        entry.delta_text,
    )


def _model_cells(models: Sequence[Model]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and lines of the table of costs; parts that no model has are left out."""
    costs = [model.cost for model in models if model.cost]
    parts = [name for name in COMPONENTS if any(cost.flops[name] for cost in costs)]
    head = ("model", "input", "M params", "GFLOPs", *(part.replace("_", " ") for part in parts))
    lines = [
        (
            model.name,
            model.size_text,
            number(model.cost.total_params if model.cost else None, "{:.2f}", 1e-6),
            number(model.cost.total_flops if model.cost else None, "{:.2f}", 1e-9),
            *(_gflops(model.cost, part) for part in parts),
        )
        for model in models
    ]
    return head, lines


def _engine_note(name: str, engine: EngineFile) -> str:
    target = engine.device or f"compute capability {' or '.join(engine.compute_capabilities)}"
    return f"{name} is an engine of {engine.backend} {engine.version} for {target}."


def _gflops(cost: Cost | None, part: str) -> str:
    value = cost.flops[part] / 1e9 if cost else 0
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}" if value else NOT_MEASURED


def _model_values(model: Model, folder: Path) -> dict[str, Any]:
    cost, engine = model.cost, model.engine
    return {
        "name": model.name,
        "path": Path(os.path.relpath(model.path, folder)).as_posix(),
        "sha256": model.sha256,
        "checkpoint_sha256": model.card.checkpoint_sha256,
        "command": model.card.command,
        "input": list(model.input_size),
        "trained": model.trained,
        "trained_iterations": model.card.trained_iterations,
        "imported_from": model.card.imported_from,
        "engine": engine and {"backend": engine.backend, "version": engine.version},
        "gflops": cost
        and {part: flops / 1e9 for part, flops in cost.flops.items()}
        | {"total": cost.total_flops / 1e9},
        "params": cost and cost.params | {"total": cost.total_params},
        "uncounted": list(cost.uncounted) if cost else [],
    }


def _entry_values(entry: Entry) -> dict[str, Any]:
    values = entry.row.to_dict()
    del values["ratio"]
    return {
        "model": entry.model.name,
        "trained": entry.model.trained,
        **values,
        "ratio_to_fp32": entry.ratio_to_fp32,
        "ratio_to_first": entry.ratio_to_first,
    }


def _markdown_table(
    head: Sequence[str], lines: Sequence[Sequence[str]], *, left: int = _TEXT_COLUMNS
) -> str:
    rule = ["---" if place < left else "---:" for place in range(len(head))]
    cells = [[_escaped(cell) for cell in line] for line in (head, *lines)]
    cells.insert(1, rule)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
