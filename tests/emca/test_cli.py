from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from emca import cli
from emca.errors import UserError


def parser() -> cli.Parser:
    result = cli.Parser(prog="tool")
    result.add_argument("--onnx", required=True)
    result.add_argument("--warmUp", type=int, default=200)
    result.add_argument("images", nargs="*")
    return result


def test_both_spellings_of_a_value() -> None:
    joined = parser().parse_args(["--onnx=m.onnx", "--warmUp=5", "a.png"])
    apart = parser().parse_args(["--onnx", "m.onnx", "--warmUp", "5", "a.png"])
    assert vars(joined) == vars(apart) == {"onnx": "m.onnx", "warmUp": 5, "images": ["a.png"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--onx=m.onnx"], 'error: unknown option --onx (did you mean "--onnx"?)\n'),
        (["--warm=1", "--onnx=m"], 'error: unknown option --warm (did you mean "--warmUp"?)\n'),
        (["--qqq", "--onnx=m"], "error: unknown option --qqq; --help lists the options\n"),
        (["-z", "--onnx=m"], "error: unexpected argument '-z'; --help lists what is taken\n"),
        ([], "error: the following arguments are required: --onnx\n"),
        (["--onnx=m", "--warmUp=x"], "error: argument --warmUp: invalid int value: 'x'\n"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parser().parse_args(words)
    assert exit_.value.code == 2
    assert capsys.readouterr().err == message


def test_words_after_a_double_dash_are_no_options() -> None:
    assert parser().parse_args(["--onnx=m", "--", "--onx"]).images == ["--onx"]


def test_sub_commands_keep_their_options() -> None:
    top = cli.Parser(prog="tool")
    sub = top.add_subparsers(dest="what").add_parser("run")
    sub.add_argument("--fast", action="store_true")
    assert top.parse_args(["run", "--fast"]).fast is True


def fail(_: list[str] | None) -> int:
    raise UserError("the first line\nand the second")


def interrupt(_: list[str] | None) -> int:
    raise KeyboardInterrupt


def unwritable(_: list[str] | None) -> int:
    raise PermissionError(13, "Permission denied", "/x/y.onnx")


@pytest.mark.parametrize(
    ("main", "code", "message"),
    [
        (fail, 2, "error: the first line and the second\n"),
        (interrupt, 130, "interrupted\n"),
        (
            unwritable,
            2,
            "error: /x/y.onnx: Permission denied; check the permissions, or give another path\n",
        ),
        (lambda _: None, 0, ""),
        (lambda argv: len(argv or []), 3, ""),
    ],
)
def test_run_turns_the_outcome_into_an_exit_code(
    main: object, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.run(main, ["a", "b", "c"])  # type: ignore[arg-type]
    assert exit_.value.code == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_block_as_an_exception_does(number: int, code: int) -> None:
    cleaned = []

    def main(argv: list[str] | None) -> None:
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(number)

    before = signal.signal(number, signal.SIG_DFL)  # nohup has SIGHUP ignored
    try:
        with pytest.raises(SystemExit) as caught:
            cli.run(main, [])
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert caught.value.code == code
    assert cleaned == [number]


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "")],
)
def test_a_signal_while_an_extension_is_loaded(
    number: int, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(argv: list[str] | None) -> None:
        try:
            signal.raise_signal(number)
        except BaseException as error:  # as pybind11 does
            raise ImportError("initialization failed") from error

    before = signal.signal(number, signal.SIG_DFL)  # started with `&` SIGINT is ignored
    try:
        with pytest.raises(SystemExit) as caught:
            cli.run(main, [])
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert caught.value.code == code
    assert capsys.readouterr().err == message


CLEANING = """
import os, signal, sys, time
from emca import cli

cli.PATIENCE_S = 0.5

def main(argv):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(9)
    finally:
        for _ in range(int(sys.argv[1])):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        print("cleaned", flush=True)

cli.run(main, [])
"""


@pytest.mark.parametrize(("count", "said"), [(2, "cleaned\n"), (30, "")])
def test_a_second_signal_waits_for_what_is_cleaned_up_but_not_for_ever(
    count: int, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLEANING, str(count)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, said, "")


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as caught:
            cli.run(lambda argv: signal.raise_signal(signal.SIGHUP), [])
        assert caught.value.code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from emca.cli import run
from emca.files import atomic_path

def main(argv):
    with atomic_path(Path(sys.argv[1])) as path:
        path.touch()
        for _ in range(100_000):
            print("line")

run(main)
"""
    words = [sys.executable, "-c", code, str(tmp_path / "a.txt")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
    assert not list(tmp_path.iterdir())


def test_run_keeps_the_traceback_of_a_defect() -> None:
    def main(_: list[str] | None) -> int:
        return int(Path("no number").name)

    with pytest.raises(ValueError, match="no number"):
        cli.run(main, [])


def test_progress_passes_everything_on_and_is_quiet_off_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not sys.stderr.isatty()
    assert list(cli.progress(range(3), desc="work")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["512", "512x", "x5", "-1x5", "5X5", "1.5x2", "512*512", ""])
def test_sizes_are_height_by_width(text):
    assert cli.parse_size("48x64", "--tile") == (48, 64)
    with pytest.raises(UserError, match="write HEIGHTxWIDTH"):
        cli.parse_size(text, "--tile")
