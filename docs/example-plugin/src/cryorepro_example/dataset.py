"""A dataset: makes a tier available as local files in the field's formats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map
from cryorepro.model.dataset import DataRequest, PreparedData

BOX_PX = 32
PIXEL_SIZE_ANGSTROM = 4.0
RADIUS_PX = 8.0
NOISE = 0.05


class Ball:
    """A ball of density 1 in the middle of a box, with a little noise."""

    def prepare(self, request: DataRequest) -> PreparedData:
        """Write ``ball.mrc``; equal requests must give equal bytes, so all chance comes from ``request.seed``."""
        if request.tier != "twin":
            raise InputError(f"dataset example-ball: tier {request.tier} does not exist, only the twin does")
        axis = np.arange(BOX_PX) - BOX_PX // 2
        z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
        ball = (x**2 + y**2 + z**2 < RADIUS_PX**2).astype(np.float32)
        noise = np.random.default_rng(request.seed).normal(0, NOISE, ball.shape).astype(np.float32)
        path = request.directory / "ball.mrc"
        write_map(path, ball + noise, PIXEL_SIZE_ANGSTROM)
        return PreparedData(
            files={"map": path},
            box_px=BOX_PX,
            pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
            voltage_kv=300,
            origin=f"a computed ball of radius {RADIUS_PX:g} px with noise of standard deviation {NOISE:g}",
        )

    def truth(self, request: DataRequest) -> Mapping[str, Path]:
        """Nothing is hidden here. A twin with a truth writes it below ``request.truth_directory``."""
        return {}
