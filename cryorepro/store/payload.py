"""Strict reading of an event's payload: a value of the wrong type is an error that names event and key."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from cryorepro.store.errors import JournalError
from cryorepro.store.event import Event, canonical_json, iso_utc

Cell = None | int | float | str
INT64 = 2**63
MAX_EPOCH_SECONDS = 253_402_300_800.0
"""The year 10000."""


class Payload:
    """One mapping of a payload. Missing keys and ``null`` read as None, unless the method says otherwise."""

    def __init__(self, data: dict[str, Any], where: str) -> None:
        self.data = data
        self.where = where

    @classmethod
    def of(cls, event: Event) -> Payload:
        """The payload of an event, named by its number and type."""
        return cls(event.data, f"event {event.seq} ({event.type})")

    def text(self, key: str) -> str | None:
        """A text. Halves of surrogate pairs (from undecodable file names) are written as escapes."""
        value = self._typed(key, str, "text")
        return None if value is None else value.encode("utf-8", "backslashreplace").decode("utf-8")

    def need(self, key: str) -> str:
        """A text that must be there, because it is part of a key."""
        value = self.text(key)
        if value is None:
            raise JournalError(f"{self.where} has no {key}")
        return value

    def choice(self, key: str, allowed: Collection[str]) -> str:
        """A text that must be one of ``allowed``."""
        value = self.need(key)
        if value not in allowed:
            raise JournalError(f"{self.where} has {key} {value!r}, which is none of {', '.join(sorted(allowed))}")
        return value

    def label(self, key: str) -> str | None:
        """A text, or the JSON of whatever else it is: for what is only shown."""
        value = self.data.get(key)
        return self.text(key) if value is None or isinstance(value, str) else self.json(key)

    def instant(self, key: str) -> str | None:
        """A time: a text as it stands, or seconds since 1970 as ISO 8601 in UTC."""
        if not isinstance(self.data.get(key), int | float):
            return self.text(key)
        seconds = self.number(key) or 0.0
        if not 0 <= seconds < MAX_EPOCH_SECONDS:
            raise JournalError(f"{self.where}: {key} is no time")
        return iso_utc(datetime.fromtimestamp(seconds, UTC))

    def integer(self, key: str) -> int | None:
        """A whole number of at most 64 bits."""
        value = self._typed(key, int, "a whole number")
        if value is not None and not -INT64 <= value < INT64:
            raise JournalError(f"{self.where}: {key} does not fit into 64 bits")
        return None if value is None else int(value)

    def number(self, key: str) -> float | None:
        """A number, whole or not."""
        value = self._typed(key, (int, float), "a number")
        if isinstance(value, int) and abs(value) >= 2**1023:
            raise JournalError(f"{self.where}: {key} is too large")
        return None if value is None else float(value)

    def flag(self, key: str) -> int | None:
        """True or false, as 1 or 0."""
        value = self.data.get(key)
        if value is not None and not isinstance(value, bool):
            raise JournalError(f"{self.where}: {key} is not true or false")
        return None if value is None else int(value)

    def json(self, key: str) -> str | None:
        """Any value as canonical JSON."""
        value = self.data.get(key)
        return None if value is None else canonical_json(value).decode("ascii")

    def items(self, key: str) -> list[Payload]:
        """A list of mappings; none when missing."""
        values = self._typed(key, list, "a list") or []
        return [self._inner(value, f"{key}[{index}]") for index, value in enumerate(values)]

    def texts(self, key: str) -> list[str]:
        """A list of texts; none when missing."""
        values = self._typed(key, list, "a list") or []
        return [Payload({key: value}, self.where).need(key) for value in values]

    def mapping(self, key: str) -> Payload:
        """A mapping; an empty one when missing."""
        return self._inner(self.data.get(key) or {}, key)

    def _inner(self, value: object, key: str) -> Payload:
        if not isinstance(value, dict):
            raise JournalError(f"{self.where}: {key} is not a mapping")
        return Payload(value, f"{self.where}: {key}")

    def _typed(self, key: str, kinds: Any, name: str) -> Any:
        value = self.data.get(key)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise JournalError(f"{self.where}: {key} is not {name}")
        return value
