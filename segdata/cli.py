"""What every command-line tool shares: one-line errors, exit codes and progress bars."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm

from segdata.errors import UserError, nearest

T = TypeVar("T")

USER_ERROR_EXIT = 2
INTERRUPTED_EXIT = 130


_called: ContextVar[str] = ContextVar("_called", default="")


@contextmanager
def called(name: str) -> Iterator[None]:
    """Let the command that starts in this block be called so in its help."""
    before = _called.set(name)
    try:
        yield
    finally:
        _called.reset(before)


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a mistake with one line and exit code 2.

    Options are never abbreviated, so that a slip is reported with the nearest option instead of
    being taken for another one. `--name=value` and `--name value` mean the same.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        if "prog" in kwargs and (name := _called.get()):
            kwargs["prog"] = name
            _called.set("")  # a command's first parser is its own, others are parts of it
        super().__init__(**kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR_EXIT, f"error: {_one_line(message)}\n")

    def parse_args(  # type: ignore[override]  # one signature instead of argparse's overloads
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        words = list(sys.argv[1:] if args is None else args)
        self._refuse_unknown(words)
        parsed, unknown = self.parse_known_args(words, namespace)
        if unknown:
            self.error(f"unexpected argument {unknown[0]!r}; --help lists what is taken")
        return parsed

    def _refuse_unknown(self, words: list[str]) -> None:
        """Name a misspelt option before argparse complains about what it stands for missing."""
        known = self._option_string_actions
        if self._subparsers is not None:
            return  # their options are their own
        for word in words[: words.index("--") if "--" in words else None]:
            flag = word.split("=", 1)[0]
            if flag.startswith("--") and flag not in known:
                hint = nearest(flag, known) or "; --help lists the options"
                self.error(f"unknown option {flag}{hint}")


def run(main: Callable[[list[str] | None], int | None], argv: list[str] | None = None) -> NoReturn:
    """Call `main(argv)` and leave the process with its exit code (None counts as 0).

    A `UserError`, or a file that the system refuses, becomes one line on stderr and exit code 2;
    Ctrl-C exits with 130, SIGTERM and SIGHUP with 143 and 129, and what is unfinished is removed.
    Anything else is a defect and keeps its traceback.
    """
    try:
        with _signals_as_exits():
            code = main(argv) or 0
    except UserError as error:
        code = _report(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        code = _report(f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED_EXIT
    sys.exit(code)


@contextmanager
def _signals_as_exits() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as an exception does, unless nohup has them ignored."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    taken = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def progress(iterable: Iterable[T], *, desc: str, total: int | None = None) -> tqdm[T]:
    """A progress bar with remaining time on stderr around `iterable`; silent off a terminal."""
    return tqdm(iterable, desc=desc, total=total, disable=None, dynamic_ncols=True)


def _report(message: str) -> int:
    print(f"error: {_one_line(message)}", file=sys.stderr)
    return USER_ERROR_EXIT


def _one_line(message: str) -> str:
    return " ".join(message.split("\n"))
