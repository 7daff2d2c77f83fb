"""Single pictures from Gatan DM3 and DM4 files, which gain references of K2 and K3 cameras are stored in.

Layout: C. Boothroyd, "Digital Micrograph file format" (https://www.er-c.org/cbb/info/dmformat/): a tree of tags, big
endian, whose leaves are little endian where the header says so. Only what leads to a picture is kept, and every
length is checked against the file before anything of that size is made. The permissive reader on PyPI (``dm4``, MIT)
makes no such checks and reads no DM3, and the others are under the GPL, so this one is the project's own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.movies.movie import Pixels, check_claim

MAGICS = (b"\0\0\0\3", b"\0\0\0\4")
_MAX_DEPTH, _MAX_TAGS, _MAX_INFO = 64, 1_000_000, 1_000
_GROUP, _DATA = 20, 21
_STRUCT, _STRING, _ARRAY = 15, 18, 20
_SCALARS = {
    2: "i2", 3: "i4", 4: "u2", 5: "u4", 6: "f4", 7: "f8", 8: "u1", 9: "i1", 10: "u1", 11: "i8", 12: "u8",
}  # fmt: skip
# ImageData.DataType of grey pictures, to the type of their pixels; 23 is the coloured thumbnail.
_PIXELS = {1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8", 14: "u1"}


@dataclass
class Group:
    """A group of tags: numbers, arrays (not read yet) and groups, by name or by place where they have none."""

    tags: dict[str | int, float | Array | Group] = field(default_factory=dict)

    def group(self, name: str | int) -> Group:
        """A group of this group; an empty one if there is none of that name."""
        found = self.tags.get(name)
        return found if isinstance(found, Group) else Group()


@dataclass(frozen=True)
class Array:
    """Where an array of numbers lies in the file."""

    offset: int
    count: int
    dtype: np.dtype[np.generic]


class _Reader:
    """Reads a tag tree; every read is checked against the size of the file."""

    def __init__(self, path: Path, stream: IO[bytes], size: int) -> None:
        self.path, self._stream, self._size = path, stream, size
        self._tags_left = _MAX_TAGS
        (version,) = struct.unpack(">I", self._take(4))
        self._long, self._long_bytes = (">I", 4) if version == 3 else (">Q", 8)
        self._has_lengths = version == 4
        self._number()
        (order,) = struct.unpack(">I", self._take(4))
        if order not in (0, 1):
            raise InputError(f"{path}: not a Gatan file (byte order {order}).")
        self._order = "<" if order else ">"

    def _take(self, count: int) -> bytes:
        raw = self._stream.read(count) if 0 <= count <= self._size else b""
        if len(raw) != count:
            raise InputError(f"{self.path}: truncated: a tag of the Gatan file reaches beyond its {self._size} bytes.")
        return raw

    def _number(self) -> int:
        return int(struct.unpack(self._long, self._take(self._long_bytes))[0])

    def group(self, depth: int = 0) -> Group:
        """The group that begins here."""
        if depth > _MAX_DEPTH:
            raise InputError(f"{self.path}: the Gatan file nests its tags more than {_MAX_DEPTH} deep.")
        self._take(2)
        group = Group()
        for place in range(self._number()):
            self._tags_left -= 1
            if self._tags_left < 0:
                raise InputError(f"{self.path}: the Gatan file has more than {_MAX_TAGS} tags.")
            self._tag(group, place, depth)
        return group

    def _tag(self, group: Group, place: int, depth: int) -> None:
        kind, length = struct.unpack(">BH", self._take(3))
        name = self._take(length).decode("latin-1") or place
        if kind not in (_GROUP, _DATA):
            raise InputError(f"{self.path}: the Gatan file has a tag of kind {kind} (20 and 21 are known).")
        if self._has_lengths:
            self._number()
        if kind == _GROUP:
            group.tags[name] = self.group(depth + 1)
            return
        value = self._leaf()
        if value is not None:
            group.tags[name] = value

    def _leaf(self) -> float | Array | None:
        if self._take(4) != b"%%%%":
            raise InputError(f"{self.path}: damaged: a tag of the Gatan file does not begin as one.")
        count = self._number()
        if not 1 <= count <= _MAX_INFO:
            raise InputError(f"{self.path}: damaged: a tag of the Gatan file is described by {count} numbers.")
        info = [self._number() for _ in range(count)]
        if count == 1 and info[0] in _SCALARS:
            dtype = np.dtype(self._order + _SCALARS[info[0]])
            return float(np.frombuffer(self._take(dtype.itemsize), dtype=dtype)[0])
        if count == 3 and info[0] == _ARRAY and info[1] in _SCALARS:
            return self._array(np.dtype(self._order + _SCALARS[info[1]]), info[2])
        self._skip(self._bytes(info))
        return None

    def _array(self, dtype: np.dtype[np.generic], count: int) -> Array:
        array = Array(self._stream.tell(), count, dtype)
        self._skip(count * dtype.itemsize)
        return array

    def _bytes(self, info: list[int]) -> int:
        """Bytes of a leaf that is not kept: a string, a structure, or an array of structures."""
        if info[0] == _STRING and len(info) == 2:
            return 2 * info[1]
        if info[0] == _STRUCT and len(info) >= 3:
            return self._fields(info[2:])
        if info[0] == _ARRAY and len(info) >= 5 and info[1] == _STRUCT:
            return info[-1] * self._fields(info[3:-1])
        raise InputError(f"{self.path}: the Gatan file has a tag of unknown type {info[:4]}.")

    def _fields(self, info: list[int]) -> int:
        """Bytes of a structure: the number of its fields, then a length of name and a type for each."""
        types = info[2::2]
        if len(types) != info[0] or any(kind not in _SCALARS for kind in types):
            raise InputError(f"{self.path}: the Gatan file has a structure of unknown fields.")
        return sum(np.dtype(_SCALARS[kind]).itemsize for kind in types)

    def _skip(self, count: int) -> None:
        if count > self._size - self._stream.tell():
            raise InputError(f"{self.path}: truncated: a tag of the Gatan file reaches beyond its {self._size} bytes.")
        self._stream.seek(count, 1)


def read_gatan(path: Path, what: str) -> Pixels:
    """The only grey picture of a DM3 or DM4 file, ``[rows, columns]`` as stored.

    Raises:
        InputError: not such a file, damaged, truncated, or without one grey picture; ``what`` names its purpose.
    """
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            root = _Reader(path, stream, size).group()
            array, shape, kind = _picture(path, root, what)
            stream.seek(array.offset)
            raw = stream.read(array.count * array.dtype.itemsize)
    except OSError as error:
        raise InputError(f"{path}: the Gatan file cannot be read ({error.strerror}).") from error
    stored = np.dtype(kind).newbyteorder(array.dtype.byteorder)
    return np.frombuffer(raw, dtype=stored).reshape(shape).astype(np.dtype(kind))


def _picture(path: Path, root: Group, what: str) -> tuple[Array, tuple[int, int], str]:
    images = root.group("ImageList").tags.values()
    data = [image.group("ImageData") for image in images if isinstance(image, Group)]
    grey = [each for each in data if each.tags.get("DataType") in _PIXELS]
    if len(grey) != 1:
        raise InputError(f"{path}: a {what} is one grey picture, but the Gatan file holds {len(grey)}.")
    array, kind = grey[0].tags.get("Data"), _PIXELS[int(_number(grey[0], "DataType"))]
    sizes = [int(side) for side in grey[0].group("Dimensions").tags.values() if isinstance(side, float)]
    if not isinstance(array, Array) or len(sizes) < 2 or any(side != 1 for side in sizes[2:]):
        raise InputError(f"{path}: the Gatan file holds no picture of rows and columns (dimensions {sizes}).")
    shape = sizes[1], sizes[0]
    check_claim(path, 1, shape)
    if array.dtype.itemsize != np.dtype(kind).itemsize or array.count != shape[0] * shape[1]:
        raise InputError(
            f"{path}: the Gatan file holds {array.count} pixels of {array.dtype}, "
            f"not {shape[0]} x {shape[1]} of {kind}."
        )
    return array, shape, kind


def _number(group: Group, name: str) -> float:
    value = group.tags.get(name)
    return value if isinstance(value, float) else 0.0
