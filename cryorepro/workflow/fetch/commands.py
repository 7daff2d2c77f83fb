"""Ready-to-run commands of other programs, for those who would rather use them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from posixpath import commonpath, dirname

from cryorepro.workflow.fetch.sources import EMPIAR_FTP, EMPIAR_HTTPS

ASPERA_HOST = "emp_ext3@hx-fasp-1.ebi.ac.uk"


def commands(number: str, paths: Sequence[str], destination: Path) -> dict[str, str]:
    """Commands that fetch the folder of `paths` of an EMPIAR entry, by name of the method.

    Aspera's account was read in a third party's documentation; the entry's page has the current one. What a person
    looks up once stands as a variable: ``ASPERA_KEY`` (path of the key), ``EMPIAR_GLOBUS`` (collection and path of
    EMPIAR's ``world_availability``), ``MY_COLLECTION`` (the person's own Globus collection).
    """
    folder = common_folder(paths)
    remote = f"{number}/{folder}".rstrip("/")
    target = shlex.quote(str(destination / "deposit" / folder))
    parent = shlex.quote(str((destination / "deposit" / folder).parent))
    cut = 2 + remote.count("/") + 1
    return {
        "aspera": f'mkdir -p {parent} && ascp -QT -k 1 -l 200M -P 33001 -i "$ASPERA_KEY" '
        f"{shlex.quote(f'{ASPERA_HOST}:/{remote}')} {parent}/",
        "globus": f"globus transfer --recursive --sync-level size --label cryorepro-{number} "
        f'"$EMPIAR_GLOBUS"/{shlex.quote(remote)}/ "$MY_COLLECTION":{target}/',
        "wget": f"mkdir -p {target} && wget -c -r -np -nH --cut-dirs={cut} -R 'index.html*' -P {target} "
        f"{shlex.quote(f'{EMPIAR_HTTPS}{remote}/')}",
        "lftp": f"lftp -e {shlex.quote(f'mirror -c -P 8 . {target}; quit')} {shlex.quote(f'{EMPIAR_FTP}{remote}/')}",
    }


def common_folder(paths: Sequence[str]) -> str:
    """The deepest folder that holds all paths or patterns; empty for the whole entry."""
    folders = []
    for path in paths:
        parts = path.split("/")
        wild = next((i for i, part in enumerate(parts) if any(c in part for c in "*?[")), None)
        folders.append("/".join(parts[:wild]) if wild is not None else dirname(path))
    return commonpath(folders) if folders and all(folders) else ""
