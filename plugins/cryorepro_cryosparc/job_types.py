"""CryoSPARC's job types by this package's kinds of stages; names as its public documentation and tools give them."""

from __future__ import annotations

import re

KINDS: dict[str, tuple[str, ...]] = {
    "import": ("import_movies", "import_micrographs", "import_particles", "import_volumes", "import_templates"),
    "motioncorrection": (
        "patch_motion_correction_multi", "rigid_motion_correction_multi", "motion_correction_motioncor2",
    ),
    "ctfestimation": ("patch_ctf_estimation_multi", "ctf_estimation"),
    "curation": ("curate_exposures_v2", "curate_exposures"),
    "picking": ("blob_picker_gpu", "template_picker_gpu", "manual_picker_v2", "topaz_extract"),
    "pickinspection": ("inspect_picks_v2",),
    "extraction": ("extract_micrographs_multi", "extract_micrographs_cpu_parallel"),
    "class2d": ("class_2D_new", "class_2D"),
    "classselection": ("select_2D",),
    "initialmodel": ("homo_abinit",),
    "class3d": ("class_3D", "hetero_refine"),
    "homogeneousrefinement": ("homo_refine_new", "homo_refine"),
    "nonuniformrefinement": ("nonuniform_refine_new", "nonuniform_refine"),
    "localres": ("local_resolution",),
}  # fmt: skip
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}
REFINEMENTS = ("homogeneousrefinement", "nonuniformrefinement", "local_refine", "new_local_refine")


def kind_of(job_type: str) -> str:
    """The kind of stage a job type is; its own name in lower case where there is no such kind."""
    return _KIND_OF.get(job_type) or slug(job_type)


def slug(text: str) -> str:
    """``text`` as a name of lower-case letters, digits, - and _."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:60]
    return plain or "unnamed"
