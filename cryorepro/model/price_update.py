"""Prices from a provider's list, taken over into the registry of instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import yaml

from cryorepro.em.errors import InputError
from cryorepro.model.hardware import Instance, Price
from cryorepro.model.price_list import PriceList

_HEADER = "# Instances and on-demand prices. A price was seen between two dates; the day of a change is not known.\n"


@dataclass(frozen=True)
class Update:
    """The instances with the new prices, and a sentence for each price that changed or was first seen."""

    instances: dict[str, Instance]
    changes: list[str]
    missing: list[str]


def update_prices(instances: Mapping[str, Instance], listed: PriceList, source: str) -> Update:
    """Add what ``listed`` says to the instances of AWS that the registry knows.

    The same price as the last one seen extends its dates; another one is added after it. Instances that the registry
    does not know are left out, for their hardware is not in the list in a form that was checked.

    Raises:
        InputError: the list says another price for a day on which one was seen already.
    """
    updated: dict[str, Instance] = {}
    changes: list[str] = []
    missing: list[str] = []
    for name, instance in instances.items():
        price = listed.usd_per_hour.get(name)
        if instance.provider == "aws" and price is None:
            missing.append(name)
        if instance.provider != "aws" or price is None:
            updated[name] = instance
            continue
        prices, change = _merged(instance, price, listed, source)
        updated[name] = instance.model_copy(update={"prices": prices})
        if change:
            changes.append(change)
    return Update(updated, changes, missing)


def _merged(instance: Instance, usd: float, listed: PriceList, source: str) -> tuple[list[Price], str | None]:
    day = listed.published
    region = [price for price in instance.prices if price.region == listed.region and price.operating_system == "linux"]
    others = [price for price in instance.prices if price not in region]
    for price in region:
        if price.seen_from <= day <= price.seen_until:
            if price.usd_per_hour != usd:
                raise InputError(
                    f"{instance.name}: {usd:g} USD/h on {day}, but the registry has {price.usd_per_hour:g} from "
                    f"{price.seen_from} to {price.seen_until} ({price.source})"
                )
            return list(instance.prices), None
    nearest = min(region, key=lambda price: _distance(price, day), default=None)
    if nearest is not None and nearest.usd_per_hour == usd:
        first, last = min(nearest.seen_from, day), max(nearest.seen_until, day)
        wider = nearest.model_copy(update={"seen_from": first, "seen_until": last})
        return _ordered([wider if price is nearest else price for price in region]) + others, None
    new = Price(region=listed.region, usd_per_hour=usd, seen_from=day, seen_until=day, source=source, quality="primary")
    before = f"{nearest.usd_per_hour:g}" if nearest else "no price"
    return _ordered([*region, new]) + others, f"{instance.name}: {before} -> {usd:g} USD/h on {day}"


def _distance(price: Price, day: date) -> int:
    return max((price.seen_from - day).days, (day - price.seen_until).days)


def _ordered(prices: list[Price]) -> list[Price]:
    return sorted(prices, key=lambda price: price.seen_from)


def write_instances(path: Path, instances: Mapping[str, Instance]) -> None:
    """Write a registry file of instances, whole or not at all.

    Raises:
        InputError: the folder cannot be written to.
    """
    records = [instance.model_dump(mode="json", exclude_defaults=True) for instance in instances.values()]
    text = _HEADER + yaml.safe_dump(records, sort_keys=False, allow_unicode=True, width=120)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
