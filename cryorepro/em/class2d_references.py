"""References of a 2D classification: a stack with one image per class, or a STAR file that lists them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.references import reference_names


def read_image_references(path: Path, classes: int, box_px: int) -> Tensor:
    """The references ``[classes, box, box]`` float32 of a ``.mrcs`` stack or a STAR file with rlnReferenceImage.

    Names in a STAR file are ``000001@stack.mrcs``, relative to the file.

    Raises:
        InputError: a file is missing, the references are not one per class, or of another box, or not finite.
    """
    images = [_image(path.parent / name, number, box_px) for number, name in reference_names(path)]
    if len(images) != classes:
        raise InputError(f"{path}: {len(images)} references for {classes} classes.")
    return torch.from_numpy(np.stack(images))


def _image(path: Path, number: int, box_px: int) -> np.ndarray:
    header = read_mrc_header(path)
    if header.shape[1:] != (box_px, box_px):
        raise InputError(f"{path}: images of {header.shape[2]} x {header.shape[1]} pixels, not of the box {box_px}.")
    if number >= header.shape[0]:
        raise InputError(f"{path}: image {number + 1} is asked for, but the stack holds {header.shape[0]}.")
    stack = np.memmap(path, dtype=header.dtype, mode="r", offset=header.data_offset, shape=header.shape)
    image = np.array(stack[number], dtype=np.float32)
    if not np.isfinite(image).all():
        raise InputError(f"{path}: reference {number + 1} has NaN or infinite pixels.")
    return image
