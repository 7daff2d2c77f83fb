"""The decision on picks as a file: every pick, whether it was kept and why; given again it is replayed exactly.

What is replayed is the file's own rows: the same coordinates go on, even where another machine's search puts a pick a
hundredth of a pixel away. A person's saved selection, a list of coordinates, stands above any rule or decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import StarBlock, Value, make_block, read_star, write_star
from cryorepro.em.picking.inspection import KEPT
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.tables import PickTable, coordinate_block, picks_of

DECISION, BLOCK = "decision.star", "pick_inspection"
UNDECIDED, NOT_SAVED, BY_HAND = "not in the decision", "not in the saved selection", "kept by the saved selection"
_SAME_PLACE_PX = 1.0


@dataclass(frozen=True)
class Decision:
    """Every pick with its reason, micrograph by micrograph; what begins with ``kept`` goes on."""

    table: PickTable
    reasons: tuple[tuple[str, ...], ...]

    @property
    def kept(self) -> list[Picks]:
        """The picks that go on, of every micrograph."""
        parts = zip(self.table.picks, self.reasons, strict=True)
        return [picks.subset(np.array([is_kept(why) for why in reasons], dtype=bool)) for picks, reasons in parts]

    def count(self) -> dict[str, int]:
        """How many picks have each reason, by the reasons' first order of appearance."""
        found: dict[str, int] = {}
        for reason in (why for reasons in self.reasons for why in reasons):
            found[reason] = found.get(reason, 0) + 1
        return found


def is_kept(reason: str) -> bool:
    """Whether a pick with this reason goes on."""
    return reason.startswith(KEPT)


def by_reasons(table: PickTable, reasons: Sequence[str]) -> Decision:
    """A decision from one reason per pick, over all micrographs in their order."""
    parts = table.split(np.array(reasons, dtype=object))
    return Decision(table, tuple(tuple(str(why) for why in part) for part in parts))


def replayed(table: PickTable, earlier: Decision) -> Decision:
    """The rows of an earlier decision, after checking that they are about these micrographs and picks.

    Picks of the table that the decision does not know are added, not kept.

    Raises:
        InputError: a micrograph of the decision is not there, or a pick that it keeps is no pick of the table.
    """
    found = dict(zip(table.names, table.picks, strict=True))
    decided = dict(zip(earlier.table.names, zip(earlier.table.picks, earlier.reasons, strict=True), strict=True))
    absent = sorted(set(decided) - set(found))
    if absent:
        raise InputError(f"{earlier.table.source}: the decision is on {absent[0]}, which has no picks here.")
    rows: list[tuple[Picks, tuple[str, ...]]] = []
    for name, picks in found.items():
        if name not in decided:
            rows.append((picks, (UNDECIDED,) * len(picks)))
            continue
        old, reasons = decided[name]
        kept = np.array([is_kept(why) for why in reasons], dtype=bool)
        lost = kept & ~near(old.at_px, picks.at_px)
        if lost.any():
            x, y = old.at_px[int(np.argmax(lost))]
            raise InputError(f"{earlier.table.source}: the kept pick at ({x:.1f}, {y:.1f}) of {name} is no pick here.")
        new = picks.subset(~near(picks.at_px, old.at_px))
        rows.append((joined(old, new), (*reasons, *(UNDECIDED,) * len(new))))
    return _decision(table, rows)


def by_hand(table: PickTable, saved: PickTable) -> Decision:
    """Keep what a person saved, and nothing else; a place that is no pick of the table is added as it is.

    Raises:
        InputError: the saved list names a micrograph that is not there, or keeps nothing.
    """
    absent = sorted(set(saved.names) - set(table.names))
    if absent:
        raise InputError(f"{saved.source}: the selection is on {absent[0]}, which has no picks here.")
    if saved.total == 0:
        raise InputError(f"{saved.source}: the saved selection keeps nothing.")
    wanted = dict(zip(saved.names, saved.picks, strict=True))
    rows = []
    for name, picks in zip(table.names, table.picks, strict=True):
        chosen = wanted.get(name, picks.subset(np.zeros(len(picks), dtype=bool)))
        marks = near(picks.at_px, chosen.at_px)
        added = chosen.subset(~near(chosen.at_px, picks.at_px))
        reasons = [BY_HAND if mark else NOT_SAVED for mark in marks]
        rows.append((joined(picks, added), (*reasons, *(BY_HAND,) * len(added))))
    return _decision(table, rows)


def _decision(table: PickTable, rows: Sequence[tuple[Picks, tuple[str, ...]]]) -> Decision:
    picks = tuple(found for found, _ in rows)
    return Decision(PickTable(table.source, table.names, picks), tuple(reasons for _, reasons in rows))


def near(places: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of ``places [n, 2]`` lie within a pixel of one of ``others [m, 2]``."""
    if len(places) == 0 or len(others) == 0:
        return np.zeros(len(places), dtype=bool)
    return np.asarray(cKDTree(others).query(places)[0] <= _SAME_PLACE_PX)


def joined(first: Picks, second: Picks) -> Picks:
    """The picks of both, in this order."""
    names = Picks.__dataclass_fields__
    return Picks(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names))


def write_decision(path: Path, decision: Decision, rule: Mapping[str, Value]) -> None:
    """Write every pick with its reason, and in a table of its own by what rule it was decided."""
    columns: dict[str, list[str]] = {"rlnMicrographName": []}
    for name, picks in zip(decision.table.names, decision.table.picks, strict=True):
        columns["rlnMicrographName"] += [name] * len(picks)
        for label, values in coordinate_block(picks).columns.items():
            columns.setdefault(label, []).extend(values)
    reasons = [why for part in decision.reasons for why in part]
    columns["rlnSelected"] = [str(int(is_kept(why))) for why in reasons]
    columns["cryoreproReason"] = reasons
    how = make_block(f"{BLOCK}_rule", {label: [value] for label, value in rule.items()}, is_loop=False)
    write_star(path, [how, StarBlock(BLOCK, columns)])


def read_decision(path: Path) -> Decision:
    """Read a decision; ``rlnSelected`` decides, whatever the reason says, so that a person may edit it.

    Raises:
        InputError: the file is no decision, a mark is neither 0 nor 1, or nothing is kept.
    """
    blocks = read_star(path)
    if BLOCK not in blocks:
        raise InputError(f"{path}: the table data_{BLOCK} is missing; this is no decision on picks.")
    block = blocks[BLOCK]
    names, marks = block.text("rlnMicrographName"), block.integers("rlnSelected")
    if not np.isin(marks, (0, 1)).all() or not marks.any():
        raise InputError(f"{path}: rlnSelected must be 0 or 1, and keep at least one pick.")
    picks = picks_of(block, path)
    said = block.columns.get("cryoreproReason", [KEPT] * len(names))
    reasons = [_agreed(why, bool(mark)) for why, mark in zip(said, marks.tolist(), strict=True)]
    listed, labels = list(dict.fromkeys(names)), np.array(names, dtype=object)
    rows = [np.flatnonzero(labels == name) for name in listed]
    table = PickTable(path, tuple(listed), tuple(picks.subset(chosen) for chosen in rows))
    return Decision(table, tuple(tuple(reasons[row] for row in chosen) for chosen in rows))


def _agreed(reason: str, mark: bool) -> str:
    if is_kept(reason) == mark:
        return reason
    return "kept by hand" if mark else "left out by hand"
