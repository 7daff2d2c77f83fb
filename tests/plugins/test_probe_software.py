"""Probes of Python, torch, RELION, containers, Slurm and the system."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryorepro_probes.container import ContainerProbe
from cryorepro_probes.plugin import cryorepro_probes
from cryorepro_probes.python import PythonProbe
from cryorepro_probes.relion import RelionProbe
from cryorepro_probes.slurm import SlurmProbe
from cryorepro_probes.system import SystemProbe

from cryorepro.plugins.types import Probe
from tests.plugins.showing import told, write


def test_python_lists_what_pip_lists() -> None:
    measured = PythonProbe().measure({})
    assert measured["version"] == platform.python_version()
    listed = json.loads(told(sys.executable, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"))
    found = {row["name"].lower(): row for row in measured["distributions"]}
    assert {(row["name"].lower(), row["version"]) for row in listed} <= {
        (name, row["version"]) for name, row in found.items()
    }
    assert all(re.fullmatch("[0-9a-f]{64}", found[name]["record_sha256"]) for name in ("pydantic", "torch"))
    assert [row["name"] for row in measured["distributions"]] == sorted(
        (row["name"] for row in measured["distributions"]), key=lambda name: re.sub(r"[_.]", "-", name.lower())
    )


def test_torch_is_told_of_without_importing_it() -> None:
    program = (
        "import sys, json; from cryorepro_probes.pytorch import TorchProbe\n"
        "measured = TorchProbe().measure({}); assert 'torch' not in sys.modules; print(json.dumps(measured))"
    )
    paths = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "plugins")])
    settings = {"OMP_NUM_THREADS": "2", "CUDA_MPS_PIPE_DIRECTORY": "/tmp/alice", "CUDA_VISIBLE_DEVICES": "GPU-1a2b"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths} | settings,
    )
    measured = json.loads(done.stdout)
    import torch

    assert measured["torch"] == torch.__version__
    assert measured["environment"]["OMP_NUM_THREADS"] == "2"
    assert measured["environment"]["CUDA_MPS_PIPE_DIRECTORY"] == "(withheld)"
    assert measured["environment"]["CUDA_VISIBLE_DEVICES"] == "(withheld)"
    assert "HOME" not in measured["environment"]


def test_relion_agrees_with_the_program_and_sha256sum() -> None:
    path = shutil.which("relion_refine")
    assert path is not None, "RELION is needed here"
    measured = RelionProbe().measure({})
    assert measured["found"] is True
    assert f"RELION version: {measured['version']} " in told("relion_refine", "--version")
    assert measured["programs_sha256"]["relion_refine"] == told("sha256sum", path).split()[0]
    assert measured["mpi"] == told("mpirun", "--version").splitlines()[0]


def test_relion_absent_or_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    measured = RelionProbe().measure({})
    assert (measured["found"], measured["version"], measured["mpi"]) == (False, None, None)
    assert set(measured["programs_sha256"].values()) == {None}
    (tmp_path / "relion_refine").write_text("#!/bin/sh\necho RELION version: 9.9.9\nexit 1\n")
    (tmp_path / "relion_refine").chmod(0o755)
    measured = RelionProbe().measure({})
    assert (measured["found"], measured["version"]) == (True, None), "a program that fails has told no version"


@pytest.mark.parametrize(
    ("files", "environment", "kind", "version"),
    [
        ({}, {}, None, None),
        ({".dockerenv": "", "proc/self/cgroup": "0::/\n"}, {}, "docker", 2),
        ({"run/.containerenv": "", "proc/self/cgroup": "0::/user.slice\n"}, {}, "podman", 2),
        ({".singularity.d/runscript": ""}, {}, "singularity", None),
        ({}, {"APPTAINER_CONTAINER": "/home/alice/image.sif"}, "apptainer", None),
        ({"proc/1/cgroup": "4:cpu:/kubepods/pod1\n", "proc/self/cgroup": "4:cpu:/\n0::/\n"}, {}, "kubepods", 1),
        ({"proc/self/cgroup": "0::/slurm/job_1\n"}, {}, None, 2),
    ],
)
def test_container(
    tmp_path: Path, files: dict[str, str], environment: dict[str, str], kind: str | None, version: int | None
) -> None:
    measured = ContainerProbe(write(tmp_path, files), environment).measure({})
    assert (measured["kind"], measured["cgroup_version"]) == (kind, version)
    assert "alice" not in json.dumps(measured)


def test_slurm_keeps_the_shape_and_leaves_out_people_and_places(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    assert SlurmProbe().measure({}) == {"in_job": False, "variables": {}, "left_out": 0}
    shape = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "3", "SLURM_TASKS_PER_NODE": "2(x3)", "SLURM_MEM_PER_NODE": "4G"}
    personal = {
        "SLURM_JOB_USER": "alice", "SLURM_JOB_ACCOUNT": "smithlab", "SLURM_SUBMIT_DIR": "/home/alice",
        "SLURM_JOB_NODELIST": "node01", "SLURM_SUBMIT_HOST": "login1", "SLURM_JOB_PARTITION": "smith",
        "SLURM_CLUSTER_NAME": "mpi", "SLURM_JOB_NAME": "for-alice",
    }  # fmt: skip
    for name, value in (shape | personal | {"SLURM_HINT": "/home/alice/x"}).items():
        monkeypatch.setenv(name, value)
    assert SlurmProbe().measure({}) == {"in_job": True, "variables": shape, "left_out": 1}


def test_system_agrees_with_uname() -> None:
    measured = SystemProbe().measure({})
    assert measured["kernel_release"] == told("uname", "-r")
    assert measured["architecture"] == told("uname", "-m")
    assert measured["limits"]["open_files"] == int(told("sh", "-c", "ulimit -n"))


def test_system_leaves_out_serial_numbers(tmp_path: Path) -> None:
    dmi = "sys/class/dmi/id"
    root = write(
        tmp_path,
        {f"{dmi}/sys_vendor": "Dell Inc.", f"{dmi}/product_name": "PowerEdge R740", f"{dmi}/product_serial": "S3R1AL",
         f"{dmi}/product_uuid": "UU1D", "etc/hostname": "secret-host", "etc/os-release": 'ID=rocky\nVERSION_ID="9"\n'},
    )  # fmt: skip
    measured = SystemProbe(root).measure({})
    assert measured["hardware_product"] == "PowerEdge R740"
    assert measured["distribution"] == {"id": "rocky", "version_id": "9", "pretty_name": None}
    assert not re.search("S3R1AL|UU1D|secret-host", json.dumps(measured))


def test_every_probe_is_registered_once_with_a_summary() -> None:
    probes = list(cryorepro_probes())
    assert all(isinstance(probe, Probe) for probe in probes)
    wanted = "cpu memory system filesystems gpu python pytorch libraries relion cryosparc container slurm session cloud"
    assert sorted(probe.name for probe in probes) == sorted(wanted.split())
