"""What a forged record does to the code that reads it is a finding, not a crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryorepro.em.errors import InputError

_CONTRADICTIONS = (ArithmeticError, AttributeError, AssertionError, LookupError, RecursionError, TypeError, ValueError)


@contextmanager
def untrusted(path: Path) -> Iterator[None]:
    """Read what a bundle holds; a record whose parts do not fit together becomes one sentence.

    The events of a bundle are checked one by one; that they fit together (a stage that ends was planned, an input
    names a stage that exists) shows only when the record is used.

    Raises:
        InputError: they do not, or as raised inside.
    """
    try:
        yield
    except InputError:
        raise
    except _CONTRADICTIONS as error:
        text = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: the record contradicts itself ({type(error).__name__}: {text})") from error
