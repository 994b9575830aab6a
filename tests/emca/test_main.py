import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from emca import __main__ as command
from emca.__main__ import VERBS, main
from emca.cli import Parser
from emca.errors import UserError

ROOT = Path(command.__file__).parents[1]


def ended(*words):
    with pytest.raises(SystemExit) as exit_:
        main(list(words))
    return exit_.value.code


@pytest.fixture
def verb(monkeypatch):
    """Puts a module with this `main` behind the verb `bench`."""

    def put(function):
        module = ModuleType("stand_in")
        module.main = function
        monkeypatch.setitem(sys.modules, "stand_in", module)
        monkeypatch.setitem(VERBS, "bench", VERBS["bench"]._replace(module="stand_in"))

    return put


def test_help_lists_every_verb_on_a_line(capsys):
    assert ended("--help") == 0
    text = capsys.readouterr().out
    for name, one in VERBS.items():
        assert f"  {name} " in text
        assert one.summary in text
    assert ended() == 2


def test_verbs_are_commands_that_exist():
    assert {"train", "export", "quantize", "build", "bench", "evaluate", "infer"} <= VERBS.keys()
    assert {"compare", "certify", "serve", "report"} <= VERBS.keys()
    for one in VERBS.values():
        spec = importlib.util.find_spec(one.module)
        assert spec, one.module
        assert "\ndef main(argv: list[str] | None = None)" in Path(spec.origin).read_text()
    extras = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{e} = [" in extras for one in VERBS.values() for e in one.extra.split(","))


@pytest.mark.parametrize("name", ["bench", "build", "quantize", "evaluate"])
def test_a_verb_is_called_by_its_name_in_its_help(name, capsys):
    assert ended(name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: emca {name} ")


def test_a_command_keeps_its_name_afterwards(capsys):
    assert ended("bench", "--help") == 0
    assert Parser(prog="python -m runtime.bench").prog == "python -m runtime.bench"


def test_words_reach_the_verb_and_its_code_comes_back(verb):
    seen = []

    def command(argv):
        seen.append((argv, sys.argv[1:]))
        return 1

    verb(command)
    before = list(sys.argv)
    assert ended("bench", "--onnx=a b", "-v") == 1
    assert seen == [(["--onnx=a b", "-v"], ["--onnx=a b", "-v"])]
    assert sys.argv == before


def test_version(capsys):
    assert ended("--version") == 0
    assert capsys.readouterr().out.startswith("emca 0.")


def test_mistakes_are_one_line(failing, verb):
    assert "no verb 'benhc' (did you mean \"bench\"?); there are train," in failing(main, "benhc")
    assert "no option '--versio' (did you mean \"--version\"?)" in failing(main, "--versio")
    error = failing(main, "bench", "--onx=m")
    assert 'unknown option --onx (did you mean "--onnx"?)' in error
    assert "gone.onnx: cannot read" in failing(main, "bench", "--onnx=gone.onnx")

    def command(argv):
        raise UserError("it is wrong; mend it")

    verb(command)
    assert failing(main, "bench") == "error: it is wrong; mend it\n"


def test_a_missing_package_names_the_extra_to_install(failing, verb, monkeypatch):
    def needs(name):
        def command(argv):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return command

    verb(needs("onnxruntime.quantization"))
    error = failing(main, "bench")
    assert "emca bench needs onnxruntime, which is not installed; in the project's folder" in error
    assert "pip install -c constraints.txt '.[cpu]'" in error
    verb(needs("runtime.gone"))  # a defect keeps its traceback
    with pytest.raises(ModuleNotFoundError):
        main(["bench"])
    monkeypatch.setitem(VERBS, "train", VERBS["train"]._replace(module="not_here.__main__"))
    assert "'.[train]'" in failing(main, "train")


def test_as_a_module():
    words = [sys.executable, "-m", "emca", "bench", "--warmup=1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'error: unknown option --warmup (did you mean "--warmUp"?)\n'
