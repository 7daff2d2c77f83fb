"""Prices from AWS's own list: a small file in its format, written by hand, and what may be wrong with such a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.model.hardware import Instance
from cryorepro.model.machines import Machines, load_machines, machine_problems
from cryorepro.model.price_list import PriceList, read_price_list
from cryorepro.model.price_update import update_prices, write_instances
from cryorepro.model.strict_yaml import load_named


def product(sku: str, name: str, family: str = "Compute Instance", **changed: str) -> dict[str, Any]:
    attributes = {
        "servicecode": "AmazonEC2", "location": "US East (N. Virginia)", "locationType": "AWS Region",
        "instanceType": name, "vcpu": "4", "memory": "16 GiB", "tenancy": "Shared", "operatingSystem": "Linux",
        "preInstalledSw": "NA", "capacitystatus": "Used", "regionCode": "us-east-1", "marketoption": "OnDemand",
    }  # fmt: skip
    return {"sku": sku, "productFamily": family, "attributes": attributes | changed}


def term(sku: str, usd: str) -> dict[str, Any]:
    offer = f"{sku}.JRTCKXETXF"
    rate = f"{offer}.6YS6EN2CT7"
    dimension = {
        "rateCode": rate, "description": f"${usd} per hour", "beginRange": "0", "endRange": "Inf",
        "unit": "Hrs", "pricePerUnit": {"USD": usd}, "appliesTo": [],
    }  # fmt: skip
    fields = {"offerTermCode": "JRTCKXETXF", "sku": sku, "effectiveDate": "2026-11-01T00:00:00Z", "termAttributes": {}}
    return {offer: {"priceDimensions": {rate: dimension}} | fields}


def small_list() -> dict[str, Any]:
    """Two instances that are wanted, and one each of what must be left out."""
    products = [
        product("A1", "g4dn.xlarge"),
        product("A2", "g4dn.metal", "Compute Instance (bare metal)"),
        product("B1", "g4dn.xlarge", operatingSystem="Windows"),
        product("B2", "g4dn.xlarge", tenancy="Dedicated"),
        product("B3", "g4dn.xlarge", preInstalledSw="SQL Web"),
        product("B4", "g4dn.xlarge", capacitystatus="UnusedCapacityReservation"),
        product("B5", "g4dn.xlarge", regionCode="eu-west-2"),
        product("B6", "p5.48xlarge", marketoption="CapacityBlock"),
        {"sku": "C1", "productFamily": "Storage", "attributes": {"volumeApiName": "gp3"}},
    ]
    prices = {"A1": "0.5260000000", "A2": "7.9000000000", "B6": "0.0000000000"}
    return {
        "formatVersion": "v1.0",
        "disclaimer": "an example",
        "offerCode": "AmazonEC2",
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
        "products": {one["sku"]: one for one in products},
        "terms": {
            "OnDemand": {one["sku"]: term(one["sku"], prices.get(one["sku"], "9.99")) for one in products},
            "Reserved": {},
        },
        "attributesList": {},
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_on_demand_prices_of_shared_linux_instances(tmp_path: Path) -> None:
    listed = read_price_list(write(tmp_path / "index.json", small_list()), "us-east-1")
    assert listed == PriceList(date(2026, 11, 1), "us-east-1", {"g4dn.xlarge": 0.526, "g4dn.metal": 7.9})
    london = read_price_list(tmp_path / "index.json", "eu-west-2")
    assert london.usd_per_hour == {"g4dn.xlarge": 9.99}


def _set(content: dict[str, Any], *path: str, value: Any) -> None:
    for part in path[:-1]:
        content = content[part]
    content[path[-1]] = value


A1 = ("terms", "OnDemand", "A1", "A1.JRTCKXETXF")
RATE = (*A1, "priceDimensions", "A1.JRTCKXETXF.6YS6EN2CT7")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: _set(c, "formatVersion", value="v2.0"), "formatVersion 'v2.0'"),
        (lambda c: _set(c, "offerCode", value="AmazonS3"), "offerCode 'AmazonS3'"),
        (lambda c: _set(c, "publicationDate", value="soon"), "field 'publicationDate' is 'soon'"),
        (lambda c: _set(c, "products", value=[]), "field 'products' is missing or not an object"),
        (lambda c: _set(c, "terms", "OnDemand", value=3), "field 'terms.OnDemand'"),
        (lambda c: _set(c, "products", "A1", value="x"), "field 'products.A1.attributes'"),
        (lambda c: _set(c, "products", "A1", "attributes", "instanceType", value=""), "A1.attributes.instanceType"),
        (lambda c: _set(c, *A1, value={}), "field 'terms.OnDemand.A1.A1.JRTCKXETXF.priceDimensions'"),
        (lambda c: _set(c, *RATE, "unit", value="Quantity"), "unit' is not 'Hrs'"),
        (lambda c: _set(c, *RATE, "pricePerUnit", value={"EUR": "1"}), "pricePerUnit.USD' is None"),
        (lambda c: _set(c, *RATE, "pricePerUnit", value={"USD": "0.0"}), "pricePerUnit.USD' is '0.0'"),
        (lambda c: _set(c, *RATE, "pricePerUnit", value={"USD": "-1"}), "pricePerUnit.USD' is '-1'"),
        (lambda c: _set(c, *RATE, "pricePerUnit", value={"USD": "nan"}), "pricePerUnit.USD' is 'nan'"),
        (lambda c: _set(c, *RATE, "pricePerUnit", value={"USD": "1e9"}), "pricePerUnit.USD' is '1e9'"),
        (lambda c: _set(c, *RATE, "pricePerUnit", value={"USD": 0.5}), "pricePerUnit.USD' is 0.5"),
        (lambda c: _set(c, "products", "A3", value=product("A3", "g4dn.xlarge")) or
         _set(c, "terms", "OnDemand", "A3", value=term("A3", "0.6")), "two prices for g4dn.xlarge"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    content = small_list()
    change(content)
    with pytest.raises(InputError, match="index.json") as raised:
        read_price_list(write(tmp_path / "index.json", content), "us-east-1")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, "\x00", '{"formatVersion": "v1.0"}'],
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="index.json"):
        read_price_list(write(tmp_path / "index.json", text), "us-east-1")


def test_size_is_checked_before_the_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "index.json", small_list())
    with pytest.raises(InputError, match="at most 100 are read"):
        read_price_list(path, "us-east-1", maximum_bytes=100)
    sparse = tmp_path / "sparse.json"
    with sparse.open("wb") as file:
        file.truncate(700_000_000)
    with pytest.raises(InputError, match="700,000,000 bytes"):
        read_price_list(sparse, "us-east-1")


def test_an_unknown_region_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no on-demand price .* region 'mars-1'"):
        read_price_list(write(tmp_path / "index.json", small_list()), "mars-1")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_ends_in_another_error(tmp_path: Path, data: st.DataObject) -> None:
    """Any value of the list replaced by anything JSON can hold: read, or refused with a sentence."""
    content: Any = small_list()
    at = content
    while isinstance(at, dict) and at:
        key = data.draw(st.sampled_from(sorted(at)))
        if not isinstance(at[key], dict) or data.draw(st.booleans()):
            anything = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
            at[key] = data.draw(
                anything | st.lists(anything, max_size=2) | st.dictionaries(st.text(max_size=3), anything)
            )
            break
        at = at[key]
    try:
        read_price_list(write(tmp_path / "index.json", content), "us-east-1")
    except InputError as error:
        assert "index.json" in str(error)


@pytest.fixture
def shipped_instances() -> dict[str, Instance]:
    return load_machines().instances


def test_the_same_price_extends_its_dates(shipped_instances: dict[str, Instance]) -> None:
    listed = PriceList(date(2026, 11, 1), "us-east-1", {"g4dn.xlarge": 0.526})
    update = update_prices(shipped_instances, listed, "list")
    (price,) = update.instances["g4dn.xlarge"].prices
    assert (price.seen_from, price.seen_until) == (date(2022, 6, 23), date(2026, 11, 1))
    assert update.changes == []
    assert "g4dn.metal" in update.missing and "g4dn.xlarge" not in update.missing


def test_another_price_is_added(shipped_instances: dict[str, Instance]) -> None:
    listed = PriceList(date(2026, 11, 1), "us-east-1", {"g4dn.xlarge": 0.5, "p5e.48xlarge": 60.0, "new.large": 1.0})
    update = update_prices(shipped_instances, listed, "list of 2026-11-01")
    old, new = update.instances["g4dn.xlarge"].prices
    assert (old.usd_per_hour, new.usd_per_hour, new.source) == (0.526, 0.5, "list of 2026-11-01")
    assert update.changes == [
        "g4dn.xlarge: 0.526 -> 0.5 USD/h on 2026-11-01",
        "p5e.48xlarge: no price -> 60 USD/h on 2026-11-01",
    ]
    assert "new.large" not in update.instances
    machines = Machines(update.instances, load_machines().gpus, {})
    assert machine_problems(machines, date(2026, 11, 20)) == []


def test_an_older_list_goes_before(shipped_instances: dict[str, Instance]) -> None:
    update = update_prices(shipped_instances, PriceList(date(2021, 5, 10), "us-east-1", {"p3.16xlarge": 24.0}), "s")
    assert [one.usd_per_hour for one in update.instances["p3.16xlarge"].prices] == [24.0, 24.48]


def test_another_region_stands_beside(shipped_instances: dict[str, Instance]) -> None:
    update = update_prices(shipped_instances, PriceList(date(2024, 1, 1), "eu-west-2", {"g4dn.xlarge": 0.615}), "s")
    instance = update.instances["g4dn.xlarge"]
    here, there = instance.price_on(date(2024, 1, 1)), instance.price_on(date(2024, 1, 1), "eu-west-2")
    assert here and there
    assert (here.usd_per_hour, there.usd_per_hour) == (0.526, 0.615)


def test_two_prices_for_one_day_are_refused(shipped_instances: dict[str, Instance]) -> None:
    with pytest.raises(InputError, match="g4dn.xlarge: 0.6 USD/h on 2024-01-01, but the registry has 0.526"):
        update_prices(shipped_instances, PriceList(date(2024, 1, 1), "us-east-1", {"g4dn.xlarge": 0.6}), "s")


def test_what_is_written_is_read_again(tmp_path: Path, shipped_instances: dict[str, Instance]) -> None:
    path = tmp_path / "instances.yaml"
    write_instances(path, shipped_instances)
    assert load_named(path, Instance, lambda one: one.name) == shipped_instances
    assert [one.name for one in tmp_path.iterdir()] == ["instances.yaml"]
    with pytest.raises(InputError, match="cannot be written"):
        write_instances(tmp_path / "nowhere" / "instances.yaml", shipped_instances)
