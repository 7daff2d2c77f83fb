"""Makes a RELION job's particle table readable from where it lies.

RELION copies image names as they were, relative to the directory it ran in; the table in the job's directory
then names stacks that are not beside it. Links to them, under the first part of each name, let the next
stage read the table whatever its runner, and leave what RELION wrote as it is.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from cryorepro.em.formats.references import split_reference
from cryorepro.em.formats.star import read_star


def link_stacks(table: Path, root: Path) -> list[str]:
    """Link what the relative image names of ``table`` start with, from its directory to ``root``; returns
    the names.

    Names that already lead somewhere, absolute names and names that climb (``..``) are left alone.
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
