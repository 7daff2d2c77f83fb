"""``cryorepro cite``: how to cite a dataset."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cryorepro.em.errors import InputError


def cite_command(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset.")],
    to: Annotated[str, typer.Option("--format", help="bibtex or csl.")] = "bibtex",
) -> None:
    """The paper and the archive entry of a dataset, as BibTeX or CSL-JSON."""
    from cryorepro.model.citation import bibtex, csl
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.plugins.types import Dataset

    if to not in ("bibtex", "csl"):
        raise InputError(f"--format {to}: the formats are bibtex and csl")
    info = load_catalogue().get(Dataset, dataset).descriptor.info
    typer.echo(bibtex(info) if to == "bibtex" else json.dumps(csl(info), indent=1, ensure_ascii=False))
