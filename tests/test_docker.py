"""The images, as far as they can be checked without a container runtime."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "docker").glob("Dockerfile.*"))

spec = importlib.util.spec_from_file_location("replay", ROOT / "docker" / "replay.py")
assert spec is not None
assert spec.loader is not None
replay = importlib.util.module_from_spec(spec)
sys.modules["replay"] = replay
spec.loader.exec_module(replay)


@pytest.fixture(params=FILES, ids=lambda path: path.suffix[1:])
def file(request):
    return request.param


@pytest.fixture
def instructions(file):
    return replay.read(file.read_text(encoding="utf-8"))


def values(instructions, word):
    return [rest for name, rest in instructions if name == word]


def test_there_are_three():
    assert [path.suffix for path in FILES] == [".cpu", ".jetson", ".x86"]


def test_linted(file):
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint is not installed")
    result = subprocess.run([linter, "--no-color", file], capture_output=True, text=True)
    assert result.stdout + result.stderr == ""


def test_the_container_runs_emca_as_nobody_special(instructions):
    last = max(n for n, (word, _) in enumerate(instructions) if word == "FROM")
    final = instructions[last:]
    assert values(final, "USER") == ["10001"]
    assert any("--uid 10001" in command for command in values(final, "RUN"))
    after = final[[word for word, _ in final].index("USER") :]
    assert not values(after, "RUN")
    assert json.loads(values(final, "ENTRYPOINT")[0]) == ["emca"]
    health = json.loads(values(final, "HEALTHCHECK")[0].partition("CMD ")[2])
    assert "runtime.backends" in health[-1]


def test_everything_is_pinned(instructions):
    stages = {rest.split(" AS ")[1] for rest in values(instructions, "FROM") if " AS " in rest}
    for image in values(instructions, "FROM"):
        name = image.split(" AS ")[0]
        assert name in stages or re.search(r":r?\d+\.\d+(\.\d+)?(-[\w-]+)?$", name), image
    installs = [run for run in values(instructions, "RUN") if "pip install" in run]
    assert len(installs) == 1
    assert "--constraint" in installs[0]
    pinned = (ROOT / "constraints.txt").read_text()
    words = installs[0].split("pip install")[1].split()[2:]
    for word in words:
        bare = word.strip('"')
        assert "==" in bare or bare.startswith(".") or f"\n{bare}==" in pinned, bare


def test_nothing_is_left_of_caches(instructions):
    for command in values(instructions, "RUN"):
        if "apt-get update" in command:
            assert "rm -rf /var/lib/apt/lists/*" in command
            assert "--no-install-recommends" in command
    assert any("PIP_NO_CACHE_DIR=1" in value for value in values(instructions, "ENV"))


def test_gpu_images_build_both_libraries(file, instructions):
    builds = [run for run in values(instructions, "RUN") if "cmake -S plugins" in run]
    assert len(builds) == (0 if file.suffix == ".cpu" else 1)
    text = (ROOT / "plugins" / "CMakeLists.txt").read_text()
    assert "install(TARGETS emca_plugin emca_triton LIBRARY DESTINATION lib)" in text


def test_the_context_is_the_sources_and_nothing_else(tmp_path):
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    wanted = ["pyproject.toml", "constraints.txt", "README.md", "segdata/a.py", "plugins/x/b.cu"]
    others = [".git/config", "data/1.png", "out/model.onnx", "tests/test_a.py", "a.engine"]
    for name in [*wanted, *others, "segdata/__pycache__/a.pyc", "build/plugins/b.so"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.as_posix() for path in replay.context_files(tmp_path)]
    assert sorted(found) == sorted(wanted)


def test_the_context_holds_every_package():
    packages = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.S)
    assert packages is not None
    roots = {name.split(".")[0] for name in re.findall(r'"([\w.]+)"', packages[1])}
    found = {path.parts[0] for path in replay.context_files(ROOT)}
    assert roots <= found
    assert {"pyproject.toml", "constraints.txt", "README.md"} <= found


def test_the_reader_joins_lines_and_drops_comments():
    text = "FROM a:1.2 AS b\n# no\nRUN one \\\n    # between\n    && two\nUSER 1\n"
    assert replay.read(text) == [("FROM", "a:1.2 AS b"), ("RUN", "one && two"), ("USER", "1")]
    with pytest.raises(ValueError, match="ADD is not replayed"):
        replay.read("ADD x /x")
