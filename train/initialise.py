"""Starting a network from whatever fits of another checkpoint."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from torch import Tensor, nn

from emca.errors import UserError


def initialise(model: nn.Module, state: Mapping[str, Tensor], source: str) -> str:
    """Copy every tensor that the model knows under the same name and shape.

    Args:
        model: gets the weights, in place.
        state: the checkpoint's, in our names.
        source: names it in messages.

    Returns:
        An account: how much was taken, and which parts start fresh and why.

    Raises:
        UserError: nothing fits.
    """
    own = model.state_dict()
    taken = fitting(model, state)
    if not any(value.dim() > 1 for value in taken.values()):
        raise UserError(f"init={source}: none of its {len(state)} tensors fits this model")
    model.load_state_dict({**own, **taken})
    lines = [f"init={source}: {len(taken)} of {len(own)} tensors taken"]
    fresh = [name for name in own if name not in taken]
    for part, count in Counter(map(_part, fresh)).items():
        reshaped = [name for name in fresh if _part(name) == part and name in state]
        reason = "not in the checkpoint"
        if reshaped:
            first = reshaped[0]
            theirs, ours = tuple(state[first].shape), tuple(own[first].shape)
            reason = f"another shape: '{first}' is {theirs} there, {ours} here"
        lines.append(f"  starts fresh: {part} ({count} tensors), {reason}")
    return "\n".join(lines)


def fitting(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a model knows of a checkpoint under the same name and shape."""
    own = model.state_dict()
    return {
        name: value
        for name, value in state.items()
        if name in own and own[name].shape == value.shape
    }


def _part(name: str) -> str:
    """The first two modules of a tensor's name, without numbers."""
    return ".".join(word for word in name.split(".")[:2] if not re.fullmatch(r"\d+", word))
