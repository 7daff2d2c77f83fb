"""Probes of cloud, locale, clock, libraries, CryoSPARC and container image."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryorepro_probes.cloud import CloudProbe
from cryorepro_probes.container import ContainerProbe
from cryorepro_probes.cpu import CpuProbe
from cryorepro_probes.cryosparc import CryosparcProbe
from cryorepro_probes.libraries import LibrariesProbe
from cryorepro_probes.memory import MemoryProbe
from cryorepro_probes.session import SessionProbe

from tests.plugins.showing import told, write


class Metadata(BaseHTTPRequestHandler):
    """The three metadata services, each with the header it insists on."""

    asked: list[str] = []
    delay_s = 0.0

    def do_PUT(self) -> None:
        self._answer("TOKEN" if self.path == "/latest/api/token" else None)

    def do_GET(self) -> None:
        answers = {
            "/latest/meta-data/instance-type": ("X-aws-ec2-metadata-token", "p5.48xlarge"),
            "/latest/meta-data/placement/region": ("X-aws-ec2-metadata-token", "eu-west-1"),
            "/computeMetadata/v1/instance/machine-type": ("Metadata-Flavor", "projects/123456/machineTypes/a3-mega"),
            "/computeMetadata/v1/instance/zone": ("Metadata-Flavor", "projects/123456/zones/europe-west4-b"),
            "/metadata/instance/compute": (
                "Metadata",
                json.dumps({"vmSize": "Standard_ND96isr_H100_v5", "location": "westeurope", "account": "zzsecret"}),
            ),
        }  # fmt: skip
        header, text = answers.get(self.path.partition("?")[0], ("", None))
        self._answer(text if header in self.headers and self.server.kind in header.lower() else None)  # type: ignore[attr-defined]

    def _answer(self, text: str | None) -> None:
        self.asked.append(self.path)
        time.sleep(self.delay_s)
        self.send_response(404 if text is None else 200)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # the probe did not wait
            self.wfile.write((text or "").encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    Metadata.asked, Metadata.delay_s = [], 0.0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize(
    ("vendor", "kind", "expected"),
    [
        ("Amazon EC2", "aws", ("aws", "p5.48xlarge", "eu-west-1")),
        ("Google", "flavor", ("gcp", "a3-mega", "europe-west4-b")),
        ("Microsoft Corporation", "metadata", ("azure", "Standard_ND96isr_H100_v5", "westeurope")),
    ],
)
def test_a_known_cloud_tells_its_instance_type_and_nothing_personal(
    tmp_path: Path, service: ThreadingHTTPServer, vendor: str, kind: str, expected: tuple[str, str, str]
) -> None:
    service.kind = kind  # type: ignore[attr-defined]
    root = write(tmp_path, {
        "sys/class/dmi/id/sys_vendor": vendor,
        "sys/class/dmi/id/chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77",
    })  # fmt: skip
    probe = CloudProbe(root, url(service), {})
    measured = probe.measure({})
    assert (measured["cloud"], measured["instance_type"], measured["region"]) == expected
    assert "123456" not in json.dumps(measured)
    assert "zzsecret" not in json.dumps([measured, probe.raw()])


def test_elsewhere_no_service_is_asked(tmp_path: Path, service: ThreadingHTTPServer) -> None:
    service.kind = "aws"  # type: ignore[attr-defined]
    assert CloudProbe(tmp_path, url(service), {}).measure({})["asked"] is False
    hyper_v = write(tmp_path, {"sys/class/dmi/id/sys_vendor": "Microsoft Corporation"})
    assert CloudProbe(hyper_v, url(service), {}).measure({})["asked"] is False
    ec2 = write(tmp_path, {"sys/class/dmi/id/sys_vendor": "Amazon EC2"})
    assert CloudProbe(ec2, url(service), {"CRYOREPRO_CLOUD_METADATA": "0"}).measure({})["instance_type"] is None
    assert Metadata.asked == []


def test_a_service_that_hangs_costs_a_fraction_of_a_second(tmp_path: Path, service: ThreadingHTTPServer) -> None:
    service.kind, Metadata.delay_s = "aws", 5.0  # type: ignore[attr-defined]
    started = time.perf_counter()
    measured = CloudProbe(tmp_path, url(service), {"CRYOREPRO_CLOUD_METADATA": "1"}).measure({})
    assert (measured["asked"], measured["instance_type"]) == (True, None)
    assert time.perf_counter() - started < 2.0, "three services of 200 ms each"


def test_clock_and_locale() -> None:
    measured = SessionProbe().measure({})
    assert measured["utc_offset_minutes"] == int(told("date", "+%z")[:-2]) * 60 + int(told("date", "+%z")[-2:])
    assert set(measured["clock"]) == {"synchronised", "offset_us", "maximum_error_us", "estimated_error_us"}
    assert measured["clock"]["maximum_error_us"] >= 0
    assert measured["decimal_point"] == told("locale", "decimal_point")


def test_a_locale_that_is_a_path_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "/home/alice/locale")
    assert SessionProbe().measure({})["locale"]["LANG"] == "(withheld)"


def test_libraries_are_those_the_programs_load() -> None:
    measured = LibrariesProbe().measure({})
    assert any(name.startswith("libfftw3") for name in measured["relion"]), "RELION computes transforms with FFTW"
    program = "import numpy, scipy.linalg, sys; print(open('/proc/self/maps').read())"
    maps = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = {line.rpartition("/")[2] for line in maps.splitlines() if "openblas" in line}
    bundled = {name.partition("/")[2] for name in measured["bundled"]}
    assert loaded
    assert loaded <= bundled, "what NumPy and SciPy load is named"


def test_cryosparc_tells_its_version_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "cryosparc_master" / "bin"))
    assert CryosparcProbe().measure({}) == {"found": False, "master": None, "worker": None}
    write(tmp_path, {"cryosparc_master/bin/cryosparcm": "#!/bin/sh\n", "cryosparc_master/version": "v5.0.3\n"})
    (tmp_path / "cryosparc_master" / "bin" / "cryosparcm").chmod(0o755)
    assert CryosparcProbe().measure({}) == {"found": True, "master": "v5.0.3", "worker": None}


def test_an_images_digest_is_measured_or_said_to_be_declared(tmp_path: Path) -> None:
    image = tmp_path / "relion.sif"
    image.write_bytes(b"an image" * 1000)
    labels = '{"org.label-schema.usage.singularity.deffile.from": "debian:13", "maintainer": "alice"}'
    root = write(tmp_path / "root", {".singularity.d/labels.json": labels})
    measured = ContainerProbe(root, {"APPTAINER_CONTAINER": str(image)}).measure({})
    assert measured["image_sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert measured["image_from"] == "debian:13"
    assert "alice" not in json.dumps(measured)
    declared = "sha256:" + "0" * 64
    measured = ContainerProbe(tmp_path, {"CRYOREPRO_IMAGE_DIGEST": declared}).measure({})
    assert (measured["image_sha256"], measured["image_declared"]) == (None, declared)


def test_numa_and_huge_pages_of_a_shown_machine(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "proc/meminfo": "MemTotal: 1000 kB\nHugePages_Total: 8\nHugePages_Free: 3\nHugepagesize: 2048 kB\n",
        "sys/kernel/mm/transparent_hugepage/defrag": "always defer [defer+madvise] madvise never\n",
        "sys/devices/system/node/node0/cpulist": "0-3",
        "sys/devices/system/node/node0/distance": "10 21",
        "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal:  600 kB\nNode 0 MemFree: 100 kB\n",
        "sys/devices/system/node/node1/cpulist": "4-7",
        "sys/devices/system/node/node1/distance": "21 10",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3",
        "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4",
    })  # fmt: skip
    memory = MemoryProbe(root).measure({})
    assert (memory["huge_pages_free"], memory["huge_page_bytes"]) == (3, 2048 * 1024)
    assert memory["transparent_huge_pages_defrag"] == "defer+madvise"
    assert memory["nodes"][0] == {"index": 0, "total_bytes": 600 * 1024, "free_bytes": 100 * 1024}
    cpu = CpuProbe(root).measure({})
    assert cpu["numa"] == [
        {"index": 0, "cpus": "0-3", "distances": "10 21"},
        {"index": 1, "cpus": "4-7", "distances": "21 10"},
    ]
    assert cpu["thermal_throttle_events"] == 7
