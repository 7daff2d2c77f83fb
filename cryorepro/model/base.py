"""What every record has in common: immutable, strict about keys, no NaN."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

Json = None | bool | int | float | str | list[Any] | dict[str, Any]


class Record(BaseModel):
    """An immutable record that refuses keys it does not know."""

    # Deferred: a program uses a few of the records it imports, and building all of them took a fifth of its start.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, defer_build=True)
