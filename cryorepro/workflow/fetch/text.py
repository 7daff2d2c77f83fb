"""Short texts of an archive: index pages and API answers, with a bound on their size."""

from __future__ import annotations

import json
from typing import Any

from cryorepro.workflow.fetch.errors import FetchError, WrongContent
from cryorepro.workflow.fetch.http import HttpTransport
from cryorepro.workflow.fetch.transfer import Transfer

MAXIMUM_BYTES = 32 << 20


def read_text(transfer: Transfer, url: str, kind: str) -> str:
    """The body at `url`, which is to be ``html`` or ``json``.

    Raises:
        FetchError: it cannot be had, is too long, or is not text.
    """
    place = transfer.settings.mirrored(url)
    transport = transfer.transport(place)
    if not isinstance(transport, HttpTransport):
        raise FetchError(f"{url}: can be read by HTTPS only")
    body = transfer.patiently(lambda: transport.body(place, MAXIMUM_BYTES))
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WrongContent(f"{url}: the answer is not {kind} text") from error
    return text


def read_json(transfer: Transfer, url: str) -> dict[str, Any]:
    """The JSON object at `url`.

    Raises:
        FetchError: it cannot be had, or is no JSON object.
    """
    text = read_text(transfer, url, "json")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongContent(f"{url}: the answer is not JSON but begins with {text[:30]!r}") from error
    if not isinstance(content, dict):
        raise WrongContent(f"{url}: the answer is not a JSON object")
    return content
