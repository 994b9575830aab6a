import platform
import shlex

from runtime import machine


def test_describes_without_naming_the_machine():
    facts = machine.describe()
    assert facts["cpu"]
    assert facts["cores"] >= 1
    assert facts["python"] == platform.python_version()
    assert 0 < facts["memory_gb"] < 100_000
    assert platform.node() not in str(facts["os"]).split()


def test_versions_of_what_is_installed():
    versions = machine.versions()
    assert {"numpy", "onnx", "opencv-python"} <= versions.keys()
    assert "torch" not in versions


def test_command_can_be_pasted():
    line = machine.command_line("runtime.bench", ["--onnx=a b.onnx", "--fp16"])
    assert shlex.split(line) == ["python", "-m", "runtime.bench", "--onnx=a b.onnx", "--fp16"]
