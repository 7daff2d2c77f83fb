"""``cryorepro convert``: CryoSPARC's tables to RELION's and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryorepro.em.errors import InputError


def convert_command(
    files: Annotated[
        list[Path],
        typer.Argument(help="What to read (a .cs with its passthrough .cs files, or a .star), then what to write."),
    ],
    like: Annotated[
        Path | None,
        typer.Option(help="The .cs the particles came from; fields RELION cannot express are taken from it."),
    ] = None,
    stacks: Annotated[
        Path | None,
        typer.Option(
            help="The CryoSPARC project's folder: links that RELION reads as stacks are made beside the .star."
        ),
    ] = None,
) -> None:
    """Convert particles, micrographs, movies or picks: .cs to .star, or .star to .cs."""
    from cryorepro.em.formats.cryosparc_convert import convert

    if len(files) < 2:
        raise InputError("convert: name what to read and then the file to write")
    done = convert(files[:-1], files[-1], like, stacks)
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{files[-1]}: {done.rows:,} {done.kind}")
