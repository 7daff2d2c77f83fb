"""What decides the bytes of a twin of movies, beside its seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from cryorepro.em.errors import InputError
from cryorepro.em.movie_twin.ice import IceSpectrum
from cryorepro.em.movie_twin.micelle import Belt
from cryorepro.em.movie_twin.motion import MotionAmplitudes
from cryorepro.em.movie_twin.optics import DefocusRange
from cryorepro.model.base import Record


class MovieTwinParameters(Record):
    """A twin of movies.  What a subclass sets is the deposit's; the rest is what the simulation was made with.

    Signal beyond life (``contrast_gain``) makes up for the few particles; everything else is meant as in life.
    """

    movies: int = Field(14, ge=1, le=2000)
    odd_movies: int = Field(
        0, ge=0, le=3, description="movies of another shape, named as the deposit's errata name them"
    )
    rows_px: int = Field(1024, ge=128, le=8192, multiple_of=2)
    columns_px: int = Field(1024, ge=128, le=8192, multiple_of=2)
    frames: int = Field(14, ge=2, le=500)
    pixel_size_angstrom: float = Field(ge=0.5, le=5.0)
    total_dose_e_per_square_angstrom: float = Field(gt=0.0, le=200.0)
    particles_per_movie: int = Field(ge=1, le=5000)
    particle_diameter_angstrom: float = Field(ge=20.0, le=1000.0)
    nearest_share: float = Field(0.85, gt=0.0, le=5.0, description="least distance of two particles over the diameter")
    box_px: int = Field(128, ge=32, le=1024, multiple_of=2, description="that holds a particle with its fringes")
    model_box_px: int = Field(112, ge=32, le=512, multiple_of=2, description="of the model's own map")
    contrast_gain: float = Field(gt=0.0, le=100.0, description="contrast of the particles over what physics gives")
    envelope_bfactor_angstrom2: float = Field(40.0, ge=0.0, le=1000.0)
    ice_phase_rms: float = Field(0.04, ge=0.0, le=1.0, description="phase shift of the ice, rad per pixel")
    ice_height_angstrom: float = Field(40.0, ge=0.0, le=1000.0, description="spread of the particles along the beam")
    lowest_defocus_angstrom: float = Field(ge=2_000.0, le=60_000.0)
    highest_defocus_angstrom: float = Field(ge=2_000.0, le=60_000.0)
    astigmatism_angstrom: float = Field(180.0, ge=0.0, le=5_000.0, description="at most, in most movies")
    strong_astigmatism_angstrom: float = Field(600.0, ge=0.0, le=5_000.0, description="at most, in the others")
    astigmatic_share: float = Field(0.35, ge=0.0, le=1.0)
    defocus_plane_angstrom: float = Field(250.0, ge=0.0, le=5_000.0, description="at most, middle to corner")
    early_drift_angstrom: float = Field(14.0, ge=0.0, le=500.0)
    steady_drift_angstrom: float = Field(8.0, ge=0.0, le=500.0)
    jitter_angstrom: float = Field(0.4, ge=0.0, le=20.0)
    local_motion_angstrom: float = Field(7.0, ge=0.0, le=200.0)
    gain_roughness: float = Field(0.02, ge=0.0, le=0.2)
    hot_pixels: int = Field(12, ge=0, le=1000)
    defects: int = Field(3, ge=0, le=100)
    dirt_per_movie: float = Field(0.7, ge=0.0, le=20.0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.highest_defocus_angstrom <= self.lowest_defocus_angstrom:
            raise ValueError("highest_defocus_angstrom must exceed lowest_defocus_angstrom")
        if self.model_box_px > self.box_px:
            raise ValueError("model_box_px exceeds box_px")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of a frame."""
        return self.rows_px, self.columns_px

    @property
    def electrons_per_pixel(self) -> float:
        """Mean electrons per pixel and frame."""
        return self.total_dose_e_per_square_angstrom * self.pixel_size_angstrom**2 / self.frames

    def recorded(self) -> dict[str, Any]:
        """What a run's record keeps: all of it, but of a file only its name."""
        values = self.model_dump(mode="json")
        return {name: Path(value).name if name == "model" and value else value for name, value in values.items()}

    def defocus_range(self) -> DefocusRange:
        """From what defocus is drawn."""
        return DefocusRange(
            self.lowest_defocus_angstrom, self.highest_defocus_angstrom, self.astigmatism_angstrom,
            self.strong_astigmatism_angstrom, self.astigmatic_share, self.defocus_plane_angstrom,
        )  # fmt: skip

    def motion(self) -> MotionAmplitudes:
        """How far things move."""
        return MotionAmplitudes(
            self.early_drift_angstrom, self.steady_drift_angstrom, self.jitter_angstrom, self.local_motion_angstrom
        )

    def ice(self) -> IceSpectrum:
        """The spectrum of the ice."""
        return IceSpectrum(self.ice_phase_rms)


class ReceptorTwinParameters(MovieTwinParameters):
    """EMPIAR-10288: its dose and defocus, twice its pixel; a particle in detergent."""

    odd_movies: int = Field(2, ge=0, le=3)
    pixel_size_angstrom: float = Field(1.72, ge=0.5, le=5.0)
    total_dose_e_per_square_angstrom: float = Field(58.0, gt=0.0, le=200.0)
    particles_per_movie: int = Field(90, ge=1, le=5000)
    particle_diameter_angstrom: float = Field(140.0, ge=20.0, le=1000.0)
    contrast_gain: float = Field(2.0, gt=0.0, le=100.0)
    lowest_defocus_angstrom: float = Field(7_000.0, ge=2_000.0, le=60_000.0)
    highest_defocus_angstrom: float = Field(25_000.0, ge=2_000.0, le=60_000.0)
    model: Path | None = Field(None, description="PDB 6N4B; looked for where --data points too")
    belts: int = Field(8, ge=0, le=200, description="variants of the detergent belt; 0 leaves it out")
    belt_radius_angstrom: float = Field(47.0, ge=20.0, le=200.0)
    belt_texture: float = Field(0.7, ge=0.0, le=5.0)

    def belt(self) -> Belt:
        """The detergent."""
        return Belt(radius=self.belt_radius_angstrom, texture=self.belt_texture)


class BarrelTwinParameters(MovieTwinParameters):
    """EMPIAR-10025: its dose and defocus, one and a half of its physical pixels; a barrel with D7."""

    movies: int = Field(12, ge=1, le=2000)
    frames: int = Field(12, ge=2, le=500)
    pixel_size_angstrom: float = Field(1.9725, ge=0.5, le=5.0)
    total_dose_e_per_square_angstrom: float = Field(53.0, gt=0.0, le=200.0)
    particles_per_movie: int = Field(70, ge=1, le=5000)
    particle_diameter_angstrom: float = Field(170.0, ge=20.0, le=1000.0)
    contrast_gain: float = Field(1.0, gt=0.0, le=100.0)
    lowest_defocus_angstrom: float = Field(9_000.0, ge=2_000.0, le=60_000.0)
    highest_defocus_angstrom: float = Field(24_000.0, ge=2_000.0, le=60_000.0)


Parameters = TypeVar("Parameters", bound=MovieTwinParameters)


def movie_twin_parameters(name: str, kind: type[Parameters], given: Mapping[str, Any]) -> Parameters:
    """Validate.  Raises InputError naming the dataset and the first field that is unknown or out of range."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "limits"
        raise InputError(f"{name} twin: parameter {field}: {first['msg']}.") from error
