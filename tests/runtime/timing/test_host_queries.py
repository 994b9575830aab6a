import itertools
import signal
import threading
import time

import numpy as np
import pytest

from runtime.timing.host_queries import HostQueries

IMAGES = np.zeros((1, 2, 2, 3), np.uint8)


class Slow:
    """Takes 10 ms a query and notes which threads asked which copy."""

    def __init__(self, log, number=0):
        self.log, self.number = log, number

    def another(self):
        return Slow(self.log, object())

    def infer(self, images):
        assert images is IMAGES
        self.log.append((self.number, threading.get_ident()))
        time.sleep(0.01)


def test_one_stream_is_the_calling_thread():
    log = []
    queries = HostQueries(Slow(log), IMAGES)
    spans = queries.turn(0, 3, time.perf_counter())
    assert len(spans) == 3
    assert {thread for _, thread in log} == {threading.get_ident()}
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(spans))


def test_streams_run_at_once_on_models_of_their_own():
    log = []
    queries = HostQueries(Slow(log), IMAGES, streams=3)
    origin = time.perf_counter()
    spans = queries.turn(100, 1, origin)
    queries.close()
    assert spans == sorted(spans)
    assert spans[0][0] < 10
    assert 100 <= max(end for _, end in spans) < 200
    # one after the other they would be a third
    assert len(spans) > 1.7 * (max(end for _, end in spans) / 10)
    assert len({number for number, _ in log}) == 3
    assert len({thread for _, thread in log}) == 3


def test_a_failure_in_a_stream_is_raised():
    queries = HostQueries(Slow([]), IMAGES, streams=2)
    queries._backends[1].log = None
    with pytest.raises(AttributeError):
        queries.turn(0, 2, 0.0)
    queries.close()


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_ends_all_streams_at_once():
    queries = HostQueries(Slow([]), IMAGES, streams=2)
    origin = time.perf_counter()
    main = threading.get_ident()
    threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        queries.turn(20_000, 1, origin)
    queries.close()
    assert time.perf_counter() - origin < 5
