"""The error that is the user's to mend, for every part of the project, and a hint for slips."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What the user did wrong: one line naming the wrong value and the remedy.

    Command-line tools print it after `error: ` and exit with code 2 (`emca.cli.run`).
    """


def nearest(name: str, options: Iterable[str]) -> str:
    """A hint to append to an error: ' (did you mean "x"?)', or '' when nothing is close."""
    by_lower = {option.lower(): option for option in options}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f' (did you mean "{by_lower[matches[0]]}"?)' if matches else ""
