"""Many short questions at once, given up together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(function: Callable[[T], R], items: Sequence[T], workers: int) -> list[R]:
    """``function`` of every item, in order. The first failure, or Ctrl-C, cancels what has not begun."""
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        return [future.result() for future in [pool.submit(function, item) for item in items]]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
