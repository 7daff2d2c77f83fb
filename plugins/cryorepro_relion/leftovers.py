"""An output directory must not hold another job's files: some could be taken for this one's."""

from __future__ import annotations

from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_files import has_leftovers
from cryorepro.model.stage import StageRequest


def refuse_leftovers(request: StageRequest) -> None:
    """Refuse to start afresh where a job has already written, unless the request is to resume it.

    Raises:
        InputError: the directory holds iterations and the request is not to resume.
    """
    if not request.resume and has_leftovers(request.output_dir):
        raise InputError(
            f"stage {request.stage}: {request.output_dir} already holds iterations of a job; "
            f"resume it or give an empty directory."
        )
