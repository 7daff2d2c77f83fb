"""Particle tables in one meaning, whatever dialect they were written in.

Tables of RELION 3.0 and before (no optics table, origins in pixels, pixel size from magnification and
detector pixel) become what RELION 3.1 and later write: optics groups, and origins in Angstrom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.errata import Erratum, apply_errata
from cryorepro.em.formats.legacy import upgrade_legacy
from cryorepro.em.formats.optics import OpticsGroup, optics_block, read_optics
from cryorepro.em.formats.star import StarBlock, format_values, parse_star, read_star_text, write_star

INTEGER_LABELS = frozenset({
    "rlnOpticsGroup", "rlnClassNumber", "rlnRandomSubset", "rlnGroupNumber", "rlnNrOfSignificantSamples",
    "rlnHelicalTubeID", "rlnNrOfFrames",
})  # fmt: skip
_CTF_LABELS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_FINITE_LABELS = (
    *_CTF_LABELS, "rlnPhaseShift", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi",
    "rlnOriginXAngst", "rlnOriginYAngst",
)  # fmt: skip
MAX_DEFOCUS_ANGSTROM = 1.0e6


@dataclass(frozen=True)
class Particles:
    """n particles: optics groups, and columns of length n by RELION 3.1 label (no underscore).

    Text columns are object arrays, counts and identifiers int64, everything else float64. Angles are in
    degrees, defocus and origins in Angstrom.
    """

    optics: tuple[OpticsGroup, ...]
    columns: Mapping[str, NDArray[Any]]
    source: str = "particle table"
    errata: tuple[Erratum, ...] = field(default=())

    def __len__(self) -> int:
        """Number of particles."""
        return len(self.columns["rlnImageName"])

    def column(self, label: str) -> NDArray[Any]:
        """A column by label. Raises InputError naming file and label if it is missing."""
        if label not in self.columns:
            raise InputError(f"{self.source}: column {label} is missing from the particle table.")
        return self.columns[label]

    def numbers(self, label: str, default: float | None = None) -> NDArray[np.float64]:
        """A numeric column as float64 [n]; `default` fills a missing one."""
        if label not in self.columns and default is not None:
            return np.full(len(self), default)
        values = self.column(label)
        if values.dtype == object:
            raise InputError(f"{self.source}: column {label} holds text where numbers are due.")
        return values.astype(np.float64)

    @property
    def optics_index(self) -> NDArray[np.int64]:
        """Position in `optics` of each particle's group, int64 [n]."""
        position = {group.group: i for i, group in enumerate(self.optics)}
        numbers, inverse = np.unique(self.columns["rlnOpticsGroup"], return_inverse=True)
        return np.array([position[int(n)] for n in numbers], dtype=np.int64)[inverse]

    def per_particle(self, attribute: str) -> NDArray[np.float64]:
        """A numeric attribute of each particle's optics group (such as `voltage_kv`), float64 [n]."""
        values = np.array([float(getattr(group, attribute)) for group in self.optics])
        result: NDArray[np.float64] = values[self.optics_index]
        return result

    @property
    def pixel_size_angstrom(self) -> float:
        """The one pixel size of all groups. Raises InputError if they differ."""
        sizes = {group.pixel_size_angstrom for group in self.optics}
        if len(sizes) != 1:
            raise InputError(f"{self.source}: the optics groups have different rlnImagePixelSize: {sorted(sizes)}.")
        return sizes.pop()

    @property
    def image_names(self) -> list[str]:
        """`000001@stack.mrcs` of every particle."""
        return list(self.columns["rlnImageName"])

    @property
    def defocus_u_angstrom(self) -> NDArray[np.float64]:
        """Defocus along the axis at `defocus_angle_degrees`, float64 [n]; underfocus positive."""
        return self.numbers("rlnDefocusU")

    @property
    def defocus_v_angstrom(self) -> NDArray[np.float64]:
        """Defocus across that axis, float64 [n]."""
        return self.numbers("rlnDefocusV")

    @property
    def defocus_angle_degrees(self) -> NDArray[np.float64]:
        """Angle of the defocus-U axis from x towards y, float64 [n]."""
        return self.numbers("rlnDefocusAngle")

    @property
    def phase_shift_degrees(self) -> NDArray[np.float64]:
        """Phase-plate shift, float64 [n]; zero where the table has none."""
        return self.numbers("rlnPhaseShift", 0.0)

    @property
    def angles_degrees(self) -> NDArray[np.float64]:
        """Euler angles (rot, tilt, psi), float64 [n, 3]; zero where the table has none."""
        return np.stack([self.numbers(f"rlnAngle{name}", 0.0) for name in ("Rot", "Tilt", "Psi")], axis=1)

    @property
    def origins_angstrom(self) -> NDArray[np.float64]:
        """Shifts (x, y) that centre the particle, float64 [n, 2]; zero where the table has none."""
        return np.stack([self.numbers(f"rlnOrigin{axis}Angst", 0.0) for axis in "XY"], axis=1)

    def subset(self, indices: ArrayLike) -> Particles:
        """The rows at `indices`, in that order; optics groups without a particle are dropped."""
        chosen = np.asarray(indices)
        columns = {label: values[chosen] for label, values in self.columns.items()}
        used = set(np.unique(columns["rlnOpticsGroup"]).tolist())
        return replace(self, optics=tuple(g for g in self.optics if g.group in used), columns=columns)

    def with_columns(self, **columns: ArrayLike) -> Particles:
        """The same particles with columns added or replaced; each must have one value per particle."""
        merged = dict(self.columns) | {label: np.asarray(values) for label, values in columns.items()}
        wrong = [label for label, values in merged.items() if len(values) != len(self)]
        if wrong:
            raise InputError(f"{self.source}: column {wrong[0]} does not have one value for each particle.")
        return replace(self, columns=merged)

    def without_columns(self, labels: Iterable[str]) -> Particles:
        """The same particles without these columns, where they exist."""
        dropped = set(labels)
        return replace(self, columns={k: v for k, v in self.columns.items() if k not in dropped})

    def with_box(self, box_px: int) -> Particles:
        """The same particles with the image size stated in every optics group."""
        return replace(self, optics=tuple(group.with_box(box_px) for group in self.optics))


def read_particles(
    path: Path | str,
    *,
    errata: Sequence[Erratum] = (),
    defaults: Mapping[str, float] | None = None,
    require_ctf: bool = True,
) -> Particles:
    """Read a particle STAR file of RELION 3.0 or before, 3.1, 4 or 5.

    Args:
        path: The STAR file.
        errata: Known defects; those the file really shows are cured and listed in `Particles.errata`.
        defaults: Values for columns a legacy file may lack, such as `{"rlnAmplitudeContrast": 0.1}`.
        require_ctf: Whether defocus columns must be there.

    Raises:
        InputError: The file is malformed, a needed column is missing, or a value is NaN or out of range.
    """
    source = str(path)
    text, applied = apply_errata(read_star_text(path), Path(path).name, errata)
    blocks = parse_star(text, source)
    table = _particle_table(blocks, source)
    columns = {label: _convert_column(table, label) for label in table.columns}
    if "optics" in blocks:
        optics = read_optics(blocks["optics"])
        if "rlnOpticsGroup" not in columns and len(optics) == 1:
            columns["rlnOpticsGroup"] = np.full(table.row_count, optics[0].group)
    else:
        optics, columns = upgrade_legacy(columns, table.row_count, source, dict(defaults or {}))
    particles = Particles(optics, columns, source, applied)
    _check_values(particles, require_ctf)
    return particles


def write_particles(path: Path | str, particles: Particles) -> None:
    """Write RELION 3.1 `data_optics` and `data_particles`, atomically; numbers read back exactly."""
    columns = {label: format_values(values) for label, values in particles.columns.items()}
    write_star(path, [optics_block(particles.optics, particles.source), StarBlock("particles", columns)])


def _particle_table(blocks: Mapping[str, StarBlock], source: str) -> StarBlock:
    found = [block for block in blocks.values() if "rlnImageName" in block.columns and block.is_loop]
    if len(found) > 1:
        raise InputError(f"{source}: more than one table has the column rlnImageName.")
    if not found:
        raise InputError(f"{source}: column rlnImageName is missing; this is not a table of particles.")
    if found[0].row_count == 0:
        raise InputError(f"{source}: the table data_{found[0].name} holds no particles.")
    return found[0]


def _convert_column(table: StarBlock, label: str) -> NDArray[Any]:
    if label in INTEGER_LABELS:
        return table.integers(label)
    if label in _FINITE_LABELS:
        return table.numbers(label)
    if not label.endswith("Name"):
        try:
            return np.array(table.columns[label], dtype=np.float64)
        except ValueError:
            pass  # a label unknown here may hold text; it is carried along as it is
    return np.array(table.columns[label], dtype=object)


def _check_values(particles: Particles, require_ctf: bool) -> None:
    groups = {group.group for group in particles.optics}
    unknown = set(np.unique(particles.column("rlnOpticsGroup")).tolist()) - groups
    if unknown:
        raise InputError(f"{particles.source}: rlnOpticsGroup {min(unknown)} is not in data_optics.")
    for label in _CTF_LABELS if require_ctf else ():
        particles.column(label)
    for label in _FINITE_LABELS:
        if label in particles.columns:
            _check_finite(particles, label, MAX_DEFOCUS_ANGSTROM if label.startswith("rlnDefocus") else np.inf)


def _check_finite(particles: Particles, label: str, limit: float) -> None:
    values = particles.columns[label]
    good = np.isfinite(values) & (np.abs(values) <= limit)
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(f"{particles.source}: {label} of particle {row + 1} is {values[row]}, which is out of range.")
