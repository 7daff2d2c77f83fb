"""The stray token of the deposited EMPIAR-10028 table: cured where it is, refused where it is not declared."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from cryorepro.em.errors import InputError
from cryorepro.em.formats.errata import Erratum, load_errata
from cryorepro.em.formats.particles import read_particles
from cryorepro.model.shipped import shipped
from tests.em.formats.deposit_table import LABELS, ROWS, deposit


@pytest.fixture(scope="module")
def declared() -> tuple[Erratum, ...]:
    return load_errata(shipped("registry") / "errata" / "empiar-10028.yaml")


def test_the_declared_defect_is_cured_and_recorded(tmp_path: Path, declared: tuple[Erratum, ...]) -> None:
    path = deposit(tmp_path / "shiny_2sets.star", ROWS, declared[0].line)
    assert path.read_text().splitlines()[5475].strip() == "9"
    started = time.process_time()
    particles = read_particles(path, errata=declared)
    assert time.process_time() - started < 2.5
    assert len(particles) == ROWS == sum("@" in line for line in path.read_text().splitlines())
    assert [e.id for e in particles.errata] == ["empiar-10028-stray-token"]
    assert abs(particles.pixel_size_angstrom - 1.34) < 1e-4
    assert particles.origins_angstrom[ROWS - 1, 0] == pytest.approx(-1.5 * particles.pixel_size_angstrom)
    assert particles.image_names[-1] == f"{(ROWS - 1) % 100 + 1:06d}@Particles/MRC/{(ROWS - 1) // 100:04d}.mrcs"


def test_without_the_declaration_it_is_refused_by_line(tmp_path: Path) -> None:
    path = deposit(tmp_path / "shiny_2sets.star", 5600, 5476)
    with pytest.raises(InputError, match=r"shiny_2sets\.star: a stray token '9' stands alone on line 5476"):
        read_particles(path)


@pytest.mark.parametrize(
    ("line", "token", "name"),
    [(5477, "9", "shiny_2sets.star"), (5476, "8", "shiny_2sets.star"), (5476, "9", "other.star")],
)
def test_another_defect_is_not_cured(
    line: int, token: str, name: str, tmp_path: Path, declared: tuple[Erratum, ...]
) -> None:
    path = deposit(tmp_path / name, 5600, line, token)
    with pytest.raises(InputError, match=f"stray token '{token}' stands alone on line {line}"):
        read_particles(path, errata=declared)


def test_a_sound_file_is_left_alone(tmp_path: Path, declared: tuple[Erratum, ...]) -> None:
    particles = read_particles(deposit(tmp_path / "shiny_2sets.star", 5600, None), errata=declared)
    assert (len(particles), particles.errata) == (5600, ())


def test_stray_tokens_that_add_up_to_a_row_are_not_overlooked(tmp_path: Path) -> None:
    path = deposit(tmp_path / "s.star", 50, None)
    lines = path.read_text().split("\n")
    for i in range(len(LABELS)):  # twenty strays: a CIF reader sees one more row
        lines.insert(30 + i, "9")
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match="stray token '9' stands alone on line 31"):
        read_particles(path)


@pytest.mark.parametrize(
    "text", ["[1]", "errata: 3", "errata: [{id: a}]", "errata: [", "!!python/object/apply:os.system ['true']"]
)
def test_malformed_declarations_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(InputError, match=r"e\.yaml"):
        load_errata(tmp_path / "e.yaml")


def test_unknown_actions_are_refused(tmp_path: Path, declared: tuple[Erratum, ...]) -> None:
    record = replace(declared[0], action="guess")
    fields = "\n    ".join(f"{k}: {v!r}" for k, v in vars(record).items())
    (tmp_path / "e.yaml").write_text(f"errata:\n  - {fields}\n")
    with pytest.raises(InputError, match="action 'guess' is not known"):
        load_errata(tmp_path / "e.yaml")
