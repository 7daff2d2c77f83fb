"""Writes margins, expected values and reasons into a benchmark's YAML: only their characters change, comments stay."""

from __future__ import annotations

import difflib
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

import yaml

from cryorepro.compare.margins.propose import Proposal
from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.strict_yaml import compose, load_record
from cryorepro.store.files import write_atomically

WIDTH = 118
Edit = tuple[int, int, str]


def patched(path: Path, tier: str, proposals: Sequence[Proposal]) -> str:
    """The text of ``path`` with every proposed margin in its place.

    Raises:
        InputError: the file cannot be read, or is written in a way that cannot be edited in place.
    """
    text = path.read_text(encoding="utf-8")
    root = compose(path)
    edits: list[Edit] = []
    for proposal in proposals:
        if proposal.margin is not None:
            edits += _edits(text, path, root, tier, proposal)
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def difference(path: Path, new: str) -> str:
    """A unified diff from the file to ``new``."""
    old = path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines = difflib.unified_diff(old, new.splitlines(keepends=True), f"a/{path.name}", f"b/{path.name}")
    return "".join(lines)


def write(path: Path, new: str) -> None:
    """Put ``new`` in the file's place, once it has been read back as a benchmark.

    Raises:
        InputError: it is no valid benchmark; the file is unchanged.
        StoreError: it cannot be written; the file is unchanged.
    """
    draft = path.with_name(f".{path.name}.draft.yaml")
    write_atomically(draft, new.encode())
    try:
        load_record(draft, Benchmark)
        write_atomically(path, new.encode())
    finally:
        draft.unlink(missing_ok=True)


def _edits(text: str, path: Path, root: yaml.Node, tier: str, proposal: Proposal) -> list[Edit]:
    outcomes = _child(root, "outcomes", path)
    assert isinstance(outcomes, yaml.SequenceNode)
    outcome = next(node for node in outcomes.value if _child(node, "name", path).value == proposal.outcome)
    edits: list[Edit] = []
    if proposal.value is not None:
        expectation = _child(_child(outcome, "expect", path), tier, path)
        edits.append(_number(_child(expectation, "value", path), proposal.value))
        tolerance = _child(expectation, "tolerance", path)
    else:
        tolerance = _child(outcome, "tolerance", path)
    assert proposal.margin is not None
    edits.append(_number(_child(tolerance, "margin", path), proposal.margin))
    edits.append(_reason(text, tolerance, _child(tolerance, "reason", path), proposal.reason))
    return edits


def _child(node: yaml.Node, key: str, path: Path) -> yaml.Node:
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            if key_node.value == key:
                return value  # type: ignore[no-any-return]
    raise InputError(f"{path}: '{key}' is not where it is expected")


def _number(node: yaml.Node, value: float) -> Edit:
    return node.start_mark.index, node.end_mark.index, f"{value:.12g}"


def _reason(text: str, parent: yaml.Node, node: yaml.Node, reason: str) -> Edit:
    """A folded block where the mapping is a block, else a quoted text on one line."""
    start, end = node.start_mark.index, node.end_mark.index
    if getattr(parent, "flow_style", False):
        return start, end, json.dumps(reason, ensure_ascii=False)
    end = start + len(text[start:end].rstrip())
    # What follows a block's last line is the line feed that ends it; the block itself ends before.
    indent = " " * (_column(text, parent) + 2)
    lines = textwrap.wrap(reason, WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
    return start, end, ">-\n" + "\n".join(indent + line for line in lines)


def _column(text: str, node: yaml.Node) -> int:
    return int(node.start_mark.column)
