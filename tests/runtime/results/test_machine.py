import platform
import shlex

from runtime.results import machine


def test_describes_without_naming_the_machine():
    facts = machine.describe()
    assert facts["cpu"]
    assert facts["cores"] >= 1
    assert facts["python"] == platform.python_version()
    assert 0 < facts["memory_gb"] < 100_000
    assert platform.node() not in str(facts["os"]).split()


def test_the_gpu_is_named_where_there_is_one(monkeypatch):
    monkeypatch.setattr(machine, "gpu_name", lambda: "Tesla T4")
    assert machine.describe()["gpu"] == "Tesla T4"
    monkeypatch.setattr(machine, "gpu_name", lambda: "")
    assert "gpu" not in machine.describe()


def test_versions_of_what_is_installed():
    versions = machine.versions()
    assert {"numpy", "onnx", "opencv-python"} <= versions.keys()
    assert "torch" not in versions


def test_command_can_be_pasted():
    line = machine.command_line("runtime.bench", ["--onnx=a b.onnx", "--fp16"])
    assert shlex.split(line) == ["python", "-m", "runtime.bench", "--onnx=a b.onnx", "--fp16"]


def test_clock_is_read_or_not_there():
    clock = machine.clock()
    assert clock.keys() == {"governor", "mhz"}
    if clock["mhz"]:
        low, high = clock["mhz"]
        assert 10 < low <= high < 10_000


def test_clock_of_the_usable_cores(monkeypatch, tmp_path):
    files = {
        "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave\n",
        "/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1800123\n",
        "/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor": "powersave\n",
        "/sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq": "3400000\n",
    }
    monkeypatch.setattr(machine, "system_text", lambda path: files.get(str(path), "").strip())
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {1, 3}, raising=False)
    assert machine.clock() == {"governor": "powersave", "mhz": [1800, 3400]}
    info = "cpu MHz\t\t: 2000.4\n\ncpu MHz : 2100\ncpu MHz : 2200\ncpu MHz : 1500.0"
    files = {"/proc/cpuinfo": info}
    assert machine.clock() == {"governor": None, "mhz": [1500, 2100]}
    files = {}
    assert machine.clock() == {"governor": None, "mhz": None}
