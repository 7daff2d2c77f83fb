"""A flattened JSON-LD graph: entities by identifier, each given once."""

from __future__ import annotations

from typing import Any

Entity = dict[str, Any]


class Graph:
    """Entities in the order they were added."""

    def __init__(self) -> None:
        self._entities: dict[str, Entity] = {}

    def add(self, identifier: str, kind: str | list[str], /, **properties: Any) -> Entity:
        """Add an entity and return the reference to it; properties that are None or empty are left out.

        An identifier that is there already keeps its first entity.
        """
        kept = {name: _single(value) for name, value in properties.items() if value not in (None, "", [])}
        self._entities.setdefault(identifier, {"@id": identifier, "@type": kind, **kept})
        return reference(identifier)

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._entities

    def entities(self) -> list[Entity]:
        """All of them."""
        return list(self._entities.values())


def reference(identifier: str) -> Entity:
    """What stands for an entity elsewhere."""
    return {"@id": identifier}


def _single(value: Any) -> Any:
    """A list of one is written as the one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
