"""The mmCIF categories that OneDep asks for, from the run's own rows (wwPDB dictionary mmcif_pdbx).

Values that the record does not hold are ``?``. Categories without a single value of the run are not written.
"""

from __future__ import annotations

from typing import Any

from cryorepro.bundle.dataset_facts import DatasetFacts
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.wording import planned_stages

_SOFTWARE = {
    "class2d": ("CLASSIFICATION",),
    "class3d": ("CLASSIFICATION",),
    "ctfrefine": ("CTF CORRECTION",),
    "initialmodel": ("INITIAL EULER ASSIGNMENT",),
    "refine3d": ("FINAL EULER ASSIGNMENT", "RECONSTRUCTION"),
    "maskcreate": ("MASKING",),
}
_REFINEMENTS = ("refine3d", "class3d")
_CUT_OFF = {0.143: "FSC 0.143 CUT-OFF", 0.5: "FSC 0.5 CUT-OFF"}
_RESOLUTIONS = ("postprocess_resolution", "half_map_fsc", "class3d_resolution")

Loop = tuple[list[str], list[list[Any]]]


def onedep_cif(facts: Facts) -> bytes:
    """One data block, named after the run."""
    from gemmi import cif

    document = cif.Document()
    block = document.add_new_block(f"cryorepro_{facts.run}")
    for category, (tags, rows) in categories(facts).items():
        if rows:
            loop = block.init_loop(f"_{category}.", tags)
            for row in rows:
                loop.add_row([_value(cell) for cell in row])
    return document.as_string().encode()


def _value(cell: Any) -> str:
    from gemmi import cif

    if cell is None or cell == "":
        return "?"
    return f"{cell:g}" if isinstance(cell, float) else str(cif.quote(str(cell)))


def categories(facts: Facts) -> dict[str, Loop]:
    """Every category with its tags and rows."""
    found = _data(facts)
    stage = next((row for row in planned_stages(facts).values() if row["kind"] in _REFINEMENTS), None)
    if stage is not None:
        found |= _refinement(facts, stage)
    found["em_software"] = (["id", "image_processing_id", "category", "name", "version", "details"], _software(facts))
    return found


def _data(facts: Facts) -> dict[str, Loop]:
    info, data = facts.dataset, facts.record["data"]
    found: dict[str, Loop] = {
        "em_image_processing": (
            ["id", "image_recording_id", "details"],
            [[1, 1, f"cryorepro benchmark {facts.benchmark.name}, tier {facts.settings['tier']}, run {facts.run}"]],
        ),
    }
    if info:
        found["em_imaging"] = (
            [
                "id",
                "microscope_model",
                "accelerating_voltage",
                "nominal_cs",
                "nominal_defocus_min",
                "nominal_defocus_max",
            ],
            [[1, info.microscope, info.voltage_kv, info.spherical_aberration_mm, *_defocus_nm(info)]],
        )
        found["em_image_recording"] = (
            ["id", "imaging_id", "film_or_detector_model", "avg_electron_dose_per_image", "num_real_images"],
            [[1, 1, info.detector, info.total_dose_e_per_square_angstrom, info.micrographs]],
        )
        found["em_db_reference"] = (
            ["id", "access_code", "db_name", "relationship", "details"],
            [[n, code, "EMDB", "other EM volume", "published reference"] for n, code in enumerate(info.emdb, 1)],
        )
    if data and data["rows"].get("particles"):
        found["em_particle_selection"] = (
            ["id", "image_processing_id", "num_particles_selected", "details"],
            [[1, 1, data["rows"]["particles"], data["origin"]]],
        )
    return found


def _defocus_nm(info: DatasetFacts) -> list[float | None]:
    """The dictionary counts defocus in nanometres."""
    return [1000.0 * value for value in info.defocus_um] if info.defocus_um else [None, None]


def _refinement(facts: Facts, stage: dict[str, Any]) -> dict[str, Loop]:
    parameters, rows = stage["parameters"], stage.get("rows", {})
    correction = "PHASE FLIPPING AND AMPLITUDE CORRECTION" if parameters.get("ctf") else "NONE"
    found: dict[str, Loop] = {
        "em_ctf_correction": (["id", "em_image_processing_id", "type"], [[1, 1, correction]]),
        "em_euler_angle_assignment": (
            ["id", "image_processing_id", "order", "type"], [[1, 1, "FINAL", "MAXIMUM LIKELIHOOD"]],
        ),
        "em_start_model": (
            ["id", "image_processing_id", "type", "details"],
            [[1, 1, "OTHER", f"low-pass filtered to {parameters.get('ini_high_angstrom')} A"]],
        ),
        "em_single_particle_entity": (
            ["id", "image_processing_id", "point_symmetry"], [[1, 1, parameters.get("symmetry")]],
        ),
        "em_3d_reconstruction": _reconstruction(facts, stage, rows.get("particles")),
    }  # fmt: skip
    if stage["kind"] == "class3d":
        details = f"{parameters.get('iterations')} iterations"
        found["em_final_classification"] = (
            ["id", "image_processing_id", "num_classes", "details"],
            [[1, 1, parameters.get("number_of_classes"), details]],
        )
    return found


def _reconstruction(facts: Facts, stage: dict[str, Any], particles: int | None) -> Loop:
    outcome = next((row for metric in _RESOLUTIONS for row in _measured(facts, metric)), None)
    value = outcome["value"] if outcome else {}
    box, pixel, shell = (value.get(name) for name in ("box_px", "pixel_size_angstrom", "shell"))
    resolution = round(box * pixel / shell, 3) if box and pixel and shell else None
    method = _CUT_OFF.get(value.get("details", {}).get("threshold"), "OTHER") if resolution else None
    halves = "HALF-MAPS REFINED INDEPENDENTLY" if stage["kind"] == "refine3d" else None
    details = f"Fourier shell {shell} of a box of {box} px; metric {outcome['metric']}" if outcome else None
    tags = [
        "id", "image_processing_id", "num_particles", "symmetry_type", "resolution", "resolution_method",
        "actual_pixel_size", "algorithm", "refinement_type", "details",
    ]  # fmt: skip
    return tags, [[1, 1, particles, "POINT", resolution, method, pixel, "FOURIER SPACE", halves, details]]


def _measured(facts: Facts, metric: str) -> list[dict[str, Any]]:
    outcomes = facts.record["outcomes"].values()
    return [row for row in outcomes if row["metric"] == metric and row["value"] and row["value"]["shell"]]


def _software(facts: Facts) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for name, stage in planned_stages(facts).items():
        program = stage["program"]
        for category in _SOFTWARE.get(stage["kind"], ("OTHER",)):
            version, details = program.get("version"), f"stage {name}, runner {stage['runner']}"
            rows.append([len(rows) + 1, 1, category, program.get("name", stage["runner"]), version, details])
    return [*rows, [len(rows) + 1, 1, "OTHER", "cryorepro", facts.info.cryorepro_version, "benchmark and verdict"]]
