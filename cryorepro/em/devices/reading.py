"""Reading ahead for a device: the next item is read by a thread while the one before is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(read: Callable[[Item], Result], items: Iterable[Item], ahead: int = 1) -> Iterator[Result]:
    """Yield ``read(item)`` of every item in order; at most ``ahead`` more are being read, or wait.

    What ``read`` raises comes through when its item's turn has come.
    """
    with ThreadPoolExecutor(ahead) as readers:
        coming: deque[Future[Result]] = deque()
        for item in items:
            coming.append(readers.submit(read, item))
            if len(coming) > ahead:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
