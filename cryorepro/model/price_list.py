"""AWS's bulk price list for EC2 (JSON, format version v1.0): on-demand prices of shared Linux instances in one region.

The file is the user's; nothing is downloaded. It has ``products`` (what is sold, by stock number) and ``terms`` (what
it costs); a product's price is at terms.OnDemand.<sku>.<offer>.priceDimensions.<rate>.pricePerUnit.USD. Instances sold
in capacity blocks carry a price of zero there and are left out.
See "Reading the service price list file" in AWS's billing guide.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError

MAXIMUM_BYTES = 600_000_000
MAXIMUM_USD_PER_HOUR = 10_000.0


@dataclass(frozen=True)
class PriceList:
    """Prices in USD an hour by instance name, as published on one day."""

    published: date
    region: str
    usd_per_hour: dict[str, float]


def read_price_list(path: Path, region: str, maximum_bytes: int = MAXIMUM_BYTES) -> PriceList:
    """Read the on-demand prices of one region.

    Raises:
        InputError: too large, not JSON, not this format, an unreadable price, two prices for one instance, or none.
    """
    content = _load(path, maximum_bytes)
    version, offer = content.get("formatVersion"), content.get("offerCode")
    if version != "v1.0" or offer != "AmazonEC2":
        raise InputError(
            f"{path}: formatVersion {version!r} of offerCode {offer!r}; 'v1.0' of 'AmazonEC2' was expected"
        )
    products, terms = _mapping(path, content, "products"), _mapping(path, content, "terms")
    demand = _mapping(path, terms, "OnDemand", "terms.")
    prices: dict[str, float] = {}
    for sku, name in _instances(path, products, region):
        for price in _prices(path, demand.get(sku, {}), sku):
            if prices.setdefault(name, price) != price:
                raise InputError(f"{path}: terms.OnDemand.{sku}: two prices for {name}, {prices[name]:g} and {price:g}")
    if not prices:
        raise InputError(f"{path}: no on-demand price of a shared Linux instance in region '{region}'")
    return PriceList(_published(path, content), region, prices)


def _load(path: Path, maximum_bytes: int) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > maximum_bytes:
            raise InputError(
                f"{path}: {size:,} bytes, at most {maximum_bytes:,} are read; take the file of one region, not of all"
            )
        content = json.loads(path.read_bytes(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, _Repeated) as error:
        raise InputError(f"{path}: not the JSON of a price list ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON object was expected")
    return content


class _Repeated(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repeated("a key is given twice in one object")
    return found


def _no_constant(name: str) -> float:
    raise _Repeated(f"{name} is not a number here")


def _mapping(path: Path, parent: dict[str, Any], key: str, prefix: str = "") -> dict[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        raise InputError(f"{path}: field '{prefix}{key}' is missing or not an object")
    return value


def _instances(path: Path, products: dict[str, Any], region: str) -> Iterator[tuple[str, str]]:
    """Stock number and name of each plain shared Linux instance of the region."""
    wanted = {
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "regionCode": region,
    }
    for sku, product in products.items():
        attributes = product.get("attributes") if isinstance(product, dict) else None
        if not isinstance(attributes, dict):
            raise InputError(f"{path}: field 'products.{sku}.attributes' is missing or not an object")
        if not str(product.get("productFamily", "")).startswith("Compute Instance"):
            continue
        on_demand = attributes.get("marketoption", "OnDemand") == "OnDemand"
        if on_demand and all(attributes.get(name) == value for name, value in wanted.items()):
            name = attributes.get("instanceType")
            if not isinstance(name, str) or not name:
                raise InputError(f"{path}: field 'products.{sku}.attributes.instanceType' is missing")
            yield sku, name


def _prices(path: Path, offers: Any, sku: str) -> Iterator[float]:
    place = f"terms.OnDemand.{sku}"
    if not isinstance(offers, dict):
        raise InputError(f"{path}: field '{place}' is not an object")
    for offer, term in offers.items():
        dimensions = _mapping(path, term if isinstance(term, dict) else {}, "priceDimensions", f"{place}.{offer}.")
        for rate, dimension in dimensions.items():
            here = f"{place}.{offer}.priceDimensions.{rate}"
            if not isinstance(dimension, dict) or dimension.get("unit") != "Hrs":
                raise InputError(f"{path}: field '{here}.unit' is not 'Hrs'")
            yield _usd(path, dimension.get("pricePerUnit"), here)


def _usd(path: Path, price: Any, place: str) -> float:
    text = price.get("USD") if isinstance(price, dict) else None
    try:
        value = float(text) if isinstance(text, str) else float("nan")
    except ValueError:
        value = float("nan")
    if not 0 < value <= MAXIMUM_USD_PER_HOUR:
        raise InputError(f"{path}: field '{place}.pricePerUnit.USD' is {text!r}, not a price of an hour")
    return value


def _published(path: Path, content: dict[str, Any]) -> date:
    text = content.get("publicationDate")
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).date()
    except ValueError as error:
        raise InputError(f"{path}: field 'publicationDate' is {text!r}, not a date") from error
