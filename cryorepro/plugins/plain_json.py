"""Plain JSON: what a probe may give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cryorepro.em.errors import InputError

_DEEPEST = 20


def plain_json(value: Any, place: str = "data", depth: int = 0) -> Any:
    """``value`` as plain JSON: str keys, finite numbers, lists for tuples.

    Raises:
        InputError: something else is in it; the sentence says where.
    """
    if depth > _DEEPEST:
        raise InputError(f"{place} is nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for key in value:
            if not _text(key):
                raise InputError(f"{place} has the key {key!r}, which is not a string")
        return {key: plain_json(part, f"{place}.{key}", depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(part, f"{place}[{index}]", depth + 1) for index, part in enumerate(value)]
    number = type(value) is float and math.isfinite(value)
    if value is None or number or type(value) in (bool, int) or _text(value):
        return value
    raise InputError(f"{place} is {value!r:.80}, which is not plain JSON")


def _text(value: Any) -> bool:
    # A lone surrogate, as in a file name that is not UTF-8, cannot be stored as text.
    return type(value) is str and value.encode(errors="replace").decode() == value
