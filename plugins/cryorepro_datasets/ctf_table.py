"""Draw CTF parameters as a deposit has them, from percentiles of its own table."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import yaml
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_PERCENTILES = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class CtfTable:
    """Optics of a deposit, and percentiles 0 to 100 of three defocus quantities, float64 [101]."""

    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    mean_defocus_angstrom: Floats
    difference_angstrom: Floats
    angle_degrees: Floats

    def draw(self, count: int, stream: np.random.Generator) -> Floats:
        """Defocus (u, v in Angstrom, angle in degrees), float64 [count, 3], rounded as it will be written."""
        mean, difference, angle = (
            np.interp(stream.random(count), _PERCENTILES, percentiles)
            for percentiles in (self.mean_defocus_angstrom, self.difference_angstrom, self.angle_degrees)
        )
        drawn: Floats = np.stack([mean - difference / 2, mean + difference / 2, angle], axis=1)
        return drawn.round(2)


def load_ctf_table(name: str) -> CtfTable:
    """Read the shipped summary `tables/<name>.yaml`."""
    text = files("cryorepro_datasets").joinpath("tables", f"{name}.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    return CtfTable(
        float(content["voltage_kv"]),
        float(content["spherical_aberration_mm"]),
        float(content["amplitude_contrast"]),
        np.array(content["mean_defocus_angstrom"], dtype=np.float64),
        np.array(content["difference_angstrom"], dtype=np.float64),
        np.array(content["angle_degrees"], dtype=np.float64),
    )
