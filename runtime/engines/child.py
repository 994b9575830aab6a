"""The process in which engines are built: what crashes there leaves its caller alone.

Reads a pickled `Job` from standard input and answers with pickled messages on standard output:
`Progress` as it comes, then one `Built` or `Failure`. What TensorRT prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

if not __package__:  # run as a script: the project, not its folder runtime/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from emca.errors import UserError
from runtime.engines.builder import build_engine
from runtime.engines.job import Failure, Progress

PERIOD_S = 0.1
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


class Channel:
    """Sends messages to the caller; the builder may do so from several threads."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last = 0.0

    def send(self, message: Any) -> None:
        with self._lock:
            self._stream.write(pickle.dumps(message))
            self._stream.flush()

    def tell(self, progress: Progress) -> None:
        """Send a step, but not more of them than a reader can take in."""
        now = time.monotonic()
        if now - self._last >= PERIOD_S:
            self._last = now
            self.send(progress)


def main() -> None:
    """See the top of this file."""
    if sys.platform == "linux":  # nobody is left to build for where the caller is killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    channel = Channel(os.fdopen(os.dup(sys.stdout.fileno()), "wb"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = pickle.load(sys.stdin.buffer)
    try:
        channel.send(build_engine(job, channel.tell))
    except UserError as error:
        channel.send(Failure(str(error)))
    except OSError as error:
        if not error.errno:
            raise
        channel.send(Failure(f"{error.filename or job.plan.parent}: {error.strerror}"))
    except MemoryError:
        channel.send(Failure(f"{job.model}: too little memory to build it; close other programs"))


if __name__ == "__main__":
    main()
