"""Square images of a stack, read whole: class averages, and the views that they are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.mrc import read_mrc_header

_MOST_IMAGES, _LARGEST_BOX = 20_000, 2048


def read_square_images(path: Path) -> tuple[NDArray[np.float32], float]:
    """Images ``[k, n, n]`` and their pixel size in Angstrom.

    Raises:
        InputError: the file is missing or malformed, or holds no square images of at most 2,048 pixels.
    """
    shape = read_mrc_header(path).shape
    if len(shape) != 3 or shape[1] != shape[2] or shape[0] > _MOST_IMAGES or shape[1] > _LARGEST_BOX:
        raise InputError(f"{path}: {shape}, not at most {_MOST_IMAGES} square images.")
    return read_map(path)
