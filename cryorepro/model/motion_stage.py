"""Typed parameters of motion correction."""

from __future__ import annotations

from pydantic import Field, model_validator

from cryorepro.model.base import Record


class MotionCorrectionParameters(Record):
    """Alignment of a movie's frames, whole and in patches, and their sums.

    Pixel size, voltage and aberration are those of the list of movies; given here they must agree with it.
    """

    pixel_size_angstrom: float | None = Field(None, gt=0, le=100)
    voltage_kv: float | None = Field(None, ge=60, le=400)
    spherical_aberration_mm: float | None = Field(None, ge=0, le=10)
    total_dose_e_per_square_angstrom: float | None = Field(None, gt=0, le=1000)
    dose_per_frame_e_per_square_angstrom: float | None = Field(None, gt=0, le=100)
    pre_exposure_e_per_square_angstrom: float = Field(0.0, ge=0, le=1000)
    dose_weighting: bool | None = Field(None, description="weighted wherever the dose is known, if not given")
    unweighted_sums: bool = Field(True, description="written beside the weighted ones")
    patches_x: int | None = Field(None, ge=1, le=50, description="5 if not given")
    patches_y: int | None = Field(None, ge=1, le=50, description="5 if not given")
    bfactor_angstrom2: float | None = Field(
        None, ge=0, le=5000, description="each frame is weighted by exp(-B s^2 / 4); 600 pixels squared if not given"
    )
    largest_shift_angstrom: float = Field(150.0, gt=0, le=10_000)
    binned: float = Field(
        1.0, ge=1, le=8, description="so many times fewer pixels per side, by a crop in Fourier space"
    )
    early_dose_e_per_square_angstrom: float = Field(4.0, ge=0, le=1000, description="motion up to it counts as early")
    frames: int | None = Field(None, ge=1, description="stored in every movie; what most have if not given")
    flip_gain_x: bool = False
    flip_gain_y: bool = False
    rotate_gain_quarter_turns: int = Field(0, ge=0, le=3, description="clockwise, before the flip")
    reciprocal_gain: bool = Field(False, description="the gain file is the sum of a flat exposure")
    eer_fractions: int | None = Field(None, ge=1, le=10_000)
    eer_super_resolution: int = Field(1, ge=1, le=4)

    @model_validator(mode="after")
    def _one_dose(self) -> MotionCorrectionParameters:
        total, each = self.total_dose_e_per_square_angstrom, self.dose_per_frame_e_per_square_angstrom
        if total is not None and each is not None:
            raise ValueError(
                "total_dose_e_per_square_angstrom and dose_per_frame_e_per_square_angstrom exclude each other"
            )
        if self.dose_weighting and total is None and each is None:
            raise ValueError(
                "dose_weighting needs total_dose_e_per_square_angstrom or dose_per_frame_e_per_square_angstrom"
            )
        if self.flip_gain_x and self.flip_gain_y:
            raise ValueError("flip_gain_x and flip_gain_y together are a rotation; use rotate_gain_quarter_turns: 2")
        return self

    @property
    def weights_dose(self) -> bool:
        """Whether sums are exposure weighted."""
        known = self.total_dose_e_per_square_angstrom or self.dose_per_frame_e_per_square_angstrom
        return bool(known) if self.dose_weighting is None else self.dose_weighting
