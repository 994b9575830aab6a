"""What each layer takes, and which layers there are, in the words and keys of trtexec."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import zip_longest
from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends import Backend
from runtime.backends.base import LayerInfo, LayerTimes

HEAD = ("   Time(ms)", "     Avg.(ms)", "   Median(ms)", "   Time(%)")


def profiled(
    backend: Backend, images: NDArray[np.uint8], *, duration_s: float, iterations: int, ms: float
) -> LayerTimes:
    """Run the batch for about that time, and at least so often, in a run of its own.

    Args:
        ms: about what a batch takes.
    """
    return backend.layer_times(images, max(iterations, int(1000 * duration_s / max(ms, 1e-3))))


def profile_text(times: LayerTimes) -> str:
    """The table of --dumpProfile; layers that took no time are left out, as in trtexec."""
    totals = [(name, sum(ms), mean(ms), median(ms)) for name, ms in times.layers]
    total = sum(entry[1] for entry in totals)
    rows = [entry for entry in totals if entry[1]]
    whole = [sum(taken) for taken in zip_longest(*(ms for _, ms in times.layers), fillvalue=0.0)]
    rows.append(("Total", total, total / times.runs, median(whole or [0.0])))
    lines = [f"=== Profile ({times.runs} iterations ) ===", "".join(HEAD) + "   Layer"]
    for name, all_ms, average, middle in rows:
        cells = (f"{all_ms:.2f}", f"{average:.4f}", f"{middle:.4f}", _share(all_ms, total))
        text = "".join(cell.rjust(len(head)) for cell, head in zip(cells, HEAD, strict=True))
        lines.append(f"{text}   {name}")
    return "\n".join(lines)


def profile_entries(profiles: Mapping[str, LayerTimes]) -> list[dict[str, Any]]:
    """The content of --exportProfile under trtexec's keys, each entry with its format."""
    entries: list[dict[str, Any]] = []
    for key, times in profiles.items():
        entries.append({"format": key, "count": times.runs})
        total = sum(sum(ms) for _, ms in times.layers)
        entries += [
            {
                "format": key,
                "name": name,
                "timeMs": sum(ms),
                "averageMs": mean(ms),
                "medianMs": median(ms),
                "percentage": 100 * sum(ms) / total if total else 0.0,
            }
            for name, ms in times.layers
        ]
    return entries


def info_text(info: LayerInfo) -> str:
    """The lines of --dumpLayerInfo."""
    bindings = [b if isinstance(b, str) else str(b.get("Name", b)) for b in info.bindings]
    return "\n".join(["Layer Information:", *info.lines, f"Bindings: {', '.join(bindings)}"])


def info_document(infos: Mapping[str, LayerInfo]) -> dict[str, Any]:
    """The content of --exportLayerInfo under the keys of TensorRT's engine inspector.

    Of several formats each layer says which one it is of.
    """
    several = len(infos) > 1
    layers: list[Any] = []
    bindings: list[Any] = []
    for key, info in infos.items():
        for layer in info.layers:
            named = layer if isinstance(layer, dict) else {"Name": layer}
            layers.append({**named, "format": key} if several else layer)
        bindings += [binding for binding in info.bindings if binding not in bindings]
    return {"Layers": layers, "Bindings": bindings}


def output_entries(outputs: Mapping[str, Mapping[str, NDArray[Any]]]) -> list[dict[str, Any]]:
    """The content of --exportOutput under trtexec's keys, each entry with its format.

    What is no number in JSON, infinity among it, is null.
    """
    return [
        {
            "format": key,
            "name": name,
            "dimensions": "x".join(map(str, values.shape)),
            "values": [
                None if value != value or abs(value) == math.inf else value
                for value in values.ravel().tolist()
            ],
        }
        for key, named in outputs.items()
        for name, values in named.items()
    ]


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else "0.0"
