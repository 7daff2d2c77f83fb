"""Machines and prices: what ships is consistent, what contradicts itself is said."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from shutil import copytree

import pytest

from cryorepro.em.errors import InputError
from cryorepro.model.hardware import Instance, Price
from cryorepro.model.machines import load_machines, machine_problems
from cryorepro.model.registry_check import check_registry
from cryorepro.model.shipped import shipped

TODAY = date(2026, 11, 20)


def test_the_shipped_registry_is_consistent() -> None:
    report = check_registry(None, TODAY)
    assert report.problems == []
    assert all(count > 0 for count in report.counts.values()) and len(report.counts) == 6


def test_prices_by_date() -> None:
    p4d = load_machines().instances["p4d.24xlarge"]
    before, after, guide = (p4d.price_on(date(*day)) for day in ((2024, 1, 1), (2026, 1, 1), (2021, 5, 10)))
    assert before and after and guide
    assert (before.usd_per_hour, after.usd_per_hour, guide.usd_per_hour) == (32.7726, 21.957642, 32.7726)
    assert p4d.price_on(TODAY, region="eu-west-2") is None
    assert load_machines().instances["p5e.48xlarge"].price_on(TODAY) is None


def test_a_family_leaves_out_flagged_entries() -> None:
    machines = load_machines()
    assert {gpu.name for gpu in machines.family("V100")} == {"V100-SXM2-32-GB", "V100-PCIe-16-GB", "V100-SXM3-32-GB"}
    assert machines.family("B200") == []


def price(usd: float, first: date, last: date) -> Price:
    return Price(
        region="us-east-1", usd_per_hour=usd, seen_from=first, seen_until=last, source="s", quality="secondary"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"gpus": {"model": "T5", "count": 1, "memory_mib_each": 1}}, "its GPU 'T5' is not in gpus.yaml"),
        ({"gpus": {"model": "T4", "count": 1, "memory_mib_each": 24000}}, "but T4 has 16 GB"),
        ({"vcpu": None}, "no vCPU count"),
        (
            {"prices": [price(1, date(2022, 1, 1), date(2023, 1, 1)), price(2, date(2022, 6, 1), date(2024, 1, 1))]},
            "two prices on 2022-06-01",
        ),
        ({"prices": [price(1, date(2022, 1, 1), date(2030, 1, 1))]}, "which has not come yet"),
    ],
)
def test_inconsistent_entries_are_named(change: dict[str, object], problem: str) -> None:
    machines = load_machines()
    fields = machines.instances["g4dn.xlarge"].model_dump() | change
    machines.instances["g4dn.xlarge"] = Instance.model_validate(fields)
    found = machine_problems(machines, TODAY)
    assert len(found) == 1 and found[0].startswith("g4dn.xlarge: ") and problem in found[0]


def test_references_between_files_are_followed(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    copytree(shipped("registry"), registry)
    claims = registry / "claims" / "cloud-prices.yaml"
    claims.write_text(claims.read_text().replace("instance: g5.xlarge", "instance: g5.tiny"))
    workloads = registry / "workloads.yaml"
    workloads.write_text(workloads.read_text() + "- {key: unused, dataset: none, title: nothing}\n")
    problems = check_registry(registry, TODAY).problems
    assert "claim clusterra-2026-spot-g5.xlarge: instance 'g5.tiny' is not in instances.yaml" in problems
    assert "workload unused: no claim names it" in problems
    assert len(problems) == 2


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("instances.yaml", "vcpu: 36", "vcpu: -36", "field '0.vcpu'"),
        ("instances.yaml", "usd_per_hour: 1.944", "usd_per_hour: cheap", "field '0.prices.0.usd_per_hour'"),
        ("instances.yaml", "seen_until: 2026-07-20", "seen_until: 2020-07-20", "lies before seen_from"),
        ("gpus.yaml", "- name: T4", "- name: K80", "'K80' is listed twice"),
        ("storage.yaml", "  kind: object", "  sort: x\n  kind: object", "this key is not known here"),
    ],
)
def test_a_malformed_registry_is_refused(tmp_path: Path, name: str, old: str, new: str, message: str) -> None:
    registry = tmp_path / "registry"
    copytree(shipped("registry"), registry)
    path = registry / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=name) as raised:
        load_machines(registry)
    assert message in str(raised.value)
