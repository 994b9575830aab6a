"""What every command-line tool shares: one-line errors, exit codes and progress bars."""

from __future__ import annotations

import argparse
import errno
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from emca.errors import UserError, nearest

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

USER_ERROR_EXIT = 2
INTERRUPTED_EXIT = 130
UNREAD_EXIT = 141  # as a shell reports SIGPIPE
PATIENCE_S = 5.0
REMEDIES = {  # for what the system refuses
    errno.ENOENT: "check the path",
    errno.ENOSPC: "make room, or give another folder",
    errno.EROFS: "give a folder that can be written",
    errno.EACCES: "check the permissions, or give another path",
    errno.EPERM: "check the permissions, or give another path",
    errno.ENOTDIR: "a file stands where a folder should; give another path",
    errno.EEXIST: "a file stands where a folder should; give another path",
    errno.ENAMETOOLONG: "give a shorter name",
}


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
    Ctrl-C exits with 130, SIGTERM and SIGHUP with 143 and 129, a reader that leaves (`| head`) with
    141, and what is unfinished is removed.
    Anything else is a defect and keeps its traceback.
    """
    try:
        with _signals_as_exits():
            code = main(argv) or 0
            sys.stdout.flush()
    except UserError as error:
        code = _report(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            code = UNREAD_EXIT
        elif error.filename is None:
            raise
        else:
            remedy = REMEDIES.get(error.errno or 0, "give another path")
            code = _report(f"{error.filename}: {error.strerror}; {remedy}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED_EXIT
    sys.exit(code)


@contextmanager
def _signals_as_exits() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end the block as exceptions do, unless they are ignored.

    A second signal changes nothing, so that nothing half-written stays; after some seconds it ends
    the process at once.
    """
    arrived: list[BaseException] = []
    patience = 0.0  # until then what is unfinished may still be being removed

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal patience
        if arrived:
            if time.monotonic() > patience:
                os._exit(128 + number)
            return
        patience = time.monotonic() + PATIENCE_S
        interrupt = number == signal.SIGINT
        arrived.append(KeyboardInterrupt() if interrupt else SystemExit(128 + number))
        raise arrived[-1]

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in (getattr(signal, n) for n in names)}
    usual = (signal.SIG_DFL, signal.default_int_handler)
    taken = {number: handler for number, handler in before.items() if handler in usual}
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    except ImportError:
        # Some extension modules make one of whatever is raised while they are loaded.
        if arrived:
            raise arrived[0] from None
        raise
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


def _is_unread() -> bool:
    """Whether nobody reads our output any more; if so, what is left of it goes nowhere."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def parse_size(text: str, option: str, least: int = 0) -> tuple[int, int]:
    """`720x1280`, height first, as (720, 1280).

    Raises:
        UserError: another form, or less than `least` pixels; it names the option.
    """
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    size = (int(match[1]), int(match[2])) if match else (-1, -1)
    if min(size) < least:
        limit = f", at least {least}" if least else ""
        raise UserError(f"{option} {text}: write HEIGHTxWIDTH in pixels{limit}, as in 512x1024")
    return size


def progress(iterable: Iterable[T], *, desc: str, total: int | None = None) -> tqdm[T]:
    """A progress bar with remaining time on stderr around `iterable`; silent off a terminal."""
    from tqdm import tqdm  # half the start of a command that shows no bar

    return tqdm(iterable, desc=desc, total=total, disable=None, dynamic_ncols=True)


def _report(message: str) -> int:
    print(f"error: {_one_line(message)}", file=sys.stderr)
    return USER_ERROR_EXIT


def _one_line(message: str) -> str:
    return " ".join(message.split("\n"))
