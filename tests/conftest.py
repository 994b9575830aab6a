"""Lets every test import what stands in `helpers`; imports nothing heavy itself."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emca.cli import run

sys.path.insert(0, str(Path(__file__).parent / "helpers"))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Lets signals arrive, here and in children, that are ignored behind `&` and `nohup`."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def failing(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a tool that must refuse: exit code 2, one line on stderr, which is returned."""

    def call(main: Callable[[list[str] | None], int | None], *argv: str | Path) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            run(main, [str(word) for word in argv])
        err = capsys.readouterr().err
        assert exit_.value.code == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return call
