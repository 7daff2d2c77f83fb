"""Archive entries as data: complete, sourced, citable, and refused by name where a tier cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryorepro_datasets.archive_entries import SUMMARIES
from cryorepro_datasets.empiar_10028 import FULL_BYTES
from cryorepro_datasets.entry_file import ENTRIES, load_entry

from cryorepro.em.errors import InputError
from cryorepro.model.citation import bibtex, csl
from cryorepro.model.dataset import DataRequest, DatasetInfo
from cryorepro.plugins.implementation import instantiate
from cryorepro.plugins.loader import load_catalogue
from cryorepro.plugins.types import Dataset
from cryorepro.workflow.fetch.tiers import require_layout

NAMES = sorted(SUMMARIES)
WANTED = {
    f"empiar-{n}" for n in (10288, 10028, 10025, 10338, 10002, 10204, 10305, 10390, 10017, 10146, 10721, 10249, 10612)
}
NO_FACT = {
    "name", "accession", "title", "tiers", "download", "errata", "evidence", "unverified", "remarks", "dataset_doi",
    "publication", "twin", "sample",
}  # fmt: skip


def request(tmp_path: Path, tier: str) -> DataRequest:
    return DataRequest.model_validate(
        {"tier": tier, "directory": tmp_path / "d", "truth_directory": tmp_path / "t", "seed": 1}
    )


def test_every_dataset_of_the_published_benchmarks_is_registered() -> None:
    assert {entry.name for entry in load_catalogue().all(Dataset)} >= WANTED


@pytest.mark.parametrize("name", [*NAMES, "empiar-10028"])
def test_every_fact_has_evidence_and_every_evidence_a_fact(name: str) -> None:
    info = load_entry(name)
    stated = {field for field in DatasetInfo.model_fields if getattr(info, field) not in (None, [], {})}
    assert stated - NO_FACT <= set(info.evidence), stated - NO_FACT - set(info.evidence)
    assert set(info.evidence) <= stated, set(info.evidence) - stated
    assert info.accession == name.upper() and info.licence == "CC0"


REFUSED = [
    (name, tier)
    for tier in ("twin", "subset", "full")
    for name in NAMES
    if tier != "twin" or name not in ("empiar-10025", "empiar-10288")
]


@pytest.mark.parametrize(("name", "tier"), REFUSED)
def test_a_tier_that_cannot_be_prepared_is_refused_by_name(name: str, tier: str, tmp_path: Path) -> None:
    registered = load_catalogue().get(Dataset, name)
    source = instantiate(registered)
    with pytest.raises(InputError) as caught:
        source.prepare(request(tmp_path, tier))
    declared = registered.descriptor.info.tier(tier)
    assert f"{name}: tier '{tier}'" in str(caught.value)
    known = "needs a local copy of the movies" if declared and not declared.missing else "does not exist yet"
    assert ((declared and declared.missing) or known) in str(caught.value)
    assert source.truth(request(tmp_path, tier)) == {}


def test_figures_that_other_figures_give() -> None:
    """Computed here from the entries themselves, and from the definitions."""
    t20s, cb1, aldolase = (load_entry(f"empiar-{n}") for n in (10025, 10288, 10338))
    assert t20s.physical_pixel_size_angstrom == pytest.approx(2 * t20s.pixel_size_angstrom)  # type: ignore[operator]
    rows, columns = t20s.frame_shape_px or (0, 0)
    assert t20s.tier("subset").size_bytes == 2 * 38 * rows * columns  # type: ignore[union-attr]
    assert t20s.tier("full").size_bytes == 196 * 38 * rows * columns  # type: ignore[union-attr]
    for info in (t20s, cb1, aldolase):
        assert info.twin is not None and info.box_px is not None and info.pixel_size_angstrom is not None
        pixel = 0.98 if info is t20s else info.pixel_size_angstrom
        assert info.twin.pixel_size_angstrom == pytest.approx(pixel * info.box_px / (info.twin.box_px or 1))
    k2 = load_entry("empiar-10249")
    rows, columns = k2.frame_shape_px or (0, 0)
    assert k2.tier("subset").size_bytes == 3 * 2 * 44 * rows * columns  # type: ignore[union-attr]
    assert pytest.approx(105_247 * 360 * 360 * 4, rel=1e-6) == FULL_BYTES


def test_odd_movies_are_the_guides_three() -> None:
    errata = {erratum.action: erratum for erratum in load_entry("empiar-10288").errata}
    assert len(errata["discard-file"].files) == 3
    assert errata["flip-gain-y"].files == ["CountRef_CB1__00826_Feb19_14.19.25.dm4"]


@pytest.mark.parametrize(
    ("name", "tier"), [("empiar-10338", "full"), ("empiar-10002", "full"), ("empiar-10721", "subset")]
)
def test_a_tier_whose_files_nobody_lists_is_not_fetched(name: str, tier: str) -> None:
    with pytest.raises(InputError, match=f"{name}: tier '{tier}' cannot be fetched; missing: .*entry"):
        require_layout(load_entry(name), tier)  # type: ignore[arg-type]


def test_citations() -> None:
    text = bibtex(load_entry("empiar-10025"))
    assert "@article{Campbell2015," in text and "@misc{EMPIAR-10025," in text
    assert "author = {Campbell, Melody G and Veesler, David and Cheng, Anchi" in text
    assert text.count("{") == text.count("}")
    items = csl(load_entry("empiar-10288"))
    assert [item["DOI"] for item in items] == ["10.1016/j.cell.2018.11.040", "10.6019/EMPIAR-10288"]
    assert items[0]["author"][-1] == {"family": "Skiniotis", "given": "Georgios"}
    assert csl(load_entry("empiar-10390"))[0] == {
        "id": "doi-10.1038/s41467-020-18440-6", "type": "article-journal", "DOI": "10.1038/s41467-020-18440-6"
    }  # fmt: skip
    strange = load_entry("empiar-10025").model_copy(update={"title": r"50% {of} a_b & c\d", "publication": None})
    assert r"50\% \{of\} a\_b \& c\textbackslash{}d" in bibtex(strange)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("voltage_kv: 300.0", "voltage_kv: -1", "voltage_kv"),
        ("voltage_kv: 300.0", "voltage: 300.0", "voltage"),
        ("[WONG2014]", "[SOMEONE]", "source SOMEONE"),
        ("fields: [licence]", "fields: [layout]", "'layout' is given twice"),
        ("fields: [licence]", "fields: [colour]", "colour"),
        ("name: empiar-10028", "name: empiar-10029", "is not the entry"),
    ],
)
def test_a_malformed_entry_is_refused(
    old: str, new: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ENTRIES / "empiar-10028.yaml").read_text()
    assert old in text
    (tmp_path / "empiar-10028.yaml").write_text(text.replace(old, new, 1))
    monkeypatch.setattr("cryorepro_datasets.entry_file.ENTRIES", tmp_path)
    (tmp_path / "sources.yaml").write_text((ENTRIES / "sources.yaml").read_text())
    with pytest.raises(InputError, match=sentence):
        load_entry("empiar-10028", tiers=[])
