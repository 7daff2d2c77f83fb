"""The runner ``cryosparc`` against a master on this machine, through the real client of cryosparc-tools.

The client, its login, retries, models and data sets are the released ones; only the master is ours, because no licensed
one was at hand.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_cryosparc import plugin
from cryorepro_cryosparc.interactive import chosen_classes
from cryorepro_cryosparc.runner import CryosparcRunner
from cryorepro_cryosparc.settings import VARIABLE, load_settings

from cryorepro.em.ctf_estimation_files import read_micrograph_table
from cryorepro.em.errors import InputError
from cryorepro.em.formats.cryosparc import read_cs
from cryorepro.em.formats.maps import read_map, write_map, write_stack
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.picking.tables import read_picks
from cryorepro.model.stage import StageFailure, StageRequest, StageResult
from cryorepro.plugins.testing import RunnerConformance, check_plugin_module
from tests.conftest import Command
from tests.plugins.cryosparc.master import FakeMaster, serving

PASSWORD = "not-in-any-journal"
SEED = 7


def configure(path: Path, url: str, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "base_url": url, "email": "a@b.org", "password": PASSWORD, "project": "P1", "workspace": "W1", "lane": "gpu",
        "poll_seconds": 0.05, "patience_seconds": 0.3, "licence_wait_seconds": 0.2,
    }  # fmt: skip
    path.write_text("".join(f"{key}: {value}\n" for key, value in (values | changes).items() if value is not None))
    path.chmod(0o600)
    return path


@dataclass
class Bench:
    """A master, its settings, and stages run one after the other."""

    master: FakeMaster
    url: str
    root: Path
    results: dict[str, StageResult] = field(default_factory=dict)

    def request(
        self, stage: str, kind: str, inputs: dict[str, Path | str], resume: bool = False, **parameters: Any
    ) -> StageRequest:
        out = self.root / "stages" / stage
        out.mkdir(parents=True, exist_ok=True)
        paths = {role: value if isinstance(value, Path) else self.output(value) for role, value in inputs.items()}
        return StageRequest(
            stage=stage, kind=kind, parameters=parameters, inputs=paths, output_dir=out, seed=SEED, resume=resume
        )

    def output(self, source: str) -> Path:
        stage, _, role = source.partition(".")
        return self.root / "stages" / stage / self.results[stage].outputs[role]

    def run(self, request: StageRequest) -> subprocess.CompletedProcess[str]:
        command = CryosparcRunner().plan(request)
        environment = {**os.environ, **command.environment}
        return subprocess.run(
            command.argv, env=environment, cwd=command.cwd, capture_output=True, text=True, timeout=60, check=False
        )

    def stage(self, stage: str, kind: str, inputs: dict[str, Path | str], **parameters: Any) -> StageResult:
        request = self.request(stage, kind, inputs, **parameters)
        done = self.run(request)
        assert done.returncode == 0, done.stderr
        self.results[stage] = CryosparcRunner().collect(request, self.root / "log")
        return self.results[stage]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with serving(tmp_path / "CS-project") as (master, url):
        monkeypatch.setenv(VARIABLE, str(configure(tmp_path / "cryosparc.yaml", url)))
        yield Bench(master, url, tmp_path)


def movies(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for k in range(2):
        write_stack(folder / f"m{k}.mrc", np.zeros((3, 64, 96), np.float32), 1.5)
    optics: dict[str, list[Any]] = {
        "rlnOpticsGroupName": ["a"], "rlnOpticsGroup": [1], "rlnMicrographOriginalPixelSize": [1.5],
        "rlnVoltage": [300.0], "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
    }  # fmt: skip
    rows: dict[str, list[Any]] = {"rlnMicrographMovieName": ["m0.mrc", "m1.mrc"], "rlnOpticsGroup": [1, 1]}
    write_star(folder / "movies.star", [make_block("optics", optics), make_block("movies", rows)])
    return folder / "movies.star"


def test_every_step_from_movies_to_a_map(bench: Bench) -> None:
    """Each stage is fed with the files of the one before, as a run does it."""
    gain = bench.root / "gain.mrc"
    write_stack(gain, np.ones((1, 64, 96), np.float32), 1.5)
    start: dict[str, Path | str] = {"movies": movies(bench.root / "raw"), "gain": gain}
    bench.stage("motion", "motioncorrection", start, total_dose_e_per_square_angstrom=58.0, flip_gain_y=True)
    bench.stage("ctf", "ctfestimation", {"micrographs": "motion.micrographs"}, lowest_defocus_angstrom=4000.0)
    bench.stage("good", "curation", {"micrographs": "ctf.micrographs"}, worst_ctf_resolution_angstrom=8.0)
    blob: dict[str, Any] = {"smallest_diameter_angstrom": 100.0, "largest_diameter_angstrom": 150.0, "circular": True}
    bench.stage("blob", "picking", {"micrographs": "good.micrographs"}, method="blob", **blob)
    bench.stage("inspect", "pickinspection", {"coordinates": "blob.coordinates"}, lowest_ncc=0.34, highest_power=1493.0)
    cut: dict[str, Path | str] = {"micrographs": "inspect.micrographs", "coordinates": "inspect.coordinates"}
    bench.stage("cut", "extraction", cut, box_px=320, rescaled_box_px=64)
    bench.stage("flat", "class2d", {"particles": "cut.particles"}, number_of_classes=50)
    chosen: dict[str, Path | str] = {"particles": "flat.particles", "classes": "flat.classes"}
    bench.stage("select", "classselection", chosen, worst_resolution_angstrom=12.0)
    again: dict[str, Path | str] = {"micrographs": "good.micrographs", "templates": "select.classes"}
    bench.stage("template", "picking", again, method="template", smallest_diameter_angstrom=160.0)
    bench.stage("first", "initialmodel", {"particles": "select.particles"}, number_of_classes=1)
    fine: dict[str, Path | str] = {"particles": "first.particles", "reference": "first.map"}
    bench.stage("homo", "homogeneousrefinement", fine, symmetry="D7")
    result = bench.stage("nu", "nonuniformrefinement", fine, symmetry="D7")
    assert set(result.outputs) == {"particles", "particles_cs", "map", "half1", "half2", "mask"}
    assert result.seed == SEED and result.numbers["cryosparc_seconds"] == 100.0
    assert result.numbers["reported_resolution_angstrom"] == 3.25
    check_jobs(bench.master)
    check_files(bench)


def check_jobs(master: FakeMaster) -> None:
    """What the master was asked to do, in its own words."""
    imported = master.of_type("import_movies")[0]["spec"]["params"]
    assert (imported["psize_A"], imported["accel_kv"], imported["cs_mm"]) == (1.5, 300.0, 2.7)
    assert imported["total_dose_e_per_A2"] == 58.0 and imported["gainref_flip_y"] and not imported["gainref_flip_x"]
    assert master.of_type("blob_picker_gpu")[0]["spec"]["params"] == {
        "diameter": 100.0, "diameter_max": 150.0, "use_circle": True,
    }  # fmt: skip
    assert master.of_type("patch_ctf_estimation_multi")[0]["spec"]["params"] == {"df_search_min": 4000.0}
    assert master.of_type("extract_micrographs_multi")[0]["spec"]["params"] == {"box_size_pix": 320, "bin_size_pix": 64}
    assert master.of_type("class_2D_new")[0]["spec"]["params"] == {"class2D_K": 50, "random_seed": SEED}
    refined = master.of_type("nonuniform_refine_new")[0]["spec"]
    assert refined["params"] == {"refine_symmetry": "D7", "random_seed": SEED}
    abinit = master.of_type("homo_abinit")[0]["uid"]
    links = {name: value["connections"] for name, value in refined["inputs"].items()}
    assert links == {
        "particles": [{"job_uid": abinit, "output": "particles_all_classes"}],
        "volume": [{"job_uid": abinit, "output": "volume_class_0"}],
    }
    picked = master.of_type("inspect_picks_v2")[0]["spec"]["inputs"]
    assert picked["micrographs"]["connections"][0]["output"] == "micrographs", "taken from the picker's own job"
    said = [(kind, endpoint, body) for kind, endpoint, body in master.interactions if endpoint.startswith("set_")]
    assert said[1:] == [
        ("inspect_picks_v2", "set_thresholds", {"ncc_score_thresh": 0.34, "lpower_thresh_max": 1493.0}),
        ("select_2D", "set_class_selected", {"class_idx": 0, "selected": True}),
        ("select_2D", "set_class_selected", {"class_idx": 1, "selected": True}),
    ]
    limits = {row["name"]: (row["active"], row["thresholds"]) for row in said[0][2]["fields"]}
    assert limits == {"idx": (False, [0, 9]), "ctf_fit_to_A": (True, [2.0, 8.0])}
    lanes = {job["spec"]["type"]: job["queued_to_lane"] for job in master.jobs.values()}
    assert lanes["class_2D_new"] == "gpu" and lanes["select_2D"] is None and lanes["import_movies"] is None


def check_files(bench: Bench) -> None:
    """What lies in the stages is what any other runner reads."""
    table = read_micrograph_table(bench.output("ctf.micrographs"))
    assert table.names == ["J2/motioncorrected/m0.mrc", "J2/motioncorrected/m1.mrc"]
    assert all(path.is_file() for path in table.paths)
    picks, raw = read_picks(bench.output("blob.coordinates")), read_cs(bench.output("blob.coordinates_cs"))
    assert picks.total == len(raw) == 12
    x = raw.column("location/center_x_frac").astype(np.float64) * 96
    assert np.allclose(np.sort(np.concatenate([part.at_px[:, 0] for part in picks.picks])), np.sort(x), atol=1e-5)
    particles = read_particles(bench.output("nu.particles"))
    images = ParticleStack.open(particles)
    assert particles.image_names[0] == "000001@J7/extract/stack.mrcs"
    relion = ["relion_stack_create", "--i", "particles.star", "--o", "copy"]
    subprocess.run(relion, cwd=bench.output("nu.particles").parent, check=True, capture_output=True, timeout=60)
    assert read_mrc_header(bench.output("nu.particles").parent / "copy.mrcs").shape == (12, 16, 16), "RELION reads it"
    assert images.read([3]).shape == (1, 16, 16) and len(particles) == 12
    classes = bench.output("select.classes")
    assert read_mrc_header(classes).shape == (2, 16, 16)
    stack = np.memmap(classes, dtype=np.float32, mode="r", offset=1024, shape=(2, 16, 16))
    assert stack[0, 5, 5] == 2.0 and stack[1, 5, 5] == 0.0, "in the order of the selection"
    assert read_map(bench.output("nu.half1"))[1] == pytest.approx(1.5)


def test_particles_and_a_map_from_elsewhere_are_imported(bench: Bench) -> None:
    write_stack(bench.root / "p.mrcs", np.zeros((2, 16, 16), np.float32), 1.5)
    write_map(bench.root / "ref.mrc", np.ones((16, 16, 16), np.float32), 1.5)
    optics: dict[str, list[Any]] = {
        "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["a"], "rlnVoltage": [300.0], "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1], "rlnImagePixelSize": [1.5], "rlnImageSize": [16],
    }  # fmt: skip
    rows: dict[str, list[Any]] = {
        "rlnImageName": ["1@p.mrcs", "2@p.mrcs"], "rlnOpticsGroup": [1, 1], "rlnDefocusU": [1e4, 1e4],
        "rlnDefocusV": [1e4, 1e4], "rlnDefocusAngle": [0.0, 0.0],
    }  # fmt: skip
    write_star(bench.root / "p.star", [make_block("optics", optics), make_block("particles", rows)])
    bench.stage("nu", "nonuniformrefinement", {"particles": bench.root / "p.star", "reference": bench.root / "ref.mrc"})
    imported = bench.master.of_type("import_particles")[0]["spec"]["params"]
    assert imported == {"particle_meta_path": str(bench.root / "p.star"), "particle_blob_path": str(bench.root)}
    assert bench.master.of_type("import_volumes")[0]["spec"]["params"]["volume_blob_path"] == str(
        bench.root / "ref.mrc"
    )


def motion(bench: Bench, resume: bool = False, **changes: Any) -> StageRequest:
    parameters = {"total_dose_e_per_square_angstrom": 50.0} | changes
    return bench.request("motion", "motioncorrection", {"movies": movies(bench.root / "raw")}, resume, **parameters)


def test_a_failed_job_is_told_and_runs_again_on_resuming(bench: Bench) -> None:
    bench.master.failing = {"patch_motion_correction_multi"}
    done = bench.run(motion(bench))
    assert done.returncode == 1
    assert done.stderr == "J2 (patch_motion_correction_multi) failed: CUDA out of memory\n"
    with pytest.raises(StageFailure, match="did not come to its end"):
        CryosparcRunner().collect(motion(bench), bench.root / "log")
    bench.master.failing = set()
    again = bench.run(motion(bench, resume=True))
    assert again.returncode == 0, again.stderr
    assert list(bench.master.jobs) == ["J1", "J2"], "the same jobs; the import was not repeated"
    assert "jobs.clear" in bench.master.asked


def test_an_interrupted_stage_leaves_its_job_and_collects_it_later(bench: Bench) -> None:
    bench.master.held = {"patch_motion_correction_multi"}
    command = CryosparcRunner().plan(motion(bench))
    process = subprocess.Popen(
        command.argv, env={**os.environ, **command.environment}, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not any(job["status"] == "running" for job in bench.master.of_type("patch_motion_correction_multi")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    assert process.stdout is not None
    process.stdout.close()
    bench.master.held = set()
    done = bench.run(motion(bench, resume=True))
    assert done.returncode == 0, done.stderr
    assert list(bench.master.jobs) == ["J1", "J2"] and bench.master.asked.count("jobs.enqueue") == 2
    assert CryosparcRunner().collect(motion(bench), bench.root / "log").rows == {"micrographs": 2}


def test_a_job_that_waits_for_a_licence_is_given_up_in_time(bench: Bench) -> None:
    bench.master.unlicensed = {"patch_motion_correction_multi"}
    done = bench.run(motion(bench))
    assert done.returncode == 127
    assert "for a licence: Waiting for licenses" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("attribute", "text", "code", "said"),
    [
        ("refuse_enqueue", "License is not valid: no active license", 127, "the master refuses: License is not valid"),
        ("refuse_enqueue", "Lane gpu does not exist", 1, "the master refuses: Lane gpu does not exist"),
        ("refuse_login", "Incorrect password", 127, "the master refuses the login: Incorrect password"),
    ],
    ids=["licence", "lane", "login"],
)
def test_refusals(attribute: str, text: str, code: int, said: str, bench: Bench) -> None:
    setattr(bench.master, attribute, text)
    done = bench.run(motion(bench))
    assert done.returncode == code and done.stderr.startswith(said) and done.stderr.count("\n") == 1
    assert PASSWORD not in done.stdout + done.stderr


def test_an_unreachable_master(bench: Bench, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        configure(tmp_path / "cryosparc.yaml", f"http://127.0.0.1:{taken.getsockname()[1]}")
        done = bench.run(motion(bench))
    assert done.returncode == 127
    assert done.stderr.startswith("no CryoSPARC answers at http://127.0.0.1:") and done.stderr.count("\n") == 1


def test_a_master_that_goes_away_and_comes_back_is_waited_for(bench: Bench, tmp_path: Path) -> None:
    configure(tmp_path / "cryosparc.yaml", bench.url, patience_seconds=30)
    bench.master.held = {"patch_motion_correction_multi"}
    command = CryosparcRunner().plan(motion(bench))
    process = subprocess.Popen(
        command.argv, env={**os.environ, **command.environment}, stderr=subprocess.PIPE, text=True
    )
    while not any(job["status"] == "running" for job in bench.master.of_type("patch_motion_correction_multi")):
        assert process.poll() is None
        time.sleep(0.05)
    bench.master.deaf = True
    time.sleep(0.6)
    bench.master.deaf, bench.master.held = False, set()
    assert process.wait(30) == 0, process.stderr and process.stderr.read()
    assert process.stderr is not None
    process.stderr.close()


def test_a_word_this_master_does_not_know_is_refused_before_a_job_is_made(bench: Bench) -> None:
    bench.stage(
        "motion", "motioncorrection", {"movies": movies(bench.root / "raw")}, total_dose_e_per_square_angstrom=5.0
    )
    request = bench.request("ctf", "ctfestimation", {"micrographs": "motion.micrographs"})
    from tests.plugins.cryosparc import master

    known = master.REGISTER.pop("patch_ctf_estimation_multi")
    try:
        done = bench.run(request)
    finally:
        master.REGISTER["patch_ctf_estimation_multi"] = known
    assert done.returncode == 2
    assert done.stderr == "this CryoSPARC (v5.0.3) has no job of the type patch_ctf_estimation_multi\n"
    assert len(bench.master.jobs) == 2


def test_what_has_no_counterpart_is_noted(bench: Bench) -> None:
    result = bench.stage(
        "motion", "motioncorrection", {"movies": movies(bench.root / "raw")},
        total_dose_e_per_square_angstrom=5.0, binned=2.0,
    )  # fmt: skip
    assert "binned has no counterpart in patch_motion_correction_multi and was not passed on" in result.notes


def test_plans_that_cannot_work_are_refused(bench: Bench) -> None:
    runner = CryosparcRunner()
    for request, said in (
        (motion(bench, total_dose_e_per_square_angstrom=None), "total_dose_e_per_square_angstrom is not given"),
        (bench.request("pick", "picking", {}, method="network"), "CryoSPARC cannot pick by network"),
        (bench.request("pick", "picking", {}, method="blob"), "inputs.micrographs is not given"),
        (bench.request("mask", "maskcreate", {}), "CryoSPARC cannot carry it out"),
        (bench.request("cut", "extraction", {"micrographs": bench.root / "x.star"}), "cannot be imported"),
    ):
        with pytest.raises(InputError, match=said):
            runner.plan(request)
    assert bench.master.asked == [], "planning asks no master"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"classes": [1, 3, 9]}, [0, 2]),
        ({"worst_resolution_angstrom": 12.0}, [0, 1]),
        ({"smallest_fraction": 0.3}, [0, 1]),
        ({"keep": "largest"}, [0]),
        ({"largest_classes": 2, "worst_resolution_angstrom": 20.0}, [0, 1]),
    ],
    ids=["list", "resolution", "share", "largest", "two-largest"],
)
def test_which_classes_a_rule_keeps(parameters: dict[str, Any], expected: list[int]) -> None:
    rows = [{"class_idx": k, "res_A": 6.0 + 5 * k, "num_particles_total": 40 - 10 * k} for k in range(3)]
    assert chosen_classes(rows, parameters) == expected


def test_unconfigured_it_says_what_is_missing(
    cryorepro: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    told = cryorepro("plugins", "doctor", "--json").stdout
    assert "no settings file: write ~/.config/cryorepro/cryosparc.yaml or set CRYOREPRO_CRYOSPARC_CONFIG" in told
    with pytest.raises(InputError, match="no CryoSPARC master is configured"):
        load_settings()
    refused = cryorepro("reproduce", "empiar-10028", "--runner", "class3d=cryosparc")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1


def test_settings_are_held_to_their_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = configure(tmp_path / "c.yaml", "http://m:39000")
    monkeypatch.setenv(VARIABLE, str(path))
    assert PASSWORD not in repr(load_settings()) and load_settings().project == "P1"
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        load_settings()
    for changes in ({"project": "7"}, {"base_url": "ftp://m"}, {"email": None}, {"colour": "red"}):
        configure(path, "http://m:39000", **changes)
        if "base_url" in changes:
            path.write_text(path.read_text().replace("http://m:39000", "ftp://m"))
        with pytest.raises(InputError):
            load_settings()


def test_the_plugin_is_one_that_a_third_party_could_write() -> None:
    check_plugin_module(plugin)


class TestConformance(RunnerConformance):
    """The kit that every runner's author gets."""

    @pytest.fixture(autouse=True)
    def _master(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        folder = tmp_path_factory.mktemp("master")
        with serving(folder / "CS-project") as (_, url):
            monkeypatch.setenv(VARIABLE, str(configure(folder / "cryosparc.yaml", url)))
            yield

    def runner(self) -> CryosparcRunner:
        return CryosparcRunner()

    def request(self, directory: Path, output_dir: Path) -> StageRequest:
        parameters = {"total_dose_e_per_square_angstrom": 50.0}
        return StageRequest(
            stage="motion", kind="motioncorrection", parameters=parameters, inputs={"movies": movies(directory)},
            output_dir=output_dir, seed=SEED,
        )  # fmt: skip
