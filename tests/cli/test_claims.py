"""``cryorepro claims`` and ``cryorepro registry`` as a person uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from xml.etree import ElementTree

import pytest
import yaml

from cryorepro.model.registry import load_claims
from cryorepro.model.shipped import shipped
from cryorepro.model.workload import load_workloads

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_check_lists_contradictions_with_two_sources(cryorepro: Command) -> None:
    done = cryorepro("claims", "check", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    both = next(one for one in report["findings"] if "28.89 USD and 99.64 USD" in one["message"])
    assert {one["source"] for one in both["claims"]} == {
        "Cianfrocco and Leschziner 2015, eLife 4:e06664",
        "Cianfrocco and Leschziner, preprint of EM-packages-in-the-Cloud",
    }
    assert all(one["locator"] for finding in report["findings"] for one in finding["claims"])
    assert all(one["noted"] for one in report["findings"])


def test_check_for_a_person(cryorepro: Command) -> None:
    done = cryorepro("claims", "check", "--rule", "conflict")
    text = " ".join(done.stdout.split())
    assert done.returncode == 0
    assert "197 m 51 s and 198 m 51 s are both given as the wall time of one run" in text
    assert "summary at the top of the page" in text and "results table, row 1 x A10G" in text
    assert f"{len(load_claims()):,} claims, {text.count('conflict:')} contradictions, 0 not noted yet" in text
    assert "aws-guide-nu-speedup" in text


def test_exit_codes_of_check(cryorepro: Command) -> None:
    assert cryorepro("claims", "check", "--strict", "--rule", "across").returncode == 1
    assert cryorepro("claims", "check", "--strict", "--rule", "shells").returncode == 0
    unknown = cryorepro("claims", "check", "--rule", "taste")
    assert unknown.returncode == 2 and "no rule is called 'taste'; rules: arithmetic" in unknown.stderr


def test_a_contradiction_that_nobody_noted_fails_the_check(cryorepro: Command, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    copytree(shipped("registry"), registry)
    assert cryorepro("claims", "check", "--directory", str(registry)).returncode == 0
    claims = registry / "claims" / "empiar-10288.yaml"
    claims.write_text(claims.read_text().replace("value: 91.40,", "value: 94.10,").replace('"91.40"', '"94.10"'))
    done = cryorepro("claims", "check", "--directory", str(registry), "--rule", "prices")
    assert done.returncode == 1
    assert "implies 33.67 to 33.79 USD/h for p4d.24xlarge" in " ".join(done.stdout.split())
    assert "nobody noted this on a claim yet" in done.stdout


def test_list_and_show(cryorepro: Command) -> None:
    listed = json.loads(cryorepro("claims", "list", "empiar-10288", "--quantity", "wall_time", "--json").stdout)
    assert {one["value"] for one in listed} == {10044, 17280, 12240, 15444, 12420}
    shown = json.loads(cryorepro("claims", "show", "clusterra-2026-speedup-4xa10g", "--json").stdout)
    assert shown["locator"] == "scaling paragraph: 2.07 from one to four A10G"
    assert "it would be with clusterra-2026-wall-1xa10g-headline" in shown["findings"][0]["message"]
    text = cryorepro("claims", "show", "clusterra-2026-resolution").stdout
    assert "results table, resolution after iteration 25" in text and "9.65" in text
    for arguments in (("show", "nothing"), ("list", "empiar-1"), ("table", "empiar-1")):
        done = cryorepro("claims", *arguments)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


def test_table_names_times_costs_and_gaps(cryorepro: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = cryorepro("claims", "table", "empiar-10288").stdout.splitlines()
    (row,) = [line for line in lines if "aws-guide-wall-p4d.24xlarge" in line]
    assert "2.79 h" in row and "91.4 USD" in row and "8 x NVIDIA A100" in row
    assert any(line.startswith("not read: run time of every stage") for line in lines)
    runs = json.loads(cryorepro("claims", "table", "relion-class3d-emp10028-K6-25it", "--json").stdout)
    rows = {one["time"]["id"]: one for one in runs["relion-class3d-emp10028-K6-25it"]}
    assert rows["stfc-10028-pearl-28270-class3d"]["doubts"] == ["ignored-option", "too-short"]
    assert rows["readme-wall-1xeon6148"]["doubts"] == []
    assert rows["clusterra-2026-wall-1xa10g-table"]["resolution"]["shell"] == 50
    assert [one["time"]["value"] for one in rows.values()] == sorted(one["time"]["value"] for one in rows.values())


def test_plot_draws_every_time(cryorepro: Command, tmp_path: Path) -> None:
    output = tmp_path / "times.svg"
    done = cryorepro("claims", "plot", "empiar-10028", "-o", str(output))
    assert done.returncode == 0, done.stderr
    texts = output.read_text()
    times = [one for one in load_claims().values() if one.dataset == "empiar-10028" and one.quantity == "wall_time"]
    assert f"{len(times)} published times of {len({one.workload for one in times})} workloads" in done.stdout
    ElementTree.fromstring(texts)
    for label in ("4 x NVIDIA RTX 3090; RELION 3.1", "wall time / hours", "ignored-option, too-short", "Clusterra"):
        assert f">{label}<" in texts
    again = tmp_path / "again.svg"
    cryorepro("claims", "plot", "empiar-10028", "-o", str(again))
    assert again.read_bytes() == output.read_bytes()
    assert cryorepro("claims", "plot", "empiar-10028", "-o", str(tmp_path / "times.docx")).returncode == 2
    assert cryorepro("claims", "plot", "empiar-10390", "-o", str(output)).returncode == 2


def test_registry_check_and_machines(cryorepro: Command, tmp_path: Path) -> None:
    done = cryorepro("registry", "check")
    assert done.returncode == 0 and f"{len(load_claims()):,} claims, {len(load_workloads())} workloads" in done.stdout
    assert cryorepro("registry", "check", "--directory", str(tmp_path)).returncode == 2
    machines = {one["name"]: one for one in json.loads(cryorepro("registry", "machines", "--json").stdout)}
    assert machines["g4dn.metal"]["vcpu"] == 96
    assert "g4dn.metal: The CryoSPARC guide" in cryorepro("registry", "machines").stdout


def test_prices_from_the_providers_file(cryorepro: Command, tmp_path: Path) -> None:
    attributes = {
        "instanceType": "g4dn.xlarge", "tenancy": "Shared", "operatingSystem": "Linux", "preInstalledSw": "NA",
        "capacitystatus": "Used", "regionCode": "us-east-1",
    }  # fmt: skip
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": "0.5100000000"}}
    content = {
        "formatVersion": "v1.0",
        "offerCode": "AmazonEC2",
        "publicationDate": "2026-11-01T00:00:00Z",
        "products": {"A1": {"productFamily": "Compute Instance", "attributes": attributes}},
        "terms": {"OnDemand": {"A1": {"A1.X": {"priceDimensions": {"A1.X.Y": dimension}}}}},
    }
    source, output = tmp_path / "index.json", tmp_path / "instances.yaml"
    source.write_text(json.dumps(content))
    done = cryorepro("registry", "prices", str(source), "-o", str(output))
    assert done.returncode == 0, done.stderr
    assert "g4dn.xlarge: 0.526 -> 0.51 USD/h on 2026-11-01" in done.stdout
    written = {one["name"]: one for one in yaml.safe_load(output.read_text())}
    assert [price["usd_per_hour"] for price in written["g4dn.xlarge"]["prices"]] == [0.526, 0.51]
    source.write_text("{}")
    refused = cryorepro("registry", "prices", str(source), "-o", str(tmp_path / "other.yaml"))
    assert refused.returncode == 2 and not (tmp_path / "other.yaml").exists()


@pytest.mark.parametrize("arguments", [["claims", "--help"], ["claims", "check"], ["registry", "check"]])
def test_no_command_but_plot_imports_anything_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['cryorepro', *{arguments!r}]\n"
        "try:\n    runpy.run_module('cryorepro', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print('HEAVY', [name for name in ('torch', 'numpy', 'scipy', 'matplotlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("HEAVY []\n"), done.stdout[-300:]
