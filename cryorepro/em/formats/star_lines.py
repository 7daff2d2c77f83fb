"""Line-level checks on STAR text that a CIF grammar does not make.

CIF lets a row of a loop spread over several lines; RELION takes one row from one line. A stray token
therefore shifts every later value under CIF rules and adds a row of rubbish under others. Here each row must
stand on its own line with as many values as the loop has columns, so such a file is refused by line number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryorepro.em.errors import InputError

# A quoted CIF string ends at a quote followed by white space; "#" starts a comment only at a token's start.
_TOKEN = re.compile(r"""#.*|'.*?'(?=\s|$)|".*?"(?=\s|$)|\S+""")


@dataclass(frozen=True)
class LoopLines:
    """Where one loop's rows stand: the block's name, the number of columns, and 1-based line numbers."""

    block_name: str
    column_count: int
    row_lines: list[int]


def split_tokens(line: str) -> list[str]:
    """Split a STAR line at white space, keeping quoted strings whole and dropping a trailing comment."""
    if "'" not in line and '"' not in line and "#" not in line:
        return line.split()
    return [token for token in _TOKEN.findall(line) if not token.startswith("#")]


def check_rows(text: str, source: str) -> list[LoopLines]:
    """Return where every loop's rows stand, having checked each row's number of values.

    Raises:
        InputError: A row has too few or too many values, or follows a blank line (where RELION stops);
            the sentence names `source` and the line.
    """
    loops: list[LoopLines] = []
    block_name, labels = "", 0
    state = "pairs"  # "pairs" before any loop_, "labels" after it, "rows" from the first row, "ended" by a blank
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if state == "rows" and line and line[0] not in "#_d":  # the common case first: 100,000 rows of it
            _check_row(line, number, loops[-1], source)
        elif not line:
            state = "ended" if state == "rows" else state
        elif line[0] == "#":
            continue
        elif line[:5].lower() == "data_":
            block_name, state = line[5:].strip(), "pairs"
        elif line.lower() == "loop_":
            labels, state = 0, "labels"
        elif line[0] == "_" and state == "labels":
            labels += 1
        elif line[0] == "_":
            state = _check_pair(line, number, source)
        elif state == "ended":
            raise InputError(f"{source}: line {number} follows a blank line, which ends the table data_{block_name}.")
        else:
            if state != "rows":
                loops.append(LoopLines(block_name, labels if state == "labels" else 0, []))
            state = "rows"
            _check_row(line, number, loops[-1], source)
    return loops


def _check_pair(line: str, number: int, source: str) -> str:
    if len(split_tokens(line)) != 2:
        raise InputError(f"{source}: line {number} should hold one label and one value, but reads {line[:60]!r}.")
    return "pairs"


def _check_row(line: str, number: int, loop: LoopLines, source: str) -> None:
    tokens = split_tokens(line)
    table = f"data_{loop.block_name}"
    if loop.column_count == 0:
        raise InputError(f"{source}: line {number} holds {line[:40]!r}, which belongs to no table.")
    if len(tokens) == 1 and loop.column_count > 1:
        raise InputError(
            f"{source}: a stray token {tokens[0][:40]!r} stands alone on line {number}, "
            f"in a table ({table}) of {loop.column_count} columns."
        )
    if len(tokens) != loop.column_count:
        raise InputError(
            f"{source}: line {number} has {len(tokens)} values, but its table ({table}) has "
            f"{loop.column_count} columns."
        )
    loop.row_lines.append(number)
