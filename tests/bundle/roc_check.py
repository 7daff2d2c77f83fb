"""Runs rocrate-validator on a crate without a network; an argument list in, a JSON list of findings out.

    python roc_check.py CRATE SEVERITY PROFILE [PROFILES_DIRECTORY]

Run by the Python of the tools' own environment (``make bundle-tools``). The two JSON-LD contexts that a bundle names
are supplied here: RO-Crate 1.1 as the package ``rocrate`` 0.13.0 carries it, and the terms of the workflow-run
vocabulary. Anything else that the validator asks for is answered with "not found", and told.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

TERMS = "https://w3id.org/ro/terms/workflow-run#"
NAMES = (
    "ParameterConnection", "connection", "sourceParameter", "targetParameter", "md5", "sha1", "sha256", "sha512",
    "ContainerImage", "DockerImage", "SIFImage", "containerImage", "environment", "registry", "tag", "resourceUsage",
)  # fmt: skip
asked: list[str] = []


def documents() -> dict[str, Any]:
    base = json.loads((files("rocrate") / "data" / "ro-crate.jsonld").read_text(encoding="utf-8"))
    assert base["@id"] == "https://w3id.org/ro/crate/1.1/context", base["@id"]
    return {
        base["@id"]: base,
        "https://w3id.org/ro/terms/workflow-run/context": {"@context": {name: TERMS + name for name in NAMES}},
    }


def answer(_self: object, url: str, **_kwargs: object) -> SimpleNamespace:
    document = documents().get(url)
    if document is None:
        asked.append(url)
        return SimpleNamespace(status_code=404, ok=False, text="", content=b"", headers={}, from_cache=False)
    text = json.dumps(document)
    return SimpleNamespace(
        status_code=200, ok=True, text=text, content=text.encode(), json=lambda: document, url=url, from_cache=False,
        headers={"Content-Type": "application/ld+json"},
    )  # fmt: skip


def main(crate: str, severity: str, profile: str, profiles: str | None = None) -> int:
    from rocrate_validator import models, services
    from rocrate_validator.utils.http import HttpRequester

    HttpRequester.get = answer
    HttpRequester.head = answer
    settings = models.ValidationSettings(
        rocrate_uri=models.URI(crate),
        profile_identifier=profile,
        requirement_severity=getattr(models.Severity, severity),
        extra_profiles_path=profiles,
    )
    result = services.validate(settings)
    found = [[issue.severity.name, issue.check.identifier, str(issue.message)] for issue in result.get_issues()]
    checks = len(result.executed_checks)
    print(json.dumps({"passed": result.passed(), "checks": checks, "findings": found, "asked": asked}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
