"""Where two runs part, printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryorepro.compare.artifacts.compare import Parting
    from cryorepro.compare.artifacts.divergence import StagePair

_SUSPECTS_SHOWN = 12
_LONGEST = 48


def print_parting(found: Parting) -> None:
    """The sentence first, then stage by stage, explanations, and the differences that may have caused it."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    out = Console()
    if found.divergence is None:
        out.print(found.note or "", highlight=False)
    else:
        out.print(escape(found.divergence.sentence), highlight=False, style="bold")
        table = Table("stage", "outputs", "iterations", "files that differ", box=None, pad_edge=False)
        for stage in found.divergence.stages:
            table.add_row(stage.stage, stage.word, _iterations(stage), escape(_files(stage)))
        out.print(table)
    for text in found.explanations:
        out.print(f"why: {escape(text)}", highlight=False)
    if found.suspects:
        _print_suspects(found.suspects)
    out.print()


def _iterations(stage: StagePair) -> str:
    if not stage.iterations:
        return "-"
    last = stage.iterations[-1].iteration
    if stage.first_difference is None:
        return f"identical to {last}"
    if stage.first_beyond_rounding is None:
        return f"rounding from {stage.first_difference} of {last}"
    return f"part at {stage.first_difference}, beyond rounding at {stage.first_beyond_rounding}, of {last}"


def _files(stage: StagePair) -> str:
    if stage.note:
        return stage.note
    parted = [pair for pair in stage.outputs if pair.word != "identical"]
    return "\n".join(f"{pair.name}: {pair.word}, {pair.reason}" for pair in parted)


def _print_suspects(suspects: Sequence[Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "differs", "first", "second", "what it can do", box=None, pad_edge=False)
    for suspect in suspects[:_SUSPECTS_SHOWN]:
        left, right = (escape(_short(value)) for value in (suspect.left, suspect.right))
        table.add_row(str(suspect.rank), suspect.field, left, right, escape(suspect.reason))
    out = Console()
    out.print(table)
    if len(suspects) > _SUSPECTS_SHOWN:
        out.print(f"and {len(suspects) - _SUSPECTS_SHOWN} more (--json lists all)", highlight=False)


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
