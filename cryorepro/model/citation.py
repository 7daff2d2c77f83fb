"""How to cite a dataset: the archive entry and its paper, as BibTeX and as CSL-JSON.

CSL-JSON: the schema of the Citation Style Language, https://github.com/citation-style-language/schema, 1.0.2.
"""

from __future__ import annotations

from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.model.dataset import DatasetInfo
from cryorepro.model.deposit import Publication

_ARCHIVE = "EMPIAR, the Electron Microscopy Public Image Archive"
_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def csl(info: DatasetInfo) -> list[dict[str, Any]]:
    """CSL-JSON items: the paper where it is known, and the archive entry.

    Raises:
        InputError: the dataset declares nothing to cite.
    """
    items = [_csl_paper(info.publication)] if info.publication is not None else []
    if info.publication is None and info.publication_doi is not None:
        items.append({"id": f"doi-{info.publication_doi}", "type": "article-journal", "DOI": info.publication_doi})
    if info.dataset_doi is not None:
        items.append(_csl_entry(info))
    if not items:
        raise InputError(f"{info.name}: neither a publication nor a DOI of the archive entry is known")
    return items


def bibtex(info: DatasetInfo) -> str:
    """The same as BibTeX, UTF-8, with what BibTeX treats specially escaped.

    Raises:
        InputError: the dataset declares nothing to cite.
    """
    return "\n".join(_bibtex(item) for item in csl(info))


def _csl_paper(paper: Publication) -> dict[str, Any]:
    authors: list[dict[str, str]] = [author.model_dump(exclude_none=True) for author in paper.authors]
    if paper.others:
        authors.append({"literal": "others"})
    year = str(paper.year)
    item = {
        "id": f"{paper.authors[0].family.replace(' ', '')}{year}",
        "type": "article-journal",
        "title": paper.title,
        "author": authors,
        "container-title": paper.journal,
        "issued": {"date-parts": [[paper.year]]},
        "volume": paper.volume,
        "page": paper.pages,
        "DOI": paper.doi,
        "PMCID": paper.pmcid,
    }
    return {key: value for key, value in item.items() if value is not None}


def _csl_entry(info: DatasetInfo) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": info.accession,
        "type": "dataset",
        "title": f"{info.title} [{info.accession}]",
        "publisher": _ARCHIVE,
        "DOI": info.dataset_doi,
        "URL": f"https://doi.org/{info.dataset_doi}",
    }
    return item


def _bibtex(item: dict[str, Any]) -> str:
    article = item["type"] == "article-journal"
    fields = {
        "author": " and ".join(map(_bibtex_author, item.get("author", []))),
        "title": "{" + _escaped(item["title"]) + "}" if "title" in item else "",
        "journal": _escaped(item.get("container-title", "")),
        "year": str(item["issued"]["date-parts"][0][0]) if "issued" in item else "",
        "volume": _escaped(item.get("volume", "")),
        "pages": _escaped(item.get("page", "")),
        "publisher": _escaped(item.get("publisher", "")),
        "doi": item["DOI"],
        "url": item.get("URL", ""),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{'article' if article else 'misc'}{{{item['id']},", *lines, "}"])


def _bibtex_author(author: dict[str, str]) -> str:
    if "literal" in author:
        return author["literal"]
    given = author.get("given")
    return _escaped(author["family"]) + (f", {_escaped(given)}" if given else "")


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in text)
