"""MongoDB's way of writing times and numbers in JSON, brought to plain values; texts made fit to be shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_TEXT = 2000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SECRET = re.compile(r"licen[cs]e|passw|token|secret|email|credential|api_?key", re.IGNORECASE)


def plain(value: Any) -> Any:
    """``value`` without MongoDB's wrappers: times as ISO 8601, identifiers as text, long numbers as numbers."""
    if isinstance(value, dict):
        if len(value) == 1:
            ((key, inner),) = value.items()
            if key == "$date":
                moment = instant(inner)
                return None if moment is None else moment.isoformat()
            if key == "$oid":
                return str(inner)
            if key in ("$numberLong", "$numberInt", "$numberDouble"):
                return _number(inner)
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _number(text: Any) -> int | float | None:
    try:
        return float(text) if "." in str(text) else int(text)
    except (TypeError, ValueError):
        return None


def instant(value: Any) -> datetime | None:
    """A moment in UTC of what a document holds: ISO 8601, RFC 1123, milliseconds since 1970, or one wrapped."""
    if isinstance(value, dict) and len(value) == 1:
        return instant(next(iter(value.values())))
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000.0, UTC)
        if not isinstance(value, str):
            return None
        if value.lstrip("-").isdigit():
            return datetime.fromtimestamp(int(value) / 1000.0, UTC)
        moment = parsedate_to_datetime(value) if "," in value else datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def deeper_than(document: Any, levels: int) -> bool:
    """Whether a document nests deeper; looked at level by level, so that no depth can exhaust the stack."""
    now = [document]
    for _ in range(levels):
        parts = (list(item.values()) if isinstance(item, dict) else item for item in now)
        now = [inner for part in parts if isinstance(part, list) for inner in part if isinstance(inner, dict | list)]
    return bool(now)


def shown(text: Any, longest: int = LONGEST_TEXT) -> str:
    """A text of somebody else's, on one line, without control characters, of a bounded length."""
    return _CONTROL.sub(" ", str(text)).replace("\n", " ").replace("\t", " ")[:longest].strip()


def parameters(values: dict[str, Any]) -> dict[str, Any]:
    """Parameters as they are recorded: plain values, nothing that looks like a credential."""
    return {shown(key, 100): _bounded(value) for key, value in values.items() if not _SECRET.search(str(key))}


def _bounded(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return shown(value)
