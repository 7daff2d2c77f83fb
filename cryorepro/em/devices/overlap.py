"""Files beside a device: a thread reads the next item, or writes the one before, while the device works."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def overlapped(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``work(item)`` of every item in order, done by a thread one item ahead of what is yielded.

    So what makes the items, or uses the results, goes on meanwhile in this thread. At most two items are being worked
    on or wait. What ``work`` raises comes through when its item's turn has come.
    """
    with ThreadPoolExecutor(1) as thread:
        coming: deque[Future[Result]] = deque()
        for item in items:
            coming.append(thread.submit(work, item))
            del item  # it may be large, and the next one is made before the name is used again
            if len(coming) > 1:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
