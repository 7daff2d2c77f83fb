"""Command lines of the relion runner: to the letter, complete, of options the installed RELION knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryorepro_relion import class3d, program
from cryorepro_relion.command import ALLOCATOR, DEFAULTS
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.errors import InputError
from cryorepro.model.stage import StageRequest
from cryorepro.model.stages import STAGE_PARAMETERS
from tests.plugins.relion_set import request, write_set

# The Class3D job of RELION's own benchmark on EMPIAR-10028, as published (reference/workflows.yaml).
CANONICAL = (
    "relion_refine_mpi --i Particles/shiny_2sets.star --ref emd_2660.map:mrc --firstiter_cc --ini_high 60"
    " --ctf --ctf_corrected_ref --iter 25 --tau2_fudge 4 --particle_diameter 360 --K 6 --flatten_solvent"
    " --zero_mask --oversampling 1 --healpix_order 2 --offset_range 5 --offset_step 2 --sym C1 --norm --scale"
    " --random_seed 0 --o class3d"
)
SPEC = Path(__file__).parents[2] / "specs" / "empiar-10028.yaml"
# One value per parameter that is neither its default nor the one the other tests use.
OTHER = {
    "number_of_classes": 3, "iterations": 7, "tau2_fudge": 2.5, "particle_diameter_angstrom": 181.5,
    "ini_high_angstrom": 33, "healpix_order": 3, "auto_local_healpix_order": 5, "oversampling": 2,
    "offset_range_px": 4, "offset_step_px": 1.5, "offset_sigma_angstrom": 1000, "fix_offset_sigma": True,
    "symmetry": "D2", "firstiter_cc": False, "ctf": False, "ctf_corrected_ref": None, "flatten_solvent": None,
    "zero_mask": False, "norm": None, "scale": None, "perturbation": 0, "adaptive_fraction": 0.99,
    "strict_highres_angstrom": 15, "solvent_correct_fsc": None, "padding": 1, "pool": 5,
    "low_resol_join_halves_angstrom": 50,
    "maximum_iterations": 9, "mpi_ranks": 5, "threshold": 0.3, "lowpass_angstrom": 20, "extend_px": 1,
    "soft_edge_px": 4, "lowest_resolution_angstrom": 30, "randomise_at_fsc": 0.7,
    "highest_resolution_angstrom": 13, "randomise_from_angstrom": 25, "skip_fsc_weighting": True,
    "mtf_pixel_size_angstrom": 1.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("data"), particles=6)


def base(home: Path, output: Path, kind: str, **changes: Any) -> StageRequest:
    reference = home / "reference.mrc"
    inputs = {
        "maskcreate": {"map": reference},
        "postprocess": dict.fromkeys(("half1", "half2", "mask"), reference),
    }
    needed = {"threshold": 0.1} if kind == "maskcreate" else {}
    own = {"inputs": inputs[kind]} if kind in inputs else {}
    return request(home, output, kind, **own, **(needed | changes))


def argv(asked: StageRequest) -> list[str]:
    return RelionRunner().plan(asked).argv


def test_the_canonical_job_comes_out_to_the_letter(tmp_path: Path) -> None:
    """The parameters in the benchmark file give the published options in the published order."""
    spec = yaml.safe_load(SPEC.read_text())
    assert spec["canonical_command"].split() == CANONICAL.split()
    asked = StageRequest(
        stage="class3d",
        kind="class3d",
        parameters=spec["stages"][0]["parameters"],
        inputs={"particles": tmp_path / "shiny_2sets.star", "reference": tmp_path / "emd_2660.map"},
        output_dir=tmp_path / "class3d",
        seed=17,
    )
    options = class3d.fresh_options(asked)
    ours = {"--i", "--ref", "--random_seed", "--o"}
    published = CANONICAL.split()[1:]
    assert len(options) == len(published)
    for name, said, planned in zip(["", *published], published, options, strict=False):
        assert planned == said or name in ours, f"{name}: {planned}, published {said}"
    assert options[options.index("--ref") + 1] == f"{tmp_path}/emd_2660.map:mrc"
    assert options[options.index("--random_seed") + 1] == "17"


def test_what_follows_the_published_options_is_run_time_only(home: Path, tmp_path: Path) -> None:
    asked = base(home, tmp_path, "class3d", threads=2)
    planned = argv(asked)
    fresh = class3d.fresh_options(asked)
    assert planned == ["relion_refine", *fresh, "--j", "2", "--pool", "30"]


@pytest.mark.parametrize("kind", sorted(STAGE_PARAMETERS))
def test_every_parameter_reaches_the_command_line(home: Path, tmp_path: Path, kind: str) -> None:
    plain = argv(base(home, tmp_path, kind))
    elsewhere = {"automatic_bfactor", "bfactor_angstrom2", "use_input_poses", "number_of_classes", "reduced_precision"}
    for name, field in STAGE_PARAMETERS[kind].model_fields.items():
        if name in elsewhere:
            continue
        value = OTHER[name] if OTHER[name] is not None else not field.default
        if name in ("norm", "scale", "zero_mask"):
            value = not base(home, tmp_path, kind).parameters[name]
        changes = {name: value}
        if name == "healpix_order":  # else it asks for local searches, which is another parameter's business
            changes |= {"auto_local_healpix_order": 5} if kind == "refine3d" else {}
        assert argv(base(home, tmp_path, kind, **changes)) != plain, name


def test_parameters_with_partners_reach_the_command_line_too(home: Path, tmp_path: Path) -> None:
    given = base(home, tmp_path, "postprocess", automatic_bfactor=False, bfactor_angstrom2=-80)
    assert "--auto_bfac" not in argv(given) and argv(given)[argv(given).index("--adhoc_bfac") + 1] == "-80"
    classes = argv(base(home, tmp_path, "class3d", number_of_classes=4))
    assert classes[classes.index("--K") + 1] == "4"


@pytest.mark.parametrize("kind", sorted(STAGE_PARAMETERS))
def test_every_option_is_one_the_installed_program_knows(home: Path, tmp_path: Path, kind: str) -> None:
    fields = STAGE_PARAMETERS[kind].model_fields
    everything = {name: value for name, value in OTHER.items() if name in fields and value is not None}
    everything |= {name: True for name, field in fields.items() if field.annotation is bool}
    for skipped in ("use_input_poses", "mpi_ranks"):
        everything.pop(skipped, None)
    asked = base(home, tmp_path, kind, **everything)
    inputs = asked.inputs | ({"mask": home / "reference.mrc"} if kind in ("class3d", "refine3d") else {})
    planned = argv(asked.model_copy(update={"inputs": inputs}))
    known = help_of(kind)
    start = next(i for i, word in enumerate(planned) if word.startswith("relion_"))
    options = [word for word in planned[start:] if word.startswith("--")]
    assert len(options) >= 5
    assert [option for option in options if option not in known] == []


def test_options_left_out_at_their_default_have_that_default_in_the_installed_program() -> None:
    known = help_of("class3d")
    assert {name: float(known[name]) for name in DEFAULTS} == dict(DEFAULTS)


def help_of(kind: str) -> dict[str, str]:
    program_name = {"maskcreate": program.MASK_CREATE, "postprocess": program.POSTPROCESS}.get(kind, program.REFINE)
    done = subprocess.run([program_name, "--help"], capture_output=True, text=True, timeout=60, check=False)
    found = re.findall(r"^ +(--\w+) (?:\((.*?)\) )?:", done.stdout + done.stderr, flags=re.MULTILINE)
    assert found, done.stderr
    return dict(found)


def test_refinement_runs_under_mpi_and_shares_out_the_threads(home: Path, tmp_path: Path) -> None:
    command = RelionRunner().plan(base(home, tmp_path, "refine3d", threads=8))
    words = command.argv
    assert words[:3] == ["mpirun", "-n", "3"] and "--oversubscribe" in words
    assert words[words.index("--j") + 1] == "4" and "--dont_combine_weights_via_disc" in words
    assert {"--auto_refine", "--split_random_halves"} < set(words)


def test_root_is_allowed_under_mpi_only_for_root(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for user, allowed in ((0, True), (1000, False)):
        monkeypatch.setattr("cryorepro_relion.command.os.geteuid", lambda user=user: user)
        assert ("--allow-run-as-root" in argv(base(home, tmp_path, "refine3d"))) is allowed


def test_the_allocator_settings_are_part_of_the_command(home: Path, tmp_path: Path) -> None:
    for kind in STAGE_PARAMETERS:
        assert ALLOCATOR.items() <= RelionRunner().plan(base(home, tmp_path, kind)).environment.items()


def test_deterministic_means_one_thread(home: Path, tmp_path: Path) -> None:
    words = argv(base(home, tmp_path, "class3d", threads=2, deterministic=True))
    assert words[words.index("--j") + 1] == "1"


def test_a_gpu_is_never_used_unasked_and_refused_where_it_would_be_ignored(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--gpu" not in argv(base(home, tmp_path, "class3d"))
    monkeypatch.setattr(program, "has_cuda", lambda: False)
    with pytest.raises(InputError, match="built without CUDA"):
        argv(base(home, tmp_path, "class3d", device="cuda"))
    monkeypatch.setattr(program, "has_cuda", lambda: True)
    words = argv(base(home, tmp_path, "class3d", device="cuda:1"))
    assert words[words.index("--gpu") + 1] == "1"


def test_it_runs_where_the_image_names_lead_somewhere(home: Path, tmp_path: Path) -> None:
    assert RelionRunner().plan(base(home, tmp_path, "class3d")).cwd == home
    # A project: the table in a job's directory, its image names relative to the project.
    project = tmp_path / "project"
    job = project / "Extract" / "job002"
    job.mkdir(parents=True)
    text = (home / "particles.star").read_text().replace("@images.mrcs", "@Extract/job002/images.mrcs")
    (job / "particles.star").write_text(text)
    (job / "images.mrcs").write_bytes((home / "images.mrcs").read_bytes())
    inputs = {"particles": job / "particles.star", "reference": home / "reference.mrc"}
    assert RelionRunner().plan(base(home, tmp_path, "class3d", inputs=inputs)).cwd == project


def test_the_version_names_program_build_and_hash() -> None:
    found = RelionRunner().version()
    said = subprocess.run(["relion_refine", "--version"], capture_output=True, text=True, check=True).stdout
    assert found["name"] == "RELION" and f"RELION version: {found['version']}" in said
    assert found["precision"] and found["precision"] in said
    hashed = subprocess.run(
        "sha256sum $(command -v relion_refine)", shell=True, capture_output=True, text=True, check=True
    )
    assert found["sha256_relion_refine"] == hashed.stdout.split()[0]
    assert found["package"].startswith("relion 3.1")
