"""Where the image names of a particle table lead, and links that make a job's table readable where it lies.

RELION takes image names relative to where it runs and copies them into its output as they were; the table in a
job's directory then names stacks that are not beside it. Links to them, under the first part of each name, let
the next stage read the table whatever its runner, and leave what was written as it is.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.references import ImageTable, resolve_images, split_reference
from cryorepro.em.formats.star import read_star

_PARENTS_TRIED = 4


def find_root(particles: Particles) -> tuple[Path, ImageTable]:
    """The one directory that every image name is relative to, and the images found from there.

    The directory of the STAR file is tried first, then those above it.

    Raises:
        InputError: a stack is missing, or the names are not all relative to one directory.
    """
    star = Path(particles.source).absolute()
    for root in (star.parent, *star.parent.parents[:_PARENTS_TRIED]):
        try:
            return root, resolve_images(particles, root=root)
        except InputError:
            continue
    # No one directory serves every name; say which stack is missing, as the readers do.
    resolve_images(particles)
    raise InputError(f"{star}: the image names are not all relative to one directory, as RELION needs them.")


def link_stacks(table: Path, root: Path) -> list[str]:
    """Link what the relative image names of ``table`` start with, from its directory to ``root``.

    Names that already lead somewhere, absolute names and names that climb (``..``) are left alone.

    Returns:
        The names of the links made.
    """
    images = next(block for block in read_star(table).values() if "rlnImageName" in block.columns)
    stacks = {split_reference(name, str(table))[1] for name in images.columns["rlnImageName"]}
    firsts = {PurePosixPath(stack).parts[0] for stack in stacks}
    linked = []
    for first in sorted(firsts - {"/", "..", "."}):
        link = table.parent / first
        if not link.exists() and (root / first).exists():
            link.unlink(missing_ok=True)  # a dangling link of an earlier attempt
            link.symlink_to(os.path.relpath(root / first, table.parent))
            linked.append(first)
    return linked
