"""Stages that overlap: one thread makes items while others use earlier ones, few at a time.

with Ahead(decode()) as frames, Lanes([infer, infer_too]) as lanes, Behind(encode) as out:
    for frame in frames:
        out.put(lanes.submit(frame))  # encode takes the result of what it is given

What a stage raises ends the block, in the thread of the caller.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

DEPTH = 2
# What a thread that waits for a camera or a connection may take to notice the end. Beyond that it
# is left behind; as a daemon it does not keep the process.
GRACE_S = 3.0


def to_the_end(work: Callable[[], object]) -> None:
    """Do what may be begun anew, and once more where a signal interrupts it.

    To wait for a thread `Thread.join` does not do: once interrupted it takes the thread for ended
    (Python 3.11, bpo-45274).
    """
    try:
        work()
    except BaseException:
        work()
        raise


class _Channel(Generic[T]):
    """A queue of at most `depth` items between two threads, either of which may end it.

    Attributes:
        dropped: items that `put` took out again because newer ones came.
    """

    def __init__(self, depth: int, newest: bool = False) -> None:
        self._items: deque[T] = deque()
        self._depth, self._newest = depth, newest
        self._changed = threading.Condition()
        self._ended = False
        self.dropped = 0

    def put(self, item: T) -> bool:
        """Wait for room, or with `newest` drop the oldest item; False once the channel ended."""
        with self._changed:
            if not self._newest:
                self._changed.wait_for(lambda: len(self._items) < self._depth or self._ended)
            elif len(self._items) == self._depth:
                self._items.popleft()
                self.dropped += 1
            if self._ended:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> T:
        """Wait for the next item; StopIteration when the channel ended and is empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended)
            if not self._items:
                raise StopIteration
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def end(self, *, discard: bool = False) -> None:
        """Take no more items; with `discard` forget those that wait."""
        with self._changed:
            self._ended = True
            if discard:
                self._items.clear()
            self._changed.notify_all()


class Ahead(Generic[T]):
    """Iterates over what `items` yields; a thread fetches the next ones meanwhile.

    Attributes:
        dropped: items that were never seen, see `newest`.
    """

    def __init__(self, items: Iterable[T], *, depth: int = DEPTH, newest: bool = False) -> None:
        """Start the thread.

        Args:
            depth: how many items may wait.
            newest: for what does not wait, such as a camera: rather than `items`, drop the oldest.
        """
        self._items = items
        self._channel: _Channel[T] = _Channel(depth, newest)
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def dropped(self) -> int:
        return self._channel.dropped

    def __iter__(self) -> Ahead[T]:
        return self

    def __next__(self) -> T:
        try:
            return self._channel.get()
        except StopIteration:
            if self._error:
                raise self._error from None
            raise

    def end(self) -> None:
        """Let the iteration end with what waits by now; may be called from any thread."""
        self._channel.end()

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.end(discard=True)
        to_the_end(lambda: self._done.wait(GRACE_S))

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._channel.put(item):
                    break
        except BaseException as error:  # raised again where the items are used
            self._error = error
        finally:
            self._channel.end()
            self._done.set()


class Lanes(Generic[T, R]):
    """Several functions at once, each in a thread of its own; a single one runs in the caller's."""

    def __init__(self, uses: Sequence[Callable[[T], R]]) -> None:
        self._free: SimpleQueue[Callable[[T], R]] = SimpleQueue()
        for use in uses:
            self._free.put(use)
        self._pool = ThreadPoolExecutor(len(uses)) if len(uses) > 1 else None
        self._results: set[Future[R]] = set()  # those to come

    def submit(self, item: T) -> Future[R]:
        """Wait for a free function and give it the item; its result, or what it raised, to come."""
        use = self._free.get()
        if self._pool:
            result = self._pool.submit(self._run, use, item)
            self._results.add(result)
            result.add_done_callback(self._results.discard)
            return result
        done: Future[R] = Future()
        try:
            done.set_result(self._run(use, item))
        except Exception as error:
            done.set_exception(error)
        return done

    def __enter__(self) -> Lanes[T, R]:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            try:
                to_the_end(lambda: wait(list(self._results)))
            finally:
                self._pool.shutdown()

    def _run(self, use: Callable[[T], R], item: T) -> R:
        try:
            return use(item)
        finally:
            self._free.put(use)


class Behind(Generic[T]):
    """Hands items to `use` in a thread of its own; at the end of the block all are used.

    When the block fails, those that were put are used nevertheless. A signal while they are being
    used ends that: the item at work is finished, the others are dropped.
    """

    def __init__(self, use: Callable[[T], None], *, depth: int = DEPTH) -> None:
        """Start the thread; `depth` items may wait."""
        self._use = use
        self._channel: _Channel[T] = _Channel(depth)
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def put(self, item: T) -> None:
        """Wait for room; raises what `use` raised for an earlier item."""
        if not self._channel.put(item) and self._error:
            raise self._error

    def __enter__(self) -> Behind[T]:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._channel.end()
        try:
            self._done.wait()
        except BaseException:
            self._channel.end(discard=True)
            self._done.wait()
            raise
        if self._error and error is None:
            raise self._error

    def _run(self) -> None:
        try:
            while True:
                try:
                    item = self._channel.get()
                except StopIteration:
                    return
                self._use(item)
        except BaseException as error:  # raised again where the items come from
            self._error = error
            self._channel.end(discard=True)
        finally:
            self._done.set()
