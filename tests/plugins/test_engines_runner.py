"""The runners of the project's own engines: what they start, what they believe, how a program ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryorepro_engines.programs._main import request_from_argv
from cryorepro_engines.runner import CpuOnlyRunner, RelionLikeRunner

from cryorepro.em.errors import InputError
from cryorepro.model.stage import StageFailure, StageRequest
from tests.plugins.relion_set import PARTICLES, SEED, finished, request, write_set

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
PROGRAM = """
import sys, time
from cryorepro.em.errors import InputError
from cryorepro_engines.programs._main import run_program
def work(request):
    if request.stage == "bad":
        raise InputError("particles.star: column rlnDefocusU is missing")
    if request.stage == "slow":
        print("started", flush=True)
        time.sleep(60)
    print(request.seed)
run_program(work)
"""


@pytest.fixture
def asked(tmp_path: Path) -> StageRequest:
    return request(write_set(tmp_path, particles=4), tmp_path / "job", threads=2)


def test_the_command_carries_the_whole_request(asked: StageRequest, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    command = RelionLikeRunner().plan(asked)
    assert sorted(tmp_path.rglob("*")) == before
    assert command.argv[0] == sys.executable and "cryorepro_engines.programs.class3d" in command.argv
    assert StageRequest.model_validate_json(command.argv[-1]) == asked
    assert command.environment["OMP_NUM_THREADS"] == "2"


def test_cpu_only_is_held_to_the_cpu_and_to_deterministic_mode(asked: StageRequest) -> None:
    command = CpuOnlyRunner().plan(asked.model_copy(update={"device": "cuda"}))
    given = StageRequest.model_validate_json(command.argv[-1])
    assert given.device == "cpu" and given.deterministic


def test_a_cuda_run_that_must_repeat_fixes_the_cublas_workspace(asked: StageRequest) -> None:
    plain = RelionLikeRunner().plan(asked.model_copy(update={"device": "cuda"}))
    exact = RelionLikeRunner().plan(asked.model_copy(update={"device": "cuda", "deterministic": True}))
    assert "CUBLAS_WORKSPACE_CONFIG" not in plain.environment and "CUBLAS_WORKSPACE_CONFIG" in exact.environment


def test_missing_inputs_are_named_before_anything_starts(asked: StageRequest) -> None:
    only_particles = {"particles": asked.inputs["particles"]}
    with pytest.raises(InputError, match=r"inputs\.reference"):
        RelionLikeRunner().plan(asked.model_copy(update={"inputs": only_particles}))
    gone = asked.inputs | {"reference": asked.output_dir / "gone.mrc"}
    with pytest.raises(InputError, match="gone.mrc"):
        RelionLikeRunner().plan(asked.model_copy(update={"inputs": gone}))
    with pytest.raises(InputError, match="polish"):
        RelionLikeRunner().plan(asked.model_copy(update={"kind": "polish"}))


def test_a_job_is_collected_by_the_rules_relion_is_held_to() -> None:
    """The files of the real RELION stand in for those of the engine, whose names they share."""
    job = finished("class3d")
    result = RelionLikeRunner().collect(job, job.output_dir / "log.txt")
    assert result.seed == SEED and result.rows == {"particles": PARTICLES} and result.iterations == 2
    for changes, failure_class in (
        ({"seed": SEED + 1}, "setup"),
        ({"parameters": job.parameters | {"iterations": 3}}, "incomplete-output"),
        ({"output_dir": job.inputs["particles"].parent}, "incomplete-output"),
        ({"inputs": job.inputs | {"particles": job.output_dir / "gone.star"}}, "data"),
    ):
        with pytest.raises(StageFailure) as caught:
            RelionLikeRunner().collect(job.model_copy(update=changes), job.output_dir / "log.txt")
        assert caught.value.failure_class == failure_class
    seen = RelionLikeRunner().progress(job)
    assert seen is not None and (seen.iteration, seen.of) == (2, 2)


def test_a_request_is_read_from_a_file_or_from_the_command_line(asked: StageRequest, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(asked.model_dump_json())
    assert request_from_argv([str(path)]) == asked == request_from_argv(["--request-json", asked.model_dump_json()])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stage": "x"}', '{"surplus": 1}'])
def test_a_malformed_request_is_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        request_from_argv([str(path)])
    assert "request.json" in str(caught.value) and "\n" not in str(caught.value)


def begin(asked: StageRequest) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", PROGRAM, "--request-json", asked.model_dump_json()]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True)


def test_a_program_ends_with_0_or_with_2_and_one_sentence(asked: StageRequest) -> None:
    good = begin(asked)
    assert good.communicate(timeout=60)[0] == f"{SEED}\n" and good.returncode == 0
    bad = begin(asked.model_copy(update={"stage": "bad"}))
    assert bad.communicate(timeout=60)[1] == "particles.star: column rlnDefocusU is missing\n"
    assert bad.returncode == 2


def test_a_program_ends_at_once_with_143_on_sigterm(asked: StageRequest) -> None:
    process = begin(asked.model_copy(update={"stage": "slow"}))
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert time.monotonic() - began < 2
    process.communicate()


def test_the_version_names_the_packages_that_compute() -> None:
    found = RelionLikeRunner().version()
    assert found["name"] == "cryorepro" and found["torch"] != "not installed"
    assert json.dumps(dict(found))


def test_planning_imports_no_torch(asked: StageRequest) -> None:
    code = (
        "import sys; from cryorepro.model.stage import StageRequest;"
        "from cryorepro_engines.runner import RelionLikeRunner;"
        "RelionLikeRunner().plan(StageRequest.model_validate_json(sys.argv[1]));"
        "sys.exit('torch' in sys.modules)"
    )
    argv = [sys.executable, "-c", code, asked.model_dump_json()]
    assert subprocess.run(argv, env=ENVIRONMENT, check=False, timeout=60).returncode == 0
