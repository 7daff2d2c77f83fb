"""The general values of RELION's ``model.star`` and ``optimiser.star``, ranges checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import StarBlock, parse_star, read_star, read_star_text

_ROUNDING, _OFF = 1e-6, 1e-3


@dataclass(frozen=True)
class ModelSummary:
    """What one model says of itself.

    ``current_resolution_angstrom`` and the resolutions of classes are infinite (or 0) where nothing was
    resolved; before the first iteration the image size is 0. ``log_likelihood`` is a cross-correlation after
    a first iteration with ``--firstiter_cc``.
    """

    box_px: int
    pixel_size_angstrom: float
    current_resolution_angstrom: float
    current_image_size_px: int
    log_likelihood: float
    average_pmax: float
    class_fractions: tuple[float, ...]
    class_resolutions_angstrom: tuple[float, ...]


@dataclass(frozen=True)
class OptimiserSummary:
    """What the optimiser recorded: the seed it used, where it stands, and its command line if any."""

    random_seed: int
    iteration: int
    number_of_iterations: int
    command: tuple[str, ...] | None


def read_model(path: Path) -> ModelSummary:
    """Read the general values and classes of a model.

    Raises:
        InputError: A table or label is missing, or a value is out of range.
    """
    blocks = read_star(path)
    general, classes = _block(blocks, "model_general", path), _block(blocks, "model_classes", path)
    fractions = tuple(classes.numbers("rlnClassDistribution").tolist())
    # RELION writes six decimals, so a hundred classes may be off by their rounding; a sum of floats may exceed 1.
    if not all(0 <= value <= 1 + _ROUNDING for value in fractions) or abs(math.fsum(fractions) - 1) > _OFF:
        raise InputError(f"{path}: rlnClassDistribution is {fractions}, which are no fractions of one whole.")
    return ModelSummary(
        box_px=_positive_integer(general, "rlnOriginalImageSize"),
        pixel_size_angstrom=_positive(general, "rlnPixelSize"),
        current_resolution_angstrom=_positive(general, "rlnCurrentResolution", allow_infinite=True),
        current_image_size_px=_positive_integer(general, "rlnCurrentImageSize", lowest=0),
        log_likelihood=_finite(general, "rlnLogLikelihood"),
        average_pmax=_finite(general, "rlnAveragePmax"),
        class_fractions=fractions,
        class_resolutions_angstrom=_class_resolutions(classes),
    )


def read_optimiser(path: Path) -> OptimiserSummary:
    """Read the seed, the iteration and the recorded command line (without the program's name).

    Raises:
        InputError: A label is missing or no whole number.
    """
    text = read_star_text(path)
    general = _block(parse_star(text, str(path)), "optimiser_general", path)
    return OptimiserSummary(
        random_seed=_integer(general, "rlnRandomSeed"),
        iteration=_integer(general, "rlnCurrentIteration"),
        number_of_iterations=_integer(general, "rlnNumberOfIterations"),
        command=recorded_command(text),
    )


def recorded_command(text: str) -> tuple[str, ...] | None:
    """The options on the second line of a file RELION wrote, split at white space (RELION quotes nothing)."""
    for line in text.split("\n", 3)[:3]:
        if line.startswith("# --"):
            return tuple(line[2:].split())
    return None


def comparable_command(arguments: list[str]) -> tuple[str, ...]:
    """``arguments`` as :func:`recorded_command` would read them back."""
    return tuple(" ".join(arguments).split())


def count_particles(path: Path) -> int:
    """Rows of the table of particles.

    Raises:
        InputError: The file is malformed or has no such table.
    """
    for block in read_star(path).values():
        if "rlnImageName" in block.columns:
            return block.row_count
    raise InputError(f"{path}: column rlnImageName is missing; this is not a table of particles.")


def _class_resolutions(classes: StarBlock) -> tuple[float, ...]:
    values = classes.numbers("rlnEstimatedResolution")
    if np.isnan(values).any() or (values < 0).any():
        raise InputError(f"{classes.source}: rlnEstimatedResolution is {values.tolist()}, which are no lengths.")
    return tuple(values.tolist())


def _block(blocks: dict[str, StarBlock], name: str, path: Path) -> StarBlock:
    if name not in blocks:
        raise InputError(f"{path}: the table data_{name} is missing.")
    return blocks[name]


def _finite(block: StarBlock, label: str) -> float:
    value = _number(block, label)
    if not math.isfinite(value):
        raise InputError(f"{block.source}: {label} is {value}, not a finite number.")
    return value


def _positive(block: StarBlock, label: str, allow_infinite: bool = False) -> float:
    value = _number(block, label)
    if not value > 0 or (math.isinf(value) and not allow_infinite):
        raise InputError(f"{block.source}: {label} is {value}, which must be positive.")
    return value


def _positive_integer(block: StarBlock, label: str, lowest: int = 1) -> int:
    value = _integer(block, label)
    if value < lowest:
        raise InputError(f"{block.source}: {label} is {value}, which must be at least {lowest}.")
    return value


def _integer(block: StarBlock, label: str) -> int:
    block.value(label)
    return int(block.integers(label)[0])


def _number(block: StarBlock, label: str) -> float:
    block.value(label)
    return float(block.numbers(label)[0])
