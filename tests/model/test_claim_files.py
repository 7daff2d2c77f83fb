"""Files of claims: groups, whose field wins, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryorepro.em.errors import InputError
from cryorepro.model.claim_files import load_claim_file
from cryorepro.model.registry import load_claims

GROUPED = """\
- common: {dataset: d, workload: w, software: s, source: page, quality: primary, unit: seconds}
  claims:
    - common: {hardware: h, run: r}
      claims:
        - {id: a, quantity: wall_time, value: 1, locator: row 1}
        - {id: b, quantity: wall_time, value: 2, locator: row 2, quality: seed, run: null}
    - {id: c, quantity: cost, value: 3, unit: USD, hardware: other, locator: row 3}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    return path


def test_a_group_gives_its_fields_and_the_claim_wins(tmp_path: Path) -> None:
    a, b, c = load_claim_file(write(tmp_path, GROUPED))
    assert (a.hardware, a.quality, a.run, a.source) == ("h", "primary", "r", "page")
    assert (b.quality, b.run) == ("seed", None)
    assert (c.hardware, c.unit, c.run) == ("other", "USD", None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value: 2,", "value: two,", "claims.yaml:6: field '0.claims.0.claims.1.value': "),
        ("quality: primary,", "quality: sure,", "claims.yaml:1: field '0.common.quality': "),
        ("run: r}", "run: r, colour: red}", "claims.yaml:3: field '0.claims.0.common.colour': this key is not known"),
        (", locator: row 3}", "}", "field '0.claims.1.locator': Field required"),
        ("  claims:\n    - common", "  rows:\n    - common", "group 0: a group has no field 'rows'"),
        ("value: 1,", "value: .nan,", "field '0.claims.0.claims.0.value': "),
        ("value: 1,", "value: 1, derived: {kind: root, of: [b]},", "derived.kind"),
        ("value: 1,", 'value: 1, derived: {kind: sum, of: [b], scale: "1/0"},', "derived.scale"),
        ("{id: c,", "[id, c,", "not valid YAML"),
    ],
)
def test_the_place_of_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GROUPED
    with pytest.raises(InputError) as raised:
        load_claim_file(write(tmp_path, GROUPED.replace(old, new)))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "text",
    ["a: 1\n", "- 5\n", "- {common: 3, claims: []}\n", "- {claims: 3}\n", "- {claims: [], extra: 1}\n", "- [1]\n"],
)
def test_what_is_no_file_of_claims_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="claims.yaml"):
        load_claim_file(write(tmp_path, text))


def test_an_id_is_used_once_in_a_registry(tmp_path: Path) -> None:
    write(tmp_path, GROUPED)
    (tmp_path / "more.yaml").write_text(GROUPED)
    with pytest.raises(InputError, match="claim id 'a' is used twice"):
        load_claims(tmp_path)


def test_the_shipped_claims_keep_the_ids_that_benchmarks_name() -> None:
    claims = load_claims()
    resolution = claims["clusterra-2026-resolution"]
    assert (resolution.value, resolution.shell, resolution.box_px) == (9.65, 50, 360)
    assert claims["clusterra-2026-wall-1xa10g-table"].value == 198 * 60 + 51
