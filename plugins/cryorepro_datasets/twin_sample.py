"""What the twin of EMPIAR-10028 is drawn from: its parameters, and the particles before they are imaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator

from cryorepro.em.errors import InputError
from cryorepro.em.phantom import CONFORMERS
from cryorepro.em.simulate import Views
from cryorepro.em.streams import random_stream
from cryorepro.model.base import Record
from cryorepro_datasets.ctf_table import CtfTable

_MICROGRAPH_PX = 3838


class TwinParameters(Record):
    """What decides the twin's bytes, beside the seed. Defaults are those of the benchmark."""

    particles: int = Field(1500, ge=30, le=200_000)
    box_px: int = Field(64, ge=32, le=512, multiple_of=2)
    pixel_size_angstrom: float = Field(7.54, ge=0.5, le=20.0)
    snr: float = Field(0.3, gt=0.0, le=100.0, description="variance of signal over noise, whole image")
    class_shares: tuple[float, float, float] = (0.40, 0.25, 0.35)
    shift_sigma_px: float = Field(1.5, ge=0.0, le=10.0)
    shift_limit_px: float = Field(4.0, ge=0.0, le=20.0)
    micrograph_particles: tuple[Annotated[int, Field(ge=1)], int] = (50, 100)
    noise_knee_angstrom: float = Field(60.0, gt=0.0)
    noise_floor: float = Field(0.4, gt=0.0, le=1.0)
    particle_diameter_angstrom: float = Field(360.0, gt=0.0)
    reference_low_pass_angstrom: float = Field(40.0, gt=0.0)

    @field_validator("class_shares")
    @classmethod
    def _is_distribution(cls, shares: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-9:
            raise ValueError("class_shares must be non-negative and sum to 1")
        return shares


@dataclass(frozen=True)
class Sample:
    """The particles before they are imaged."""

    views: Views
    micrographs: NDArray[np.int64]
    coordinates_px: NDArray[np.float64]


def twin_parameters(given: Mapping[str, Any]) -> TwinParameters:
    """Validate parameters. Raises InputError naming the first field that is unknown or out of range."""
    try:
        return TwinParameters.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"empiar-10028 twin: parameter {field}: {first['msg']}.") from error


def draw_sample(parameters: TwinParameters, ctf: CtfTable, seed: int) -> Sample:
    """Draw conformers, poses, shifts, micrographs, defocus and coordinates, each from its own stream.

    Everything is rounded as it will be written, and used as rounded: the truth is exact.
    """
    count = parameters.particles
    micrographs = _micrographs(parameters, random_stream(seed, "micrographs"))
    defocus = ctf.draw(int(micrographs.max()) + 1, random_stream(seed, "defocus"))
    classes = random_stream(seed, "classes").choice(len(CONFORMERS), size=count, p=parameters.class_shares)
    turn = random_stream(seed, "orientations").random((count, 3))
    angles = np.stack(
        [
            360.0 * turn[:, 0] - 180.0,
            np.rad2deg(np.arccos(1.0 - 2.0 * turn[:, 1])),
            360.0 * turn[:, 2] - 180.0,
        ],
        axis=1,
    )
    limit = parameters.shift_limit_px
    shifts = random_stream(seed, "shifts").normal(0.0, parameters.shift_sigma_px, (count, 2)).clip(-limit, limit)
    margin = _MICROGRAPH_PX // 20
    places = random_stream(seed, "coordinates").integers(margin, _MICROGRAPH_PX - margin, (count, 2))
    views = Views(
        classes.astype(np.int64),
        np.round(angles, 4),
        np.round(shifts * parameters.pixel_size_angstrom, 4),
        defocus[micrographs],
    )
    return Sample(views, micrographs, places.astype(np.float64))


def _micrographs(parameters: TwinParameters, stream: np.random.Generator) -> NDArray[np.int64]:
    """0-based micrograph of each particle: consecutive groups of random size."""
    low, high = parameters.micrograph_particles
    if high < low:
        raise InputError("empiar-10028 twin: parameter micrograph_particles: the range is empty.")
    sizes = stream.integers(low, high + 1, size=parameters.particles // low + 1)
    return np.repeat(np.arange(len(sizes)), sizes)[: parameters.particles].astype(np.int64)
