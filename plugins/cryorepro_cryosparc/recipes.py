"""Which job of CryoSPARC carries out which kind of stage: its type, inputs, parameters and outputs by name.

Types, inputs and outputs are those of the worked example of cryosparc-tools (the T20S tutorial as a program) and of
CryoSPARC's public benchmark script; parameters those that its jobs list. Before a job is made every name is held
against the master's own register, so a name that a version does not know is refused and never silently ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Shape = Literal["micrographs", "particles", "picks", "map", "maps", "classes"]
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Product:
    """An output: the stage's role, the job's output, and what kind of thing it is."""

    role: str
    output: str
    shape: Shape


@dataclass(frozen=True)
class Recipe:
    """One job. ``inputs`` maps the job's inputs to the stage's roles, ``parameters`` ours to the job's."""

    job_type: str
    inputs: Mapping[str, str]
    products: tuple[Product, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    computed: Callable[[Parameters], dict[str, Any]] = field(default=lambda parameters: {})
    handled: tuple[str, ...] = ()
    seeded: bool = False
    gpu: bool = True


def _minimum_distance(parameters: Parameters) -> dict[str, Any]:
    """CryoSPARC counts the least distance in particle diameters."""
    distance, diameter = parameters.get("least_distance_angstrom"), parameters.get("smallest_diameter_angstrom")
    return {"min_distance": distance / diameter} if distance and diameter else {}


_PICKS = (Product("coordinates", "particles", "picks"), Product("micrographs", "micrographs", "micrographs"))
_REFINED = (Product("particles", "particles", "particles"), Product("map", "volume", "maps"))
_REFINEMENT_INPUTS = {"particles": "particles", "volume": "reference", "mask": "mask"}
_PICKING_HANDLED = ("method", "least_distance_angstrom")

BLOB = Recipe(
    "blob_picker_gpu",
    {"micrographs": "micrographs"},
    _PICKS,
    {
        "smallest_diameter_angstrom": "diameter",
        "largest_diameter_angstrom": "diameter_max",
        "circular": "use_circle",
        "elliptical": "use_ellipse",
        "ring": "use_ring",
    },
    computed=_minimum_distance,
    handled=_PICKING_HANDLED,
)
TEMPLATE = Recipe(
    "template_picker_gpu",
    {"micrographs": "micrographs", "templates": "templates"},
    _PICKS,
    {"smallest_diameter_angstrom": "diameter"},
    computed=_minimum_distance,
    handled=_PICKING_HANDLED,
)
_REFINE = {"symmetry": "refine_symmetry"}
NONUNIFORM = Recipe("nonuniform_refine_new", _REFINEMENT_INPUTS, _REFINED, _REFINE, ("mask",), seeded=True)

RECIPES: dict[str, Recipe] = {
    "motioncorrection": Recipe(
        "patch_motion_correction_multi",
        {"movies": "movies"},
        (Product("micrographs", "micrographs", "micrographs"),),
        handled=(
            "pixel_size_angstrom", "voltage_kv", "spherical_aberration_mm", "total_dose_e_per_square_angstrom",
            "flip_gain_x", "flip_gain_y", "rotate_gain_quarter_turns", "eer_fractions", "eer_super_resolution",
        ),
    ),
    "ctfestimation": Recipe(
        "patch_ctf_estimation_multi",
        {"exposures": "micrographs"},
        (Product("micrographs", "exposures", "micrographs"),),
        {
            "amplitude_contrast": "amp_contrast",
            "lowest_defocus_angstrom": "df_search_min",
            "highest_defocus_angstrom": "df_search_max",
        },
    ),
    "curation": Recipe(
        "curate_exposures_v2",
        {"exposures": "micrographs"},
        (Product("micrographs", "exposures_accepted", "micrographs"),),
        handled=(
            "worst_ctf_resolution_angstrom", "lowest_defocus_angstrom", "highest_defocus_angstrom",
            "highest_astigmatism_angstrom", "highest_total_motion_angstrom",
        ),
        gpu=False,
    ),
    "pickinspection": Recipe(
        "inspect_picks_v2",
        {"micrographs": "micrographs", "particles": "coordinates"},
        _PICKS,
        handled=("lowest_ncc", "lowest_power", "highest_power", "published_as_interactive"),
        gpu=False,
    ),
    "extraction": Recipe(
        "extract_micrographs_multi",
        {"micrographs": "micrographs", "particles": "coordinates"},
        (Product("particles", "particles", "particles"),),
        {"box_px": "box_size_pix", "rescaled_box_px": "bin_size_pix"},
    ),
    "class2d": Recipe(
        "class_2D_new",
        {"particles": "particles"},
        (Product("particles", "particles", "particles"), Product("classes", "class_averages", "classes")),
        {"number_of_classes": "class2D_K"},
        seeded=True,
    ),
    "classselection": Recipe(
        "select_2D",
        {"particles": "particles", "templates": "classes"},
        (Product("particles", "particles_selected", "particles"), Product("classes", "templates_selected", "classes")),
        handled=(
            "classes", "worst_resolution_angstrom", "smallest_fraction", "largest_classes", "keep",
            "published_as_interactive",
        ),
        gpu=False,
    ),
    "initialmodel": Recipe(
        "homo_abinit",
        {"particles": "particles"},
        (Product("particles", "particles_all_classes", "particles"), Product("map", "volume_class_0", "map")),
        {"number_of_classes": "abinit_K", "symmetry": "abinit_symmetry"},
        seeded=True,
    ),
    "homogeneousrefinement": Recipe("homo_refine_new", _REFINEMENT_INPUTS, _REFINED, _REFINE, ("mask",), seeded=True),
    "nonuniformrefinement": NONUNIFORM,
}  # fmt: skip
KINDS = (*RECIPES, "picking")


def recipe_of(kind: str, parameters: Parameters) -> Recipe | None:
    """The recipe of a stage; pickers differ by method. None where CryoSPARC has no such step."""
    if kind == "picking":
        return {"blob": BLOB, "template": TEMPLATE}.get(str(parameters.get("method") or "blob"))
    return RECIPES.get(kind)


def job_parameters(recipe: Recipe, parameters: Parameters) -> dict[str, Any]:
    """The job's parameters, those that are given; the rest stay CryoSPARC's defaults."""
    given = {theirs: parameters[ours] for ours, theirs in recipe.parameters.items() if parameters.get(ours) is not None}
    return given | recipe.computed(parameters)


def not_passed_on(recipe: Recipe, parameters: Parameters, defaults: Parameters) -> list[str]:
    """Parameters that somebody set and this job has no word for."""
    known = {*recipe.parameters, *recipe.handled}
    return sorted(name for name, value in parameters.items() if name not in known and value != defaults.get(name))
