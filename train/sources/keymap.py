"""Foreign tensor names to ours, with an account of every tensor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

Convert = Callable[[re.Match[str], Tensor], Mapping[str, Tensor]]
Rule = tuple[str, str | Convert | None]
"""A pattern that a whole name must match, and what becomes of the tensor: a new name (a template
as of `re.Match.expand`), a function that makes tensors of ours from it, or None where inference
has no use for it."""


@dataclass
class Conversion:
    """A state dict in our names, and what became of each tensor of the source."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    """Taken as they are."""
    converted: dict[str, list[str]] = field(default_factory=dict)
    """Renamed, split or reshaped: their name to ours."""
    unneeded: list[str] = field(default_factory=list)
    """Counters, training heads and the like, passed over on purpose."""
    left_over: list[str] = field(default_factory=list)
    """Known to no rule."""

    def origin(self, name: str) -> str:
        """Their name of what became `name`."""
        return next((theirs for theirs, ours in self.converted.items() if name in ours), name)

    def summary(self, missing: Iterable[str] = ()) -> str:
        """The account in one line; names only of what is left over or missing."""
        text = (
            f"{len(self.used)} tensors used, {len(self.converted)} converted, "
            f"{len(self.unneeded)} not needed, {len(self.left_over)} left over"
        )
        if self.left_over:
            text += f" ({_some(self.left_over)})"
        missing = list(missing)
        text += f", {len(missing)} missing"
        return text + (f" ({_some(missing)})" if missing else "")


def convert(state: Mapping[str, Tensor], rules: Iterable[Rule]) -> Conversion:
    """Apply to each tensor the first rule that its whole name matches."""
    compiled = [(re.compile(pattern), target) for pattern, target in rules]
    result = Conversion()
    for name, tensor in state.items():
        for pattern, target in compiled:
            if match := pattern.fullmatch(name):
                _place(result, match, tensor, target)
                break
        else:
            result.left_over.append(name)
    return result


def _place(
    result: Conversion, match: re.Match[str], tensor: Tensor, target: str | Convert | None
) -> None:
    name = match.string
    if target is None:
        result.unneeded.append(name)
        return
    made = target(match, tensor) if callable(target) else {match.expand(target): tensor}
    result.tensors.update(made)
    if list(made) == [name]:
        result.used.append(name)
    else:
        result.converted[name] = list(made)


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
