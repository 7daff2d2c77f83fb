"""CryoSPARC's tables: ``.cs`` files, structured arrays in numpy's own file format, and joining them by ``uid``.

A header is judged before memory is taken: field types, number of rows and the file's size must agree. Objects are
refused, so nothing in a file is ever executed. Names of fields are CryoSPARC's (``blob/path``, ``ctf/df1_A`` ...), as
its public Python tools document them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.atomic import atomic_writer

Column = NDArray[Any]
MAX_BYTES = 64 * 1024**3
MAX_FIELDS = 1000
MAX_HEADER_BYTES = 1_000_000
UID = "uid"
_NUMPY, _STREAM = b"\x93NUMPY", b"\x95CSDAT"
_KINDS = "biufSU"
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class CsTable:
    """Columns of one length by field name; texts are object arrays of ``str``, vectors ``[n, k]``."""

    columns: Mapping[str, Column]
    source: str = "cs table"

    def __len__(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()), ()))

    def __contains__(self, field: object) -> bool:
        return field in self.columns

    def column(self, field: str) -> Column:
        """A column. Raises InputError naming file and field if it is missing."""
        if field not in self.columns:
            raise InputError(f"{self.source}: field {field} is missing; is it in a passthrough file?")
        return self.columns[field]

    def numbers(self, field: str, width: int | None = None) -> NDArray[np.float64]:
        """A column of finite numbers, float64 ``[n]``, or ``[n, width]``.

        Raises:
            InputError: it is missing, of another width, or holds text, NaN or infinity.
        """
        values = self.column(field)
        if values.dtype == object or values.shape[1:] != (() if width is None else (width,)):
            raise InputError(f"{self.source}: field {field} does not hold {width or 1} number(s) a row.")
        plain = exact(values)
        if not np.isfinite(plain).all():
            row = int(np.argmin(np.isfinite(plain).reshape(len(plain), -1).all(axis=1)))
            raise InputError(f"{self.source}: {field} in row {row + 1} is not a finite number.")
        return plain

    def texts(self, field: str) -> list[str]:
        """A column of text. Raises InputError if it is missing or holds numbers."""
        values = self.column(field)
        if values.dtype != object:
            raise InputError(f"{self.source}: field {field} holds numbers where text is due.")
        return list(values)

    def any_nonzero(self, field: str) -> bool:
        """Whether a field is there and anything in it is not zero."""
        return field in self.columns and bool(np.any(self.columns[field]))


def exact(values: Column) -> NDArray[np.float64]:
    """Numbers as float64; a float32 becomes the shortest decimal that is that float32 (2.95, not 2.9500000477)."""
    if values.dtype == np.float32:
        return values.astype("U32").astype(np.float64)
    return values.astype(np.float64)


def read_cs(path: Path | str) -> CsTable:
    """Read a ``.cs`` file.

    Raises:
        InputError: it is missing, no structured array of numbers and texts, truncated, too long or too large.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            dtype, rows = _header(stream, path)
            expected = stream.tell() + rows * dtype.itemsize
            if size > MAX_BYTES or size != expected:
                raise InputError(f"{path}: {size} bytes, where its header promises {expected} (at most {MAX_BYTES}).")
            records = np.fromfile(stream, dtype=dtype, count=rows)
    except OSError as error:
        raise InputError(f"{path}: the .cs file cannot be read ({error.strerror or error}).") from error
    return CsTable({name: _column(records[name], name, path) for name in dtype.names or ()}, str(path))


def _header(stream: IO[bytes], path: Path) -> tuple[np.dtype[Any], int]:
    """Type and number of the rows that follow."""
    prefix = stream.read(len(_NUMPY))
    if prefix == _STREAM:
        raise InputError(f"{path}: a compressed CSDAT stream; save it as a numpy .cs file with cryosparc-tools.")
    if prefix != _NUMPY:
        raise InputError(f"{path}: not a .cs file (it does not begin as numpy's files do).")
    stream.seek(0)
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran, dtype = _READERS[version](stream, max_header_size=MAX_HEADER_BYTES)
    except (ValueError, KeyError, TypeError, SyntaxError, EOFError, MemoryError, RecursionError) as error:
        raise InputError(f"{path}: not a .cs file (its header cannot be understood).") from error
    names = dtype.names or ()
    if len(shape) != 1 or shape[0] < 0 or fortran or not names or len(names) > MAX_FIELDS or not dtype.itemsize:
        raise InputError(f"{path}: not a .cs file (its header describes no table of named fields).")
    for name in names:
        base = dtype[name].base
        if base.kind not in _KINDS or base.hasobject or not base.itemsize or len(dtype[name].shape) > 3:
            raise InputError(f"{path}: field {name[:60]!r} is of a type that is not read ({str(dtype[name])[:60]}).")
    return dtype, shape[0]


def _column(values: Column, name: str, path: Path) -> Column:
    if values.dtype.kind == "U":
        return values.astype(object)
    if values.dtype.kind != "S":
        return np.ascontiguousarray(values)
    try:
        found, inverse = np.unique(values, return_inverse=True)
        texts = np.array([text.decode("utf-8") for text in found.tolist()], dtype=object)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: field {name} holds a text that is not UTF-8.") from error
    return texts[inverse.reshape(values.shape)] if len(texts) else values.astype(object)


def write_cs(path: Path | str, columns: Mapping[str, Column]) -> None:
    """Write columns of one length as a ``.cs`` file, atomically; equal columns give equal bytes.

    Raises:
        InputError: columns differ in length, or a text holds a NUL at its end, which numpy would drop.
    """
    path = Path(path)
    packed = {name: _packed(np.asarray(values), name, path) for name, values in columns.items()}
    lengths = {len(values) for values in packed.values()}
    if len(lengths) != 1:
        raise InputError(f"{path}: columns of different lengths cannot be written.")
    dtype = np.dtype([(name, values.dtype, values.shape[1:]) for name, values in packed.items()])
    records = np.zeros(lengths.pop(), dtype=dtype)
    for name, values in packed.items():
        records[name] = values
    with atomic_writer(path) as stream:
        np.lib.format.write_array(stream, records, version=(1, 0), allow_pickle=False)


def _packed(values: Column, name: str, path: Path) -> Column:
    if values.dtype != object:
        return values
    texts = [str(value).encode("utf-8") for value in values.tolist()]
    if any(text.endswith(b"\0") for text in texts):
        raise InputError(f"{path}: a text of {name} ends in NUL, which the format cannot hold.")
    return np.array(texts, dtype=f"S{max([1, *map(len, texts)])}")


def join(tables: Sequence[CsTable]) -> CsTable:
    """The first table with the fields it lacks from the others, row by row through ``uid``.

    Raises:
        InputError: a uid stands twice in a table, or another table lacks a row of the first.
    """
    first, *others = tables
    columns = dict(first.columns)
    for other in others:
        rows = rows_of(other, first.column(UID), first.source)
        columns |= {name: values[rows] for name, values in other.columns.items() if name not in columns}
    return CsTable(columns, first.source)


def rows_of(table: CsTable, uids: Column, asking: str) -> NDArray[np.int64]:
    """The rows of ``table`` with these uids, int64 ``[len(uids)]``.

    Raises:
        InputError: a uid stands twice in ``table``, or not at all.
    """
    known = np.asarray(table.column(UID))
    order = np.argsort(known, kind="stable")
    ordered = known[order]
    if (ordered[1:] == ordered[:-1]).any():
        raise InputError(f"{table.source}: a uid stands twice.")
    places = np.searchsorted(ordered, uids)
    found = places < len(ordered)
    found[found] = ordered[places[found]] == uids[found]
    if not found.all():
        raise InputError(f"{table.source}: uid {uids[int(np.argmin(found))]} of {asking} is not in it.")
    return order[places].astype(np.int64)
