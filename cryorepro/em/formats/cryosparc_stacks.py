"""CryoSPARC's stacks under names RELION takes: it reads ``.mrc`` as one volume, and only ``.mrcs`` as images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.references import split_reference

MOST_STACKS = 1_000_000


def stack_names(particles: Particles) -> tuple[Particles, dict[str, str]]:
    """The same particles with every stack ``x.mrc`` called ``x.mrcs``, and what each stack is called in truth."""
    names, truth = [], {}
    for reference in particles.image_names:
        slice_index, stack = split_reference(reference, particles.source)
        new = f"{stack}s" if stack.endswith(".mrc") else stack
        truth[new] = stack
        names.append(f"{slice_index + 1:06d}@{new}")
    return particles.with_columns(rlnImageName=np.array(names, dtype=object)), truth


def link_stacks_as(truth: Mapping[str, str], root: Path, directory: Path) -> None:
    """Make each new name lead, from ``directory``, to the stack of the true name below ``root``.

    Raises:
        InputError: a stack is not there, or a name leads elsewhere.
    """
    if len(truth) > MOST_STACKS:
        raise InputError(f"{root}: more than {MOST_STACKS:,} stacks")
    for new, old in truth.items():
        parts = PurePosixPath(new)
        if parts.is_absolute() or ".." in parts.parts:
            raise InputError(f"the stack {new[:80]!r} leads out of its folder")
        if not (root / old).is_file():
            raise InputError(f"{root}: the stack {old} does not exist")
        link = directory / parts
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.parent.resolve().is_relative_to(directory.resolve()):
            raise InputError(f"{link.parent}: leads out of {directory}; links are made in folders of their own")
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath((root / old).resolve(), link.parent.resolve()))
