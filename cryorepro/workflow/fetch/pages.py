"""Error pages that are served as if they were the file.

The archive's object store can answer with an XML error and status 200; appended to a partial file it would spoil it.
"""

from __future__ import annotations

from pathlib import PurePosixPath

HEAD_BYTES = 1024
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body", b"<title")
_XML_ERRORS = (b"<error", b"<errorresponse", b"<html", b"<!doctype html")
_MARKUP_NAMES = {".html": "html", ".htm": "html", ".xml": "xml", ".xsd": "xml", ".svg": "xml", ".json": "json"}


def error_page(name: str, head: bytes, content_type: str | None) -> str | None:
    """Why the beginning of a body is not the file `name`; None if it may be.

    Args:
        name: The file asked for; its ending says what may come.
        head: The first bytes of the body.
        content_type: The header ``Content-Type``.
    """
    expected = _MARKUP_NAMES.get(PurePosixPath(name).suffix.lower())
    declared = (content_type or "").split(";")[0].strip().lower()
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if expected == "html":
        return None
    if declared in ("text/html", "application/xhtml+xml") or text.startswith(_HTML):
        return "an HTML page"
    if text.startswith(b"<?xml") or text.startswith(_XML_ERRORS):
        root = text.split(b"?>", 1)[-1].lstrip() if text.startswith(b"<?xml") else text
        if expected != "xml" or root.startswith(_XML_ERRORS):
            return "an XML error message"
    if declared in ("application/json", "application/problem+json") and expected != "json":
        return "a JSON message"
    return None
