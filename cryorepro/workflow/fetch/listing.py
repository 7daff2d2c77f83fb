"""What files a folder of the archive holds: the web server's own index, or FTP where there is none."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

from cryorepro.em.errors import InputError
from cryorepro.workflow.fetch.errors import FetchError, Retry, WrongContent
from cryorepro.workflow.fetch.manifest import safe_path
from cryorepro.workflow.fetch.sources import Sources
from cryorepro.workflow.fetch.text import read_text
from cryorepro.workflow.fetch.transfer import Transfer

MAXIMUM_FILES = 200_000
MAXIMUM_FOLDERS = 5_000
_WILD = re.compile(r"[*?\[]")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect where links lead."""
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def index_entries(page: str, url: str) -> list[str]:
    """Names in a folder by its index page; those of folders end in a slash. Links that lead elsewhere are dropped."""
    parser = _Links()
    parser.feed(page)
    base = urlsplit(url)
    names = set()
    for target in parser.targets:
        place = urlsplit(urljoin(url, target))
        if place.netloc != base.netloc or place.query or not place.path.startswith(base.path):
            continue
        name = unquote(place.path[len(base.path) :])
        if name and "/" not in name.rstrip("/"):
            names.add(name)
    return sorted(names)


def list_folder(transfer: Transfer, sources: Sources, folder: str) -> list[str]:
    """Names in one folder of an archive entry.

    Raises:
        FetchError: the archive does not answer, or what it sends is no index.
    """
    url = (sources.urls(folder)[0] if folder else sources.bases[0]).rstrip("/") + "/"

    def index() -> str:
        page = read_text(transfer, url, "html")
        if "<a" not in page.lower():
            raise Retry(f"{url}: the server sent no index of the folder", final=WrongContent)
        return page

    page = transfer.patiently(index)
    return index_entries(page, transfer.settings.mirrored(url))


def list_files(transfer: Transfer, sources: Sources, pattern: str) -> list[str]:
    """Paths of the files that match ``data/folder/*.tif``; ``**`` at the end means everything below.

    Raises:
        FetchError: nothing matches, there are too many, or the archive does not answer.
    """
    if not _WILD.search(pattern):
        return [safe_path(pattern)]
    found: list[str] = []
    pending, seen = [""], 0
    parts = pattern.split("/")
    while pending:
        folder = pending.pop()
        seen += 1
        if seen > MAXIMUM_FOLDERS or len(found) > MAXIMUM_FILES:
            raise FetchError(f"{pattern}: more files match than an archive entry can hold")
        depth = folder.count("/") + 1 if folder else 0
        below = parts[-1] == "**" and depth >= len(parts) - 1
        part = "*" if below else parts[depth]
        if not below and not _WILD.search(part) and depth < len(parts) - 1:
            pending.append(f"{folder}/{part}".lstrip("/"))
            continue
        for name in list_folder(transfer, sources, folder):
            path = f"{folder}/{name.rstrip('/')}".lstrip("/")
            if _hidden(path) or not (part == "**" or fnmatchcase(name.rstrip("/"), part)):
                continue
            inside = name.endswith("/") and (below or part == "**" or depth < len(parts) - 1)
            if inside:
                pending.append(path)
            elif not name.endswith("/") and (below or depth == len(parts) - 1):
                found.append(path)
    if not found:
        raise FetchError(f"{sources.bases[0]}{pattern}: no file of the archive matches")
    return sorted(found)


def _hidden(path: str) -> bool:
    try:
        safe_path(path)
    except InputError:
        return True
    return False
