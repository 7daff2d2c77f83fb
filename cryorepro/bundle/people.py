"""Authors as they are given on the command line."""

from __future__ import annotations

import re

from pydantic import ValidationError

from cryorepro.bundle.facts import Author
from cryorepro.em.errors import InputError

_ORCID = re.compile(r"(?:https?://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])")


def parse_author(text: str) -> Author:
    """``NAME; ORCID; AFFILIATION; URL``, everything after the name optional and told apart by its form.

    Raises:
        InputError: no name, two affiliations, or an ORCID whose check digit is wrong (ISO 7064, MOD 11-2).
    """
    name, *rest = [part.strip() for part in text.split(";")]
    fields: dict[str, str] = {"name": name}
    for part in filter(None, rest):
        orcid = _ORCID.fullmatch(part)
        key = "orcid" if orcid else "affiliation_url" if part.startswith(("http://", "https://")) else "affiliation"
        if key in fields:
            raise InputError(f"--author {text}: '{part}' is a second {key}")
        fields[key] = orcid.group(1) if orcid else part
    if "orcid" in fields and not _check_digit_fits(fields["orcid"]):
        raise InputError(f"--author {text}: the check digit of ORCID {fields['orcid']} does not fit")
    try:
        return Author.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"--author {text}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _check_digit_fits(orcid: str) -> bool:
    plain = orcid.replace("-", "")
    total = 0
    for digit in plain[:-1]:
        total = (total + int(digit)) * 2
    return "0123456789X"[(12 - total % 11) % 11] == plain[-1]
