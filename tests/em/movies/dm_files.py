"""Small DM3 and DM4 files for tests: a coloured thumbnail, tags of every type, and one grey picture."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DATA_TYPES = {"i2": 1, "f4": 2, "u1": 6, "i4": 7, "i1": 9, "u2": 10, "u4": 11, "f8": 12}
_CODES = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "i1": 9, "u1": 10, "i8": 11, "u8": 12}


class DmFile:
    """Builds the bytes of a DM file of version 3 or 4."""

    def __init__(self, version: int, little: bool = True) -> None:
        self.version = version
        self.order: Literal["<", ">"] = "<" if little else ">"
        self._long = ">I" if version == 3 else ">Q"

    def number(self, value: int) -> bytes:
        return struct.pack(self._long, value)

    def group(self, *tags: bytes) -> bytes:
        return b"\1\0" + self.number(len(tags)) + b"".join(tags)

    def tag(self, kind: int, name: str, body: bytes) -> bytes:
        length = self.number(len(body)) if self.version == 4 else b""
        return struct.pack(">BH", kind, len(name)) + name.encode("latin-1") + length + body

    def branch(self, name: str, *tags: bytes) -> bytes:
        return self.tag(20, name, self.group(*tags))

    def leaf(self, name: str, info: list[int], data: bytes) -> bytes:
        head = b"%%%%" + self.number(len(info)) + b"".join(self.number(value) for value in info)
        return self.tag(21, name, head + data)

    def scalar(self, name: str, kind: str, value: float) -> bytes:
        return self.leaf(name, [_CODES[kind]], np.array(value, dtype=self.order + kind).tobytes())

    def array(self, name: str, values: NDArray[Any]) -> bytes:
        kind = values.dtype.str[1:]
        data = values.astype(values.dtype.newbyteorder(self.order)).tobytes()
        return self.leaf(name, [20, _CODES[kind], values.size], data)

    def image(self, picture: NDArray[Any], data_type: int) -> bytes:
        rows, columns = picture.shape
        sides = self.branch("Dimensions", self.scalar("", "u4", columns), self.scalar("", "u4", rows))
        content = [
            self.array("Data", picture),
            self.scalar("DataType", "u4", data_type),
            sides,
            self.scalar("PixelDepth", "u4", picture.dtype.itemsize),
        ]
        return self.branch("", self.branch("ImageData", *content), self.branch("ImageTags"))

    def file(self, *tags: bytes) -> bytes:
        root = self.group(*tags)
        order = struct.pack(">I", int(self.order == "<"))
        return struct.pack(">I", self.version) + self.number(len(root)) + order + root + bytes(8)


def dm_bytes(picture: NDArray[Any], version: int = 4, little: bool = True) -> bytes:
    """A file as Gatan's program writes it: the thumbnail first, then the picture."""
    dm = DmFile(version, little)
    thumbnail = np.arange(12, dtype=np.uint32).reshape(3, 4)
    images = dm.branch("ImageList", dm.image(thumbnail, 23), dm.image(picture, DATA_TYPES[picture.dtype.str[1:]]))
    others = [
        dm.leaf("Text", [20, 4, 5], "gain!".encode("utf-16-le" if little else "utf-16-be")),
        dm.leaf("Point", [15, 0, 2, 0, 6, 0, 6], bytes(8)),
        dm.leaf("Points", [20, 15, 0, 2, 0, 6, 0, 2, 7], bytes(42)),
        dm.scalar("Big", "u8", 7),
        dm.scalar("Flag", "u1", 1),
    ]
    return dm.file(*others, images)


def write_dm(path: Path, picture: NDArray[Any], version: int = 4, little: bool = True) -> None:
    path.write_bytes(dm_bytes(picture, version, little))
