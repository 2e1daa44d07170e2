"""Work on other threads, in order and never far ahead of who wants it, so that memory stays bounded."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice, repeat
from typing import TypeVar

T = TypeVar("T")


def in_order(pool: ThreadPoolExecutor, tasks: Iterable[Callable[[], T]], ahead: int) -> Iterator[T]:
    """Run tasks on a pool, some ahead of what is asked for, and give their results in order.

    No result is held on to once it is given.
    """
    remaining = iter(tasks)
    running: deque[Future[T]] = deque(pool.submit(task) for task in islice(remaining, ahead))

    def first() -> T:
        result = running.popleft().result()
        running.extend(pool.submit(task) for task in islice(remaining, 1))
        return result

    try:
        while running:
            yield first()
    finally:
        for future in running:
            future.cancel()


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """Give items while the next one is made on a thread of its own; None ends them."""
    make = partial(next, iter(items), None)
    with ThreadPoolExecutor(1) as pool:
        for item in in_order(pool, repeat(make), ahead=1):
            if item is None:
                return
            yield item
            del item


class Background:
    """Runs one task at a time on a thread of its own; whoever comes with another one waits until it is done."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def run(self, task: Callable[[], None]) -> None:
        """Start a task; raises what the one before it raised."""
        self.wait()
        self._running = self._pool.submit(task)

    def wait(self) -> None:
        """Wait for the task that runs; raises what it raised."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def close(self) -> None:
        """Wait for the task that runs, whatever becomes of it; none can be started afterwards."""
        self._pool.shutdown()
