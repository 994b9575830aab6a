"""What a GPU did while something else was measured: clocks, power, temperature."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

PERIOD_S = 0.05


class NotAvailable(Exception):
    """Why the state of the GPU cannot be read, in a few words."""


@dataclass(frozen=True)
class GpuState:
    """What a GPU does at a moment; None is not told.

    Attributes:
        graphics_mhz, memory_mhz: clocks.
        power_w: of the GPU, on a Jetson of the board.
        temperature_c: of the GPU.
        throttled: what holds the clocks down, such as "power cap".
    """

    graphics_mhz: float | None
    memory_mhz: float | None
    power_w: float | None
    temperature_c: float | None
    throttled: tuple[str, ...]


class Gpu(Protocol):
    """A GPU whose state can be read."""

    def state(self) -> GpuState:
        """What it does at this moment."""
        ...

    def limits(self) -> dict[str, float | None]:
        """`graphics_mhz` and `power_w` at most."""
        ...


@dataclass
class Watch:
    """The states that were seen, or why there are none."""

    states: list[GpuState] = field(default_factory=list)
    limits: dict[str, float | None] = field(default_factory=dict)
    missing: str = ""

    @property
    def throttles(self) -> dict[str, float]:
        """The share of the states that each reason held down, 0..1."""
        names = [name for state in self.states for name in state.throttled]
        return {name: names.count(name) / len(self.states) for name in dict.fromkeys(names)}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: [lowest, median, highest] of what was told, or why nothing was."""
        if not self.states:
            return {"available": False, "reason": self.missing or "nothing was measured"}
        spans = {
            key: _span([getattr(state, key) for state in self.states])
            for key in ("graphics_mhz", "memory_mhz", "power_w", "temperature_c")
        }
        return {
            "available": True,
            **spans,
            "limits": self.limits,
            "throttled": self.throttles,
            "samples": len(self.states),
        }

    def text(self) -> str:
        """A line on the states, and a warning where something held the clocks down."""
        if not self.states:
            return f"Clocks, power, temperature: not available ({self.missing})."
        found, parts = self.to_dict(), []
        for key, name, unit in (
            ("graphics_mhz", "clock", "MHz"),
            ("memory_mhz", "memory", "MHz"),
            ("power_w", "power", "W"),
            ("temperature_c", "temperature", "°C"),
        ):
            if found[key]:
                low, middle, high = found[key]
                parts.append(f"{name} {middle:.0f} {unit} ({low:.0f} to {high:.0f})")
        lines = [f"GPU while measuring: {', '.join(parts) or 'nothing is told'}."]
        if self.throttles:
            reasons = ", ".join(f"{n} ({100 * share:.0f} % of the time)"
                                for n, share in self.throttles.items())  # fmt: skip
            lines.append(f"* The GPU was held down by {reasons}: the times are not those of full "
                         "clocks. Cool it or raise its power limit.")  # fmt: skip
        return "\n".join(lines)


@contextmanager
def watching(
    opening: Sequence[Callable[[], AbstractContextManager[Gpu]]], period_s: float = PERIOD_S
) -> Iterator[Watch]:
    """Read the state again and again, in a thread, while the block runs.

    Args:
        opening: ways to the GPU, of which the first that is available is taken.
    """
    watch, reasons = Watch(), []
    for open_gpu in opening:
        try:
            manager = open_gpu()
        except NotAvailable as error:
            reasons.append(str(error))
            continue
        with manager as gpu:
            watch.limits = gpu.limits()
            done = threading.Event()
            thread = threading.Thread(target=_sample, args=(gpu, watch, done, period_s))
            thread.start()
            try:
                yield watch
            finally:
                done.set()
                thread.join()
        return
    watch.missing = "; ".join(reasons)
    yield watch


def _sample(gpu: Gpu, watch: Watch, done: threading.Event, period_s: float) -> None:
    while True:
        watch.states.append(gpu.state())
        if done.wait(period_s):
            return


def _span(values: Sequence[float | None]) -> list[float] | None:
    told = [value for value in values if value is not None]
    return [min(told), median(told), max(told)] if told else None
