"""The picking, pickinspection and extraction programs as the runner starts them, on micrographs that are known."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from cryorepro_engines.runner import CpuOnlyRunner, RelionLikeRunner

from cryorepro.em.ctf_estimation_files import SET_ASIDE
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map, write_stack
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.star import make_block, read_star, write_star
from cryorepro.em.picking.decisions import DECISION
from cryorepro.em.picking.tables import AUTOPICK, read_picks
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageFailure, StageRequest, StageResult
from tests.em.picking.scenes import PIXEL, Floats, found_of, places, scene

SIZE = (512, 640)
GOOD = ("near", "far")
BAD = {"zeros": "flat", "holes": "NaN", "gone": "truncated"}
DEFOCUS = {"near": (12_000.0, 11_000.0, 30.0), "far": (22_000.0, 21_500.0, 140.0)}
RUNNER = RelionLikeRunner()
DISCS = {"method": "blob", "circular": True, "smallest_diameter_angstrom": 120, "largest_diameter_angstrom": 120}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good micrographs of dark discs and three bad ones, with a CTF each."""
    folder = tmp_path_factory.mktemp("picked")
    (folder / "sums").mkdir()
    images = {name: scene(np.random.default_rng(seed), true_places()[name], SIZE) for seed, name in enumerate(GOOD)}
    holes = images["near"].copy()
    holes[3, 4] = np.nan
    images |= {"zeros": np.zeros(SIZE), "holes": holes, "gone": holes}
    for name, image in images.items():
        write_map(folder / "sums" / f"{name}.mrc", image[None].astype(np.float32), PIXEL)
    with (folder / "sums" / "gone.mrc").open("r+b") as stream:
        stream.truncate(5000)
    listed(folder / "all.star", [*GOOD, *BAD])
    listed(folder / "good.star", list(GOOD))
    return folder


def true_places() -> dict[str, Floats]:
    rng = np.random.default_rng(77)
    return {name: places(rng, 18, SIZE, 66.0, 20.0) for name in GOOD}


def listed(star: Path, names: list[str], ctf: bool = True) -> Path:
    optics = {"rlnOpticsGroupName": ["one"], "rlnOpticsGroup": [1], "rlnMicrographPixelSize": [PIXEL],
              "rlnVoltage": [300.0], "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1]}  # fmt: skip
    rows: dict[str, list[Any]] = {"rlnMicrographName": [f"sums/{name}.mrc" for name in names]}
    if ctf:
        values = [DEFOCUS.get(name, (1e4, 1e4, 0.0)) for name in names]
        for place, label in enumerate(("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")):
            rows[label] = [value[place] for value in values]
    rows["rlnOpticsGroup"] = [1] * len(names)
    write_star(star, [make_block("optics", optics), make_block("micrographs", rows)])
    return star


def asked(kind: str, output: Path, inputs: dict[str, Path], **parameters: Any) -> StageRequest:
    chosen = KNOWN_PARAMETERS[kind].model_validate(parameters).model_dump()
    output.mkdir(exist_ok=True, parents=True)
    return StageRequest(stage=kind, kind=kind, parameters=chosen, inputs=inputs, output_dir=output, seed=1)


def run(request: StageRequest, runner: RelionLikeRunner = RUNNER) -> StageResult:
    """Plan, run and collect; exit code 2 becomes InputError with what the program said.

    Raises:
        InputError: the program ended with exit code 2.
    """
    command = runner.plan(request)
    done = subprocess.run(command.argv, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 2:
        raise InputError(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return runner.collect(request, request.output_dir / "log")


@pytest.fixture(scope="module")
def picked(home: Path) -> Path:
    request = asked("picking", home / "picking", {"micrographs": home / "good.star"}, **DISCS, lowest_ncc=0.15)
    run(request)
    return home / "picking" / AUTOPICK


def test_good_micrographs_are_picked_and_bad_ones_set_aside_by_name(home: Path, tmp_path: Path) -> None:
    request = asked("picking", tmp_path / "job", {"micrographs": home / "all.star"}, **DISCS, lowest_ncc=0.45)
    result = run(request.model_copy(update={"threads": 2}))
    assert result.rows == {"coordinates": 36, "micrographs": 2}
    table = read_picks(request.output_dir / AUTOPICK)
    assert table.names == ("sums/near.mrc", "sums/far.mrc")
    for name, picks in zip(GOOD, table.picks, strict=True):
        recall, precision, apart = found_of(true_places()[name], picks.at_px, 8.0)
        assert (recall, precision) == (1.0, 1.0) and np.median(apart) < 1.0
        assert (picks.power > 2.0).all()
    assert len(result.notes) == 3
    for (name, words), note in zip(BAD.items(), result.notes, strict=True):
        assert f"sums/{name}.mrc" in note and words in note
    assert read_star(request.output_dir / SET_ASIDE)["set_aside"].row_count == 3


def test_the_deterministic_runner_repeats_its_bytes_on_any_threads(home: Path, tmp_path: Path) -> None:
    texts = []
    for threads in (1, 2):
        request = asked("picking", tmp_path / str(threads), {"micrographs": home / "good.star"}, **DISCS)
        run(request.model_copy(update={"threads": threads}), CpuOnlyRunner())
        texts.append([path.read_bytes() for path in sorted((tmp_path / str(threads)).rglob("*.star"))])
    assert texts[0] == texts[1] and len(texts[0]) == 4


def test_class_averages_serve_as_templates_by_a_selection(home: Path, tmp_path: Path) -> None:
    y, x = np.indices((48, 48)) - 24
    averages = np.stack([np.zeros((48, 48)), 1.0 * (np.hypot(x, y) < 15), 1.0 * (np.hypot(x - 8, y) < 5)])
    write_stack(tmp_path / "averages.mrcs", averages, 4.0)
    chosen = {"rlnClassNumber": [1, 2, 3], "rlnSelected": [0, 1, 0]}
    write_star(tmp_path / "selection.star", [make_block("selection", chosen)])
    inputs = {"micrographs": home / "good.star", "templates": tmp_path / "averages.mrcs"}
    inputs["selection"] = tmp_path / "selection.star"
    settings = {"method": "template", "largest_diameter_angstrom": 120, "lowest_ncc": 0.45, "step_degrees": 90}
    result = run(asked("picking", tmp_path / "job", inputs, **settings, ctf=False))
    assert result.rows["coordinates"] == 36
    assert set(read_picks(tmp_path / "job" / AUTOPICK).joined("classes")) == {2.0}
    with pytest.raises(InputError, match="class 3 is selected, but .* holds 2 images"):
        write_stack(tmp_path / "averages.mrcs", averages[:2], 4.0)
        write_star(tmp_path / "selection.star", [make_block("selection", chosen | {"rlnSelected": [0, 0, 1]})])
        run(asked("picking", tmp_path / "again", inputs, **settings))


@pytest.mark.parametrize(
    ("stars", "parameters", "words"),
    [
        ("good", {"method": "blob"}, "largest_diameter_angstrom is not given"),
        ("good", {"method": "template", "largest_diameter_angstrom": 120}, "inputs.templates is not given"),
        ("good", {"method": "log", "largest_diameter_angstrom": 120}, "'log' is not one of this runner"),
        ("good", {**DISCS, "circular": False}, "no shape of blob is left"),
        ("good", {**DISCS, "lowest_ncc": 0.999}, "no particle is found in 2 micrographs"),
        ("bad", DISCS, "no particle is found in 1 micrographs; the first: unusable.*flat"),
    ],
    ids=["no-diameter", "no-templates", "log", "no-shape", "nothing-found", "all-bad"],
)
def test_what_cannot_be_picked_is_refused_with_one_sentence(
    home: Path, tmp_path: Path, stars: str, parameters: dict[str, Any], words: str
) -> None:
    star = home / "good.star" if stars == "good" else listed(home / "bad.star", ["zeros"])
    with pytest.raises(InputError, match=words) as caught:
        run(asked("picking", tmp_path / "job", {"micrographs": star}, **parameters))
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "job" / AUTOPICK).exists()


def test_picks_that_are_not_the_micrographs_are_not_believed(home: Path, tmp_path: Path) -> None:
    request = asked("picking", tmp_path / "job", {"micrographs": home / "good.star"}, **DISCS)
    run(request)
    file = tmp_path / "job" / "micrographs" / "near_autopick.star"
    file.write_text(file.read_text().replace(file.read_text().splitlines()[-2].split()[0], "9000.5"))
    with pytest.raises(StageFailure, match="outside sums/near"):
        RUNNER.collect(request, tmp_path / "log")
    file.unlink()
    with pytest.raises(StageFailure, match="near_autopick"):
        RUNNER.collect(request, tmp_path / "log")


def kept_of(folder: Path) -> dict[str, list[tuple[float, float]]]:
    table = read_picks(folder / AUTOPICK)
    return {
        name: [tuple(at) for at in picks.at_px.tolist()] for name, picks in zip(table.names, table.picks, strict=True)
    }


def test_a_decision_is_an_artifact_and_replays_exactly(picked: Path, tmp_path: Path) -> None:
    first = asked("pickinspection", tmp_path / "one", {"coordinates": picked}, automatic="valley")
    result = run(first)
    for name, picks in zip(GOOD, read_picks(tmp_path / "one" / AUTOPICK).picks, strict=True):
        assert found_of(true_places()[name], picks.at_px, 8.0)[:2] == (1.0, 1.0)
    assert result.rows["coordinates"] == 36 and result.numbers["picks_left_out"] > 20
    decision = tmp_path / "one" / DECISION
    said = read_star(decision)["pick_inspection_rule"]
    assert said.value("cryoreproDecidedBy") == "valley" and 0.2 < float(said.value("cryoreproLowestNcc")) < 0.7
    again = asked("pickinspection", tmp_path / "two", {"coordinates": picked, "decision": decision})
    run(again)
    assert (tmp_path / "two" / AUTOPICK).read_bytes() == (tmp_path / "one" / AUTOPICK).read_bytes()
    for name in GOOD:
        file = Path("micrographs") / f"{name}_autopick.star"
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "one" / file).read_bytes()


def test_declared_limits_decide_and_a_saved_selection_stands_above_them(picked: Path, tmp_path: Path) -> None:
    table = read_picks(picked)
    limit = float(np.sort(table.joined("ncc"))[-10])
    run(asked("pickinspection", tmp_path / "limits", {"coordinates": picked}, lowest_ncc=limit, lowest_power=0.0))
    assert sum(len(rows) for rows in kept_of(tmp_path / "limits").values()) == 10
    inputs = {"coordinates": picked, "selection": tmp_path / "limits" / AUTOPICK}
    result = run(asked("pickinspection", tmp_path / "saved", inputs, lowest_ncc=0.9))
    assert kept_of(tmp_path / "saved") == kept_of(tmp_path / "limits")
    assert "kept by the saved selection: 10" in result.notes
    fewer = tmp_path / "limits" / AUTOPICK
    fewer.write_text("\n".join(line for line in fewer.read_text().splitlines() if "sums/far" not in line) + "\n")
    run(asked("pickinspection", tmp_path / "half", inputs))
    assert kept_of(tmp_path / "half")["sums/far.mrc"] == []


@pytest.mark.parametrize(
    ("parameters", "roles", "words"),
    [
        ({"published_as_interactive": True}, (), "made by hand; give a limit or a rule"),
        ({"lowest_ncc": 0.99}, (), "none of .* picks is kept"),
        ({"lowest_ncc": 0.3}, ("decision",), "beside a limit"),
    ],
    ids=["by-hand", "none-kept", "both"],
)
def test_an_inspection_without_one_rule_is_refused(
    picked: Path, tmp_path: Path, parameters: dict[str, Any], roles: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        run(asked("pickinspection", tmp_path, {"coordinates": picked} | dict.fromkeys(roles, picked), **parameters))


@pytest.fixture(scope="module")
def inspected(home: Path, picked: Path) -> Path:
    run(asked("pickinspection", home / "inspected", {"coordinates": picked}, automatic="valley"))
    return home / "inspected" / AUTOPICK


def test_particles_are_cut_with_the_defocus_of_their_place(home: Path, inspected: Path, tmp_path: Path) -> None:
    names = [f"sums/{name}.mrc" for name in GOOD]
    planes = {"rlnMicrographName": names, "cryoreproDefocusMiddle": [11_600.0, 21_800.0],
              "cryoreproDefocusGradientX": [0.5, 0.0], "cryoreproDefocusGradientY": [0.0, -0.25]}  # fmt: skip
    write_star(tmp_path / "local.star", [make_block("local_defocus", planes)])
    inputs = {"micrographs": home / "good.star", "coordinates": inspected, "local_defocus": tmp_path / "local.star"}
    result = run(asked("extraction", tmp_path / "job", inputs, box_px=64, rescaled_box_px=32))
    table = read_particles(tmp_path / "job" / "particles.star")
    true = np.concatenate([true_places()[name] for name in GOOD])
    whole = ((true >= 32) & (true + 32 <= [SIZE[1], SIZE[0]])).all(axis=1).sum()
    assert abs(result.rows["particles"] - whole) <= 1 and whole < 36
    assert result.numbers["dropped_at_edge"] == 36 - result.rows["particles"]
    assert table.pixel_size_angstrom == 2 * PIXEL and table.optics[0].box_px == 32
    x, y = table.numbers("rlnCoordinateX"), table.numbers("rlnCoordinateY")
    near = np.array([name == names[0] for name in table.column("rlnMicrographName")])
    mean = np.where(near, 11_600.0 + 0.5 * (x - 320.0), 21_800.0 - 0.25 * (y - 256.0))
    half = np.where(near, 500.0, 250.0)
    np.testing.assert_allclose(table.defocus_u_angstrom, mean + half)
    np.testing.assert_allclose(table.defocus_v_angstrom, mean - half)
    images = ParticleStack.open(table).read().astype(np.float64)
    v, u = np.indices((32, 32)) - 16
    assert (images[:, np.hypot(u, v) < 10].mean(axis=1) > 0.5).all(), "the discs are bright and in the middle"
    assert np.abs(images[:, np.hypot(u, v) > 12.1].mean(axis=1)).max() < 0.2
    with mrcfile.open(tmp_path / "job" / "particles" / "near.mrcs") as stack:
        assert stack.voxel_size.x == 2 * PIXEL and len(stack.data) == near.sum()
    assert (tmp_path / "job" / "sums" / "near.mrc").is_file(), "the micrographs are found from the table"


def test_picks_of_micrographs_left_out_are_skipped_and_said(home: Path, inspected: Path, tmp_path: Path) -> None:
    star = listed(home / "one.star", ["far"])
    result = run(asked("extraction", tmp_path / "job", {"micrographs": star, "coordinates": inspected}, box_px=64))
    assert result.notes == ["picks of micrographs that are not in the table or could not be read: 18"]
    assert set(read_particles(tmp_path / "job" / "particles.star").column("rlnMicrographName")) == {"sums/far.mrc"}


@pytest.mark.parametrize(
    ("star", "parameters", "words"),
    [
        ("good", {}, "box_px is not given"),
        ("good", {"box_px": 600}, "no whole box of 600 px"),
        ("plain", {"box_px": 64}, "rlnDefocusU is missing"),
        ("other", {"box_px": 64}, "no pick lies in a micrograph"),
    ],
    ids=["no-box", "too-large", "no-ctf", "other-micrographs"],
)
def test_what_cannot_be_extracted_is_refused(
    home: Path, inspected: Path, tmp_path: Path, star: str, parameters: dict[str, Any], words: str
) -> None:
    stars = {"good": home / "good.star", "plain": listed(home / "plain.star", list(GOOD), ctf=False),
             "other": listed(home / "other.star", ["zeros"])}  # fmt: skip
    with pytest.raises(InputError, match=words):
        run(asked("extraction", tmp_path, {"micrographs": stars[star], "coordinates": inspected}, **parameters))
