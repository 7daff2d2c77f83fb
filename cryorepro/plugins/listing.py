"""The catalogue as plain data: ``cryorepro plugins list --json``, and what a run records of its plugins."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.types import API_VERSION, KINDS


def listing(catalogue: Catalogue) -> dict[str, Any]:
    """Plugins with distribution, version, API version and contributions; refusals with their reason."""
    return {
        "api": API_VERSION,
        "plugins": [_plugin(asdict(plugin)) for plugin in catalogue.plugins],
        "refused": [
            {key: value for key, value in asdict(refusal).items() if key != "traceback"}
            for refusal in catalogue.refusals
        ],
        "disabled": list(catalogue.disabled),
        "notes": list(catalogue.notes),
        "contributions": [
            {
                "kind": kind,
                "name": entry.name,
                "summary": entry.descriptor.summary,
                "implementation": entry.descriptor.implementation,
                "plugin": entry.plugin,
                "distribution": entry.distribution,
                "version": entry.version,
                "requires": asdict(entry.descriptor.requires),
            }
            for kind in KINDS
            for entry in catalogue.all(kind)
        ],
    }


def _plugin(plugin: dict[str, Any]) -> dict[str, Any]:
    provenance: dict[str, Any] = plugin.pop("provenance")
    return provenance | plugin
