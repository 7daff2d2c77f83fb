"""What a probe found out about the machine, or why it could not."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from cryorepro.model.base import Record


class ProbeResult(Record):
    """One probe's reading; a probe that fails is a recorded failure, not a missing row."""

    name: str
    plugin: str
    status: Literal["ok", "failed"]
    seconds: float = Field(ge=0)
    error: str | None = None
    parser: str | None = Field(None, description="version of what parsed the raw readings; these stay private")
    data: dict[str, Any] = Field(default_factory=dict)
