import _ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tensorrt_plugin

import plugins
from emca.errors import UserError
from plugins import library

# What a process without a GPU may ask of TensorRT: its registry. Prints the versions of our plugin.
LOAD = """
import sys
import tensorrt_rtx
import plugins
from emca.cli import run

def main(argv):
    registry = tensorrt_rtx.get_plugin_registry()
    for _ in argv:
        plugins.load(registry)
    print([c.plugin_version for c in registry.all_creators if c.name == plugins.OP_TYPE])

run(main, sys.argv[1:])
"""


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No library in any place; yields an empty checkout."""
    monkeypatch.setattr(library, "_PACKAGE", tmp_path / "plugins")
    monkeypatch.delenv("EMCA_PLUGIN", raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    if plugins.find() is not None:
        pytest.skip(f"the system has {plugins.find()}")
    return tmp_path


@pytest.fixture
def load(rtx_environment):
    """`load(path, times=1)`: load that library in a process with TensorRT-RTX."""
    pytest.importorskip("tensorrt_rtx")

    def load(path, times=1, **variables):
        variables["EMCA_PLUGIN"] = str(path or "")
        return subprocess.run(
            [sys.executable, "-c", LOAD, *["again"] * times],
            cwd="/",  # or the checkout would come before PYTHONPATH
            env={**rtx_environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return load


def error(result):
    """The one line of a failed load; TensorRT itself talks as well without a driver."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    (line,) = (x for x in result.stderr.splitlines() if x.startswith("error: "))
    return line


def test_the_nearest_place_wins(nowhere, monkeypatch):
    named, path = nowhere / "mine.so", nowhere / "lib"
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/does/not/exist:{path}")
    places = [path, nowhere / "plugins", nowhere / "build" / "plugins"]
    for place in places:
        place.mkdir(parents=True)
        (place / "libemca_plugin.so").touch()
        assert plugins.find() == place / "libemca_plugin.so"
    named.touch()
    monkeypatch.setenv("EMCA_PLUGIN", str(named))
    assert plugins.find() == named


def test_a_name_that_is_no_file_is_not_passed_over(nowhere, monkeypatch):
    monkeypatch.setenv("EMCA_PLUGIN", "/does/not/exist.so")
    with pytest.raises(UserError, match=r"EMCA_PLUGIN=/does/not/exist\.so is no file"):
        plugins.find()


def test_a_missing_library_says_how_to_build_it(nowhere, load):
    for package in ("plugins", "segdata"):
        shutil.copytree(tensorrt_plugin.ROOT / package, nowhere / package)
    assert error(load(None, PYTHONPATH=str(nowhere))) == (
        "error: libemca_plugin.so, the TensorRT plugin, is missing; build it with make plugin or "
        "name it with EMCA_PLUGIN=/path/to/libemca_plugin.so"
    )


def test_loading_registers_the_operator_once(load, plugin_library):
    result = load(plugin_library, times=3)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "['1']\n"


def test_what_the_system_cannot_load_is_named_with_its_reason(load, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_text("not a library")
    line = error(load(broken))
    assert line.startswith(f"error: {broken} cannot be loaded (")
    assert line.endswith("); build it on this machine with make plugin")


def test_a_library_that_was_cut_off_is_named(load, tmp_path):
    other = tmp_path / "libemca_plugin.so"
    other.write_bytes(Path(_ctypes.__file__).read_bytes()[:-1000])
    assert error(load(other)) == f"error: {other} is incomplete; build it again with make plugin"


def test_a_library_without_plugins_is_named(load, tmp_path):
    tensorrt_plugin.need("g++")
    other = tmp_path / "other.so"
    compiler = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", other]
    subprocess.run(compiler, input="int answer = 42;", text=True, check=True)
    assert error(load(other)).startswith(f"error: {other} is no TensorRT plugin library: it exp")


def test_another_version_is_named(load, tmp_path, plugin_library):
    """The library itself, but for the digit that it registers itself with."""
    sources = tmp_path / "sources"
    shutil.copytree(tensorrt_plugin.SOURCES, sources)
    header = sources / "tensorrt" / "prototype_attention_plugin.h"
    text = header.read_text()
    assert text.count('kPluginVersion = "1"') == 1
    header.write_text(text.replace('kPluginVersion = "1"', 'kPluginVersion = "7"'))
    headers = next(iter(tensorrt_plugin.header_folders().values()))
    other = tensorrt_plugin.build(
        tmp_path / "build", headers=headers, architectures="75", sources=sources
    )
    assert error(load(other)) == (
        f"error: {other} has version 7 of PrototypeAttention and version 1 is needed; build it "
        "again with make plugin"
    )


def test_further_libraries_are_loaded_as_they_are_given(tmp_path):
    class Registry:
        def __init__(self):
            self.loaded = []

        def load_library(self, path):
            self.loaded.append(path)
            return None if "refused" in path else object()

    compiler = shutil.which("gcc")
    if not compiler:
        pytest.skip("no gcc")
    paths = [tmp_path / name for name in ("first.so", "second.so", "refused.so")]
    for path in paths:
        source = b"void *getCreators(void) { return 0; }"
        words = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", path]
        subprocess.run(words, input=source, check=True)
    registry = Registry()
    plugins.load_more(registry, paths[:2], shared=True)
    assert registry.loaded == list(map(str, paths[:2]))
    plugins.load_more(registry, paths[1:2], shared=True)  # is there already
    assert len(registry.loaded) == 2
    plugins.load_more(registry, paths[1:2], shared=False)
    assert len(registry.loaded) == 3
    with pytest.raises(UserError, match=r"refused\.so was refused by TensorRT"):
        plugins.load_more(registry, paths[2:], shared=True)
    with pytest.raises(UserError, match=r"gone\.so: no such plugin library"):
        plugins.load_more(registry, [tmp_path / "gone.so"], shared=True)
    (tmp_path / "text.so").write_text("text")
    with pytest.raises(UserError, match=r"text\.so cannot be loaded"):
        plugins.load_more(registry, [tmp_path / "text.so"], shared=True)
