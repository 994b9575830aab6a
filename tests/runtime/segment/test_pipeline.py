from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from runtime.segment.pipeline import Ahead, Behind, Lanes


def test_items_arrive_in_order_and_made_in_another_thread():
    makers = set()

    def make():
        for index in range(50):
            makers.add(threading.get_ident())
            yield index

    with Ahead(make()) as items:
        assert list(items) == list(range(50))
    assert makers.isdisjoint({threading.get_ident()})
    assert len(makers) == 1


def test_no_more_than_the_depth_wait():
    made = 0

    def make():
        nonlocal made
        for index in range(100):
            made += 1
            yield index

    with Ahead(make(), depth=3) as items:
        next(items)
        time.sleep(0.1)
        assert made <= 5  # one used, three waiting, one at the door
        assert items.dropped == 0
    time.sleep(0.05)
    assert made <= 5  # and none after the end


def test_newest_drops_old_items_and_counts_them():
    made = threading.Event()

    def make():
        yield from range(100)
        made.set()

    with Ahead(make(), depth=2, newest=True) as items:
        assert made.wait(5)
        assert list(items) == [98, 99]
        assert items.dropped == 98


def test_what_a_maker_raises_comes_after_its_items():
    def make():
        yield 1
        raise ValueError("broken")

    with Ahead(make()) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="broken"):
            next(items)


def test_leaving_early_ends_a_maker_that_waits_for_room():
    ended = threading.Event()

    def make():
        try:
            while True:
                yield 0
        finally:
            ended.set()

    with Ahead(make()) as items:
        next(items)
    del items
    assert ended.wait(5)


def test_all_that_was_put_is_used_at_the_end():
    used = []

    def use(item):
        time.sleep(0.005)
        used.append(item)

    with Behind(use) as behind:
        for index in range(20):
            behind.put(index)
    assert used == list(range(20))


def test_what_was_put_is_used_although_the_block_fails():
    used = []

    def fail():
        with Behind(used.append) as behind:
            behind.put(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert used == [1]


@pytest.mark.usefixtures("interruptible")
def test_a_signal_at_the_end_lets_the_item_at_work_be_finished_and_drops_the_others():
    begun, used, free = threading.Event(), [], threading.Event()

    def use(item):
        begun.set()
        free.wait(5)
        used.append(item)

    def signalled():
        begun.wait(5)
        time.sleep(0.2)  # the block is left by then
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        free.set()

    other = threading.Thread(target=signalled)

    def put_all():
        with Behind(use, depth=9) as behind:
            for index in range(5):
                behind.put(index)
            other.start()

    with pytest.raises(KeyboardInterrupt):
        put_all()
    assert used == [0]
    other.join()


@pytest.mark.usefixtures("interruptible")
def test_lanes_are_idle_when_their_block_is_left_although_a_signal_comes():
    begun, ended = threading.Event(), []

    def use(item):
        begun.set()
        time.sleep(0.2)
        ended.append(item)

    def signalled():
        begun.wait(5)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    def submit():
        with Lanes([use, use]) as lanes:
            lanes.submit(0)
            threading.Thread(target=signalled).start()

    with pytest.raises(KeyboardInterrupt):
        submit()
    assert ended == [0]


def test_another_thread_may_end_what_a_stuck_maker_holds_up():
    stuck = threading.Event()

    def make():
        yield 1
        stuck.wait(5)
        yield 2

    with Ahead(make()) as items:
        threading.Timer(0.2, items.end).start()
        assert list(items) == [1]
        stuck.set()


@pytest.mark.parametrize("count", [1, 20])
def test_what_a_user_raises_reaches_the_caller(count):
    def use(item):
        raise OSError("disk full")

    def put_all():
        with Behind(use) as behind:
            for index in range(count):
                behind.put(index)

    with pytest.raises(OSError, match="disk full"):
        put_all()


def test_lanes_run_at_once_each_in_its_own_time():
    together = threading.Barrier(3, timeout=5)

    def use(item):
        together.wait()
        return -item

    with Lanes([use] * 3) as lanes:
        results = [lanes.submit(item) for item in range(6)]
    assert [result.result() for result in results] == [0, -1, -2, -3, -4, -5]


def test_a_lane_has_one_item_at_a_time_and_nothing_waits_for_one():
    release = threading.Event()
    busy = [0, 0]

    def lane(number):
        def use(item):
            busy[number] += 1
            assert busy[number] == 1
            release.wait(5)
            busy[number] -= 1
            return item

        return use

    with Lanes([lane(0), lane(1)]) as lanes:
        first = [lanes.submit(0), lanes.submit(1)]
        third = threading.Thread(target=lanes.submit, args=[2])
        third.start()
        third.join(0.1)
        assert third.is_alive()  # waits until a lane is free
        release.set()
        third.join(5)
        assert not third.is_alive()
        assert [result.result() for result in first] == [0, 1]


def test_a_single_lane_runs_in_the_thread_of_the_caller():
    with Lanes([lambda _: threading.get_ident()]) as lanes:
        assert lanes.submit(0).result() == threading.get_ident()


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_lane_raises_is_its_result_and_frees_it(count):
    def use(item):
        return 1 / item

    with Lanes([use] * count) as lanes:
        results = [lanes.submit(item) for item in (0, 0, 0, 2)]
        with pytest.raises(ZeroDivisionError):
            results[0].result()
        assert results[-1].result() == 0.5


def test_stages_overlap():
    def make():
        for index in range(10):
            time.sleep(0.02)
            yield index

    start = time.monotonic()
    with Ahead(make()) as items, Behind(lambda _: time.sleep(0.02)) as behind:
        for item in items:
            time.sleep(0.02)
            behind.put(item)
    assert time.monotonic() - start < 0.5  # one after the other takes 0.6 s
