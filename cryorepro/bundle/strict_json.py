"""JSON from strangers: bounded in size and depth, no key twice, no NaN, no number beyond a double."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from cryorepro.em.errors import InputError

MAXIMUM_BYTES = 64 * 2**20
MAXIMUM_DEPTH = 40
_LONGEST_NUMBER = 400
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


def parse_json(content: bytes, where: str) -> Any:
    """The value in ``content``; ``where`` names it in errors.

    Raises:
        InputError: too large, nested too deeply, not UTF-8, not JSON, a key given twice, NaN or an infinity.
    """
    if len(content) > MAXIMUM_BYTES:
        raise InputError(f"{where}: {len(content):,} bytes are more than the {MAXIMUM_BYTES:,} a JSON file may have")
    _check_depth(content, where)

    def refuse(word: str) -> NoReturn:
        raise InputError(f"{where}: {word} is not a number that JSON knows")

    def number(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else refuse(text[:40])

    def whole(text: str) -> int:
        return int(text) if len(text) <= _LONGEST_NUMBER else refuse(text[:40])

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{where}: key '{twice[:80]}' is given twice")
        return found

    try:
        return json.loads(
            content.decode("utf-8"), parse_constant=refuse, parse_float=number, parse_int=whole,
            object_pairs_hook=pairs,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{where}:{error.lineno}: not valid JSON ({error.msg})") from error


def _check_depth(content: bytes, where: str) -> None:
    """Count brackets outside texts before the parser, which is recursive, sees them."""
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", content)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAXIMUM_DEPTH:
            raise InputError(f"{where}: nested deeper than {MAXIMUM_DEPTH} levels")


def render_json(value: Any) -> bytes:
    """The one form in which a bundle's JSON is written."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"
