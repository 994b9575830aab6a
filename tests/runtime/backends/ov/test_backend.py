import subprocess
import sys

import pytest

# Through `run`, as every command: SIGTERM is a Python handler there, as Ctrl-C is everywhere.
CODE = """
import signal, sys
from runtime.backends import load
from emca.cli import run

def main(models):
    first, second = (load(model, "openvino") for model in models)
    first.close()
    second.close()
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        print("cleaned")

run(main, sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX signals")
def test_a_signal_after_two_models_ends_the_process_as_asked(toys):
    words = [sys.executable, "-c", CODE, str(toys.model()), str(toys.model(noise=9))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleaned\n", "")
