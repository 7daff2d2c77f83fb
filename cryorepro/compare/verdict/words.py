"""The words of the outcome axis: their order, the worst of several, and the exit code a script can use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.model.outcome import OutcomeWord

SEVERITY: tuple[OutcomeWord, ...] = (
    "identical", "numerical", "equivalent", "within-band-n1", "not-attempted", "inconclusive", "not-comparable",
    "diverged", "unverifiable", "failed",
)  # fmt: skip
LEVELS: tuple[OutcomeWord, ...] = ("identical", "numerical", "equivalent", "within-band-n1")
"""What ``--require`` may name, the strongest first."""

DIVERGED, INCONCLUSIVE, NOT_COMPARABLE, FAILED, UNVERIFIABLE = 3, 4, 5, 6, 7
EXIT_CODES: dict[OutcomeWord, int] = {
    "identical": 0, "numerical": 0, "equivalent": 0, "within-band-n1": 0, "not-attempted": 0, "diverged": DIVERGED,
    "inconclusive": INCONCLUSIVE, "not-comparable": NOT_COMPARABLE, "failed": FAILED, "unverifiable": UNVERIFIABLE,
}  # fmt: skip


def parse_level(text: str | None) -> OutcomeWord | None:
    """The level that ``--require`` names; None when it was not given.

    Raises:
        InputError: no such level.
    """
    if text is None:
        return None
    found = next((level for level in LEVELS if level == text), None)
    if found is None:
        raise InputError(f"--require {text}: the levels are {', '.join(LEVELS)}")
    return found


def exit_code(word: OutcomeWord, require: OutcomeWord | None = None) -> int:
    """0 at or above ``require``, else by the word.

    Without ``require``, whatever lies within its margin gives 0, and so does a run that nothing was declared for. With
    it, a result that is good but weaker than required gives 4 where more runs could reach the level, and 3 where the
    comparison at that level was made and found a difference.
    """
    if require is None or word not in (*LEVELS, "not-attempted"):
        return EXIT_CODES[word]
    if word == "not-attempted":
        return INCONCLUSIVE
    if LEVELS.index(word) <= LEVELS.index(require):
        return 0
    return DIVERGED if require in ("identical", "numerical") else INCONCLUSIVE


def axis_word(verdict: Mapping[str, Any]) -> str:
    """The word a verdict shows: a published time whose conditions could be met has one of the performance axis."""
    timed = verdict.get("kind") == "time" and not verdict["needs"]
    return str(verdict["axis_performance"] if timed else verdict["axis_outcome"])


def worst(words: Iterable[OutcomeWord], default: OutcomeWord = "not-attempted") -> OutcomeWord:
    """The worst of several words; ``default`` when there is none."""
    return max(words, key=SEVERITY.index, default=default)
