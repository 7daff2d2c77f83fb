"""What each type of job leaves: data sets of cryosparc-tools, and the images they name in the project's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cryosparc.dataset import Dataset
from numpy.typing import NDArray

from cryorepro.em.formats.maps import write_map, write_stack

OUTPUTS: dict[str, tuple[str, ...]] = {
    "import_movies": ("imported_movies",),
    "import_particles": ("imported_particles",),
    "import_volumes": ("imported_volume_1",),
    "patch_motion_correction_multi": ("micrographs",),
    "patch_ctf_estimation_multi": ("exposures",),
    "curate_exposures_v2": ("exposures_accepted",),
    "blob_picker_gpu": ("particles", "micrographs"),
    "template_picker_gpu": ("particles", "micrographs"),
    "inspect_picks_v2": ("particles", "micrographs"),
    "extract_micrographs_multi": ("particles",),
    "class_2D_new": ("particles", "class_averages"),
    "select_2D": ("particles_selected", "templates_selected"),
    "homo_abinit": ("particles_all_classes", "volume_class_0"),
    "homo_refine_new": ("particles", "volume"),
    "nonuniform_refine_new": ("particles", "volume"),
}
MICROGRAPHS, PARTICLES, BOX, PIXEL = 2, 12, 16, 1.5
Fields = dict[str, NDArray[Any]]


def make_output(job: dict[str, Any], name: str, project: Path) -> Dataset[Any]:
    """The data set of one output of a finished job; its images are written when it is asked for."""
    assert job["status"] == "completed" and name in job["spec"]["outputs"], f"{job['uid']} has no {name}"
    if "micrographs" in name or "exposures" in name:
        fields = micrographs(project, ctf=job["spec"]["type"] != "patch_motion_correction_multi")
    elif "volume" in name:
        fields = volume(project, str(job["uid"]), halves=name == "volume")
    elif name in ("class_averages", "templates_selected"):
        fields = averages(project, str(job["uid"]), selected=name == "templates_selected")
    else:
        fields = particles(project, job, name)
    return Dataset([(field, values) for field, values in fields.items()])


def texts(values: list[str]) -> NDArray[Any]:
    return np.array(values, dtype=object)


def micrographs(project: Path, ctf: bool) -> Fields:
    names = [f"J2/motioncorrected/m{k}.mrc" for k in range(MICROGRAPHS)]
    for name in names:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        write_stack(project / name, np.zeros((1, 64, 96), np.float32), PIXEL)
    n = MICROGRAPHS
    fields: Fields = {
        "uid": np.arange(1, n + 1, dtype=np.uint64),
        "micrograph_blob/path": texts(names),
        "micrograph_blob/psize_A": np.full(n, PIXEL, np.float32),
        "mscope_params/accel_kv": np.full(n, 300, np.float32),
        "mscope_params/cs_mm": np.full(n, 2.7, np.float32),
        "mscope_params/exp_group_id": np.full(n, 3, np.uint32),
    }
    return fields | (_ctf(n) if ctf else {})


def _ctf(n: int) -> Fields:
    numbers = {
        "accel_kv": 300.0, "cs_mm": 2.7, "amp_contrast": 0.1, "df1_A": 12000.0, "df2_A": 11800.0, "df_angle_rad": 0.3,
        "phase_shift_rad": 0.0, "ctf_fit_to_A": 4.0, "cross_corr_ctffind4": 0.1,
    }  # fmt: skip
    fields: Fields = {f"ctf/{name}": np.full(n, value, np.float32) for name, value in numbers.items()}
    return fields | {"ctf/exp_group_id": np.full(n, 3, np.uint32)}


def particles(project: Path, job: dict[str, Any], name: str) -> Fields:
    n = PARTICLES if name != "particles_selected" else PARTICLES // 2
    rng, kind = np.random.default_rng(5), job["spec"]["type"]
    fields: Fields = {
        "uid": np.arange(100, 100 + n, dtype=np.uint64),
        "location/micrograph_path": texts([f"J2/motioncorrected/m{k % MICROGRAPHS}.mrc" for k in range(n)]),
        "location/micrograph_shape": np.tile(np.array([64, 96], np.uint32), (n, 1)),
        "location/center_x_frac": rng.uniform(0.2, 0.8, n).astype(np.float32),
        "location/center_y_frac": rng.uniform(0.2, 0.8, n).astype(np.float32),
    }
    if "picker" in kind or "inspect" in kind:
        return fields | {
            "pick_stats/ncc_score": rng.uniform(0.3, 0.6, n).astype(np.float32),
            "pick_stats/power": rng.uniform(900, 1500, n).astype(np.float32),
        }
    stack = "J7/extract/stack.mrc"
    (project / stack).parent.mkdir(parents=True, exist_ok=True)
    write_stack(project / stack, rng.normal(size=(PARTICLES, BOX, BOX)).astype(np.float32), PIXEL)
    fields |= _ctf(n) | {
        "blob/path": texts([stack] * n),
        "blob/idx": np.arange(n, dtype=np.uint32),
        "blob/shape": np.full((n, 2), BOX, np.uint32),
        "blob/psize_A": np.full(n, PIXEL, np.float32),
        "blob/sign": np.full(n, -1, np.float32),
    }
    if "class_2D" in kind or "select" in kind:
        fields |= {
            "alignments2D/pose": rng.uniform(-3, 3, n).astype(np.float32),
            "alignments2D/shift": rng.normal(0, 1, (n, 2)).astype(np.float32),
            "alignments2D/class": (np.arange(n) % 3).astype(np.uint32),
        }
    if "refine" in kind or "abinit" in kind:
        fields |= {
            "alignments3D/pose": rng.normal(0, 1, (n, 3)).astype(np.float32),
            "alignments3D/shift": rng.normal(0, 1, (n, 2)).astype(np.float32),
            "alignments3D/psize_A": np.full(n, PIXEL, np.float32),
            "alignments3D/split": (np.arange(n) % 2).astype(np.uint32),
            "alignments3D/class": np.zeros(n, np.uint32),
        }
    return fields


def averages(project: Path, uid: str, selected: bool) -> Fields:
    name = f"{uid}/averages.mrc"
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    images = np.stack([np.full((BOX, BOX), float(k), np.float32) for k in range(3)])
    images[:, 0, 0] += 1
    write_stack(project / name, images, PIXEL)
    chosen = np.array([2, 0] if selected else [0, 1, 2], dtype=np.uint32)
    n = len(chosen)
    return {
        "uid": np.arange(1, n + 1, dtype=np.uint64),
        "blob/path": texts([name] * n),
        "blob/idx": chosen,
        "blob/psize_A": np.full(n, PIXEL, np.float32),
    }


def volume(project: Path, uid: str, halves: bool) -> Fields:
    (project / uid).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    fields: Fields = {"uid": np.array([1], dtype=np.uint64)}
    for field in ("map", *(("map_half_A", "map_half_B", "mask_refine") if halves else ())):
        name = f"{uid}/{field}.mrc"
        write_map(project / name, rng.normal(size=(BOX, BOX, BOX)).astype(np.float32), PIXEL)
        fields |= {f"{field}/path": texts([name]), f"{field}/psize_A": np.array([PIXEL], np.float32)}
    return fields
