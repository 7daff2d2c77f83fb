"""RELION STAR files: tables of text with checked rows; numbers are converted on request.

A RELION STAR file is a CIF file with one table per `data_` block: either label/value pairs or one loop
with one row per line. Labels are kept without their underscore. gemmi parses the text; `star_lines` first
refuses what CIF would accept and RELION would misread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.atomic import atomic_writer
from cryorepro.em.formats.star_lines import check_rows

if TYPE_CHECKING:
    from gemmi import cif

MAX_STAR_BYTES = 2 * 1024**3
Value = str | int | float
_NUMBERS = re.compile(r"[0-9.+-][0-9.e+-]*(?:\n[0-9.+-][0-9.e+-]*)*")


@dataclass(frozen=True)
class StarBlock:
    """One `data_` block: a loop of columns, or label/value pairs held as columns of one row.

    Attributes:
        name: What follows `data_`; empty for a nameless block.
        columns: Values as text by label (no underscore), all of one length.
        is_loop: False for label/value pairs.
        source: The file it was read from, for error messages.
    """

    name: str
    columns: dict[str, list[str]]
    is_loop: bool = True
    source: str = "STAR table"

    @property
    def row_count(self) -> int:
        """Number of rows; 1 for a non-empty block of pairs."""
        return len(next(iter(self.columns.values()), []))

    def text(self, label: str) -> list[str]:
        """Return a column as text. Raises InputError naming file and label if it is missing."""
        if label not in self.columns:
            raise InputError(f"{self.source}: column {label} is missing from data_{self.name}.")
        return self.columns[label]

    def numbers(self, label: str) -> NDArray[np.float64]:
        """Return a column as float64; `inf` and `nan` pass. Raises InputError naming file, label and row."""
        values = self.text(label)
        try:
            return np.array(values, dtype=np.float64)
        except ValueError:
            row = next(i for i, v in enumerate(values) if not _is_number(v))
            raise InputError(
                f"{self.source}: {label} in row {row + 1} of data_{self.name} is not a number: {values[row][:40]!r}."
            ) from None

    def integers(self, label: str) -> NDArray[np.int64]:
        """Return a column of whole numbers. Raises InputError naming file, label and row."""
        numbers = self.numbers(label)
        whole = np.isfinite(numbers) & (numbers == np.round(numbers)) & (np.abs(numbers) < 2.0**53)
        if not whole.all():
            row = int(np.argmin(whole))
            raise InputError(
                f"{self.source}: {label} in row {row + 1} of data_{self.name} is not a whole number: {numbers[row]}."
            )
        return numbers.astype(np.int64)

    def value(self, label: str) -> str:
        """Return the only value of a label. Raises InputError if there is none or more than one row."""
        values = self.text(label)
        if len(values) != 1:
            raise InputError(f"{self.source}: {label} in data_{self.name} has {len(values)} values, not one.")
        return values[0]


def read_star(path: Path | str) -> dict[str, StarBlock]:
    """Read every block of a STAR file, in file order, by block name.

    Raises:
        InputError: The file is missing, too large, not text, not STAR, or has a malformed row.
    """
    return parse_star(read_star_text(path), str(path))


def read_star_text(path: Path | str) -> str:
    """Read a STAR file's text with line ends normalised; the size is checked first."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_STAR_BYTES:
            raise InputError(f"{path}: {size} bytes is larger than a STAR file may be ({MAX_STAR_BYTES}).")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: the STAR file cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a STAR file (byte {error.start} is not UTF-8 text).") from error
    if "\0" in text:
        raise InputError(f"{path}: not a STAR file (it contains NUL bytes).")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_star(text: str, source: str) -> dict[str, StarBlock]:
    """Parse STAR text; `source` names it in error messages."""
    # here: programs that only write tables need not load gemmi (0.03 CPU-seconds)
    from gemmi import cif

    loops = check_rows(text, source)
    try:
        document = cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{source}: not a readable STAR file ({str(error).splitlines()[0]}).") from error
    quoted = "'" in text or '"' in text
    blocks = [_convert_block(block, source, quoted) for block in document]
    if not blocks:
        raise InputError(f"{source}: holds no data_ block.")
    _compare_row_counts(blocks, [len(loop.row_lines) for loop in loops], source)
    return {block.name: block for block in blocks}


def _convert_block(block: cif.Block, source: str, quoted: bool) -> StarBlock:
    name = block.name.strip()
    pairs: dict[str, list[str]] = {}
    loops: list[cif.Loop] = []
    for item in block:
        if item.loop is not None:
            loops.append(item.loop)
        elif item.pair is not None:
            pairs[_label(item.pair[0])] = [_unquote(item.pair[1])]
    if len(loops) + bool(pairs) > 1:
        raise InputError(f"{source}: data_{name} holds more than one table.")
    if not loops:
        return StarBlock(name, pairs, is_loop=False, source=source)
    tags = [_label(tag) for tag in loops[0].tags]
    if len(set(tags)) != len(tags):
        raise InputError(f"{source}: data_{name} names a column twice.")
    columns = {_label(tag): _shared(block.find_loop(tag), quoted) for tag in loops[0].tags}
    return StarBlock(name, columns, is_loop=True, source=source)


def _shared(values: Iterable[str], quoted: bool) -> list[str]:
    """A column with one object for equal values: most columns of a large table repeat few of them."""
    seen: dict[str, str] = {}
    column = [seen.setdefault(value, value) for value in values]
    return _unquote_all(column) if quoted else column


def _compare_row_counts(blocks: Sequence[StarBlock], counted: Sequence[int], source: str) -> None:
    parsed = [block.row_count for block in blocks if block.is_loop and block.row_count]
    if parsed != list(counted):
        raise InputError(f"{source}: {sum(counted)} rows counted by line, but {sum(parsed)} rows parsed.")


def write_star(path: Path | str, blocks: Iterable[StarBlock] | Mapping[str, StarBlock]) -> None:
    """Write blocks in RELION's style (`# version 30001`, numbered labels), atomically and deterministically.

    Raises:
        InputError: A value cannot be written on one line, or columns differ in length.
        OSError: The directory cannot be written.
    """
    listed = blocks.values() if isinstance(blocks, Mapping) else blocks
    text = "".join(_format_block(block) for block in listed)
    with atomic_writer(Path(path)) as stream:
        stream.write(text.encode("utf-8"))


def make_block(name: str, columns: Mapping[str, Iterable[Value]], is_loop: bool = True) -> StarBlock:
    """Build a block from values; floats take the shortest form that reads back to the same float64."""
    return StarBlock(name, {label: format_values(values) for label, values in columns.items()}, is_loop)


def format_values(values: Iterable[Value]) -> list[str]:
    """Turn values into STAR text (unquoted)."""
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return [repr(v) if isinstance(v, float) else str(v) for v in listed]


def _format_block(block: StarBlock) -> str:
    lengths = {len(column) for column in block.columns.values()}
    if len(lengths) > 1 or (not block.is_loop and lengths - {1}):
        raise InputError(f"data_{block.name}: columns of different lengths cannot be written.")
    head = f"\n# version 30001\n\ndata_{block.name}\n\n"
    quoted = {label: _quote_all(label, column) for label, column in block.columns.items()}
    if not block.is_loop:
        return head + "".join(f"_{label:<40} {column[0]:>12}\n" for label, column in quoted.items()) + " \n"
    labels = "".join(f"_{label} #{i} \n" for i, label in enumerate(quoted, start=1))
    line = " ".join(["%12s"] * len(quoted)) + " \n"
    rows = "".join([line % row for row in zip(*quoted.values(), strict=True)])
    return f"{head}loop_ \n{labels}{rows} \n"


def _label(tag: str) -> str:
    return tag[1:]


def _unquote_all(values: list[str]) -> list[str]:
    return [_unquote(v) if v[:1] in ("'", '"') else v for v in values]


def _unquote(value: str) -> str:
    if value[:1] not in ("'", '"'):
        return value
    from gemmi import cif

    return str(cif.as_string(value))


def _quote_all(label: str, values: list[str]) -> list[str]:
    # numbers need no quotes, and a column of them is seen in one pass
    joined = "\n".join(values)
    if joined.count("\n") == len(values) - 1 and _NUMBERS.fullmatch(joined):
        return values
    return [v if _is_plain(v) else _quote(label, v) for v in values]


def _is_plain(value: str) -> bool:
    lowered = value[:7].lower()
    reserved = lowered.startswith(("data_", "loop_", "save_", "global_", "stop_"))
    return (
        bool(value)
        and value[0] not in "_#'\"$;"
        and not reserved
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def _quote(label: str, value: str) -> str:
    for mark in ('"', "'"):
        if mark not in value and value.isprintable():
            return f"{mark}{value}{mark}"
    raise InputError(f"{label}: the value {value[:40]!r} cannot be written to a STAR file.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
