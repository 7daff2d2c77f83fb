"""A process that fetches one file: ``python child.py URL CACHE``; stopped by signals in the tests."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from cryorepro.workflow.fetch.cache import Cache
from cryorepro.workflow.fetch.files import fetch_file
from cryorepro.workflow.fetch.settings import FetchSettings
from cryorepro.workflow.fetch.transfer import transfer

SETTINGS = FetchSettings(connections=4, piece_bytes=256 << 10, commit_s=0.05, backoff_base_s=0.05)


def main(url: str, cache: str, piece_bytes: str = "") -> int:
    settings = replace(SETTINGS, piece_bytes=int(piece_bytes)) if piece_bytes else SETTINGS
    with transfer(settings, notice=lambda text: print(text, flush=True)) as one:
        fetch_file(Cache(Path(cache)), one, f"deposit/{url.rsplit('/', 1)[-1]}", [url])
    print(f"received {one.meter.received_bytes}", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
