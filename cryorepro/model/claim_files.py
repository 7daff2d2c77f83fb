"""Files of claims: a list of claims and groups, where a group gives its claims the fields they share.

    - common: {dataset: empiar-10338, software: RELION 3.1.2, quality: primary}
      claims:
        - {id: a, quantity: wall_time, value: 10.5, unit: seconds, …}

Groups nest. A claim's own field wins over its group's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cryorepro.em.errors import InputError
from cryorepro.model.claim import Claim
from cryorepro.model.strict_yaml import Location, compose, explain, plain

_GROUP = {"common", "claims"}


def load_claim_file(path: Path) -> list[Claim]:
    """The claims of one file.

    Raises:
        InputError: not plain YAML, or a field is wrong; names file, line and field.
    """
    node = compose(path)
    content = plain(node, path)
    if not isinstance(content, list):
        raise InputError(f"{path}:1: a list of claims was expected")
    claims = []
    for location, fields, groups in _flat(path, content, (), {}, ()):
        try:
            claims.append(Claim.model_validate(fields))
        except ValidationError as error:
            raise InputError(explain(path, node, error, _blame(content, location, groups, error))) from error
    return claims


Found = tuple[Location, dict[str, Any], tuple[Location, ...]]


def _flat(
    path: Path, items: list[Any], prefix: Location, common: Mapping[str, Any], groups: tuple[Location, ...]
) -> Iterator[Found]:
    """Each claim with its place in the file, its merged fields, and the places of the ``common`` above it."""
    for index, item in enumerate(items):
        here: Location = (*prefix, index)
        if not isinstance(item, dict):
            raise InputError(f"{path}: item {'.'.join(map(str, here))} is neither a claim nor a group")
        if not _GROUP & set(item):
            yield here, {**common, **item}, groups
            continue
        unknown = sorted(set(item) - _GROUP)
        if unknown:
            raise InputError(f"{path}: group {'.'.join(map(str, here))}: a group has no field '{unknown[0]}'")
        shared, members = item.get("common", {}), item.get("claims")
        if not isinstance(shared, dict) or not isinstance(members, list):
            raise InputError(f"{path}: group {'.'.join(map(str, here))}: 'common' is a mapping and 'claims' a list")
        yield from _flat(path, members, (*here, "claims"), {**common, **shared}, ((*here, "common"), *groups))


def _blame(content: Any, location: Location, groups: tuple[Location, ...], error: ValidationError) -> Location:
    """The claim itself, or the innermost group that gave it the wrong field."""
    field = error.errors()[0]["loc"][0] if error.errors()[0]["loc"] else None
    for place in (location, *groups):
        if field in _at(content, place):
            return place
    return location


def _at(content: Any, location: Location) -> Mapping[str, Any]:
    for part in location:
        content = content[part]
    return content if isinstance(content, dict) else {}
