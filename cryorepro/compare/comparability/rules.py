"""The versioned table of what a difference between two runs means."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from cryorepro.model.base import Record
from cryorepro.model.strict_yaml import load_record

Level = Literal["breaks", "caveat", "none"]


class KeyRule(Record):
    """What a difference in the fields that match ``pattern`` means, and why."""

    pattern: str
    level: Level
    reason: str = Field(min_length=5)
    both_known: bool = Field(False, description="a side that does not have the field differs in nothing")


class Otherwise(Record):
    """For fields no rule speaks of."""

    level: Level
    reason: str


class TimeBand(Record):
    """Times within ``percent`` of each other are the same."""

    percent: float = Field(gt=0, le=100)
    reason: str = Field(min_length=20)


class RuleTable(Record):
    """The table; ``version`` is raised with every change of its meaning."""

    version: int = Field(ge=1)
    run_time_parameters: tuple[str, ...]
    time_band: TimeBand
    rules: tuple[KeyRule, ...]
    otherwise: Otherwise

    def rule(self, field: str, absent: bool = False) -> tuple[Level, str]:
        """Level and reason for a dotted field; ``absent`` when one side does not have it."""
        for rule in self.rules:
            if fnmatchcase(field, rule.pattern):
                return ("none" if absent and rule.both_known else rule.level), rule.reason
        return self.otherwise.level, self.otherwise.reason


@cache
def rule_table() -> RuleTable:
    """The table that ships with cryorepro."""
    return load_record(Path(__file__).with_name("rules.yaml"), RuleTable)
