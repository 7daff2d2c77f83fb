"""A job's particle table must be readable from where it lies, whoever reads it next."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.references import resolve_images
from cryorepro.em.formats.stack_links import find_root, link_stacks
from tests.plugins.relion_set import write_set


def project(tmp_path: Path, name: str) -> Path:
    """A project whose job 2 holds a table that names its stack as ``name``; returns a copied table of job 3."""
    home = write_set(tmp_path, particles=3)
    stack = tmp_path / "project" / "Extract" / "job002" / "images.mrcs"
    stack.parent.mkdir(parents=True)
    stack.write_bytes((home / "images.mrcs").read_bytes())
    text = (home / "particles.star").read_text().replace("@images.mrcs", f"@{name}")
    (stack.parent / "particles.star").write_text(text)
    table = tmp_path / "elsewhere" / "Class3D" / "job003" / "run_it001_data.star"
    table.parent.mkdir(parents=True)
    table.write_text(text)
    return table


@pytest.mark.parametrize("name", ["Extract/job002/images.mrcs", "images.mrcs"])
def test_links_lead_to_the_same_stack(tmp_path: Path, name: str) -> None:
    table = project(tmp_path, name)
    source = tmp_path / "project" / "Extract" / "job002" / "particles.star"
    with pytest.raises(InputError, match="does not exist"):
        resolve_images(read_particles(table))
    root, images = find_root(read_particles(source))
    assert link_stacks(table, root) == [name.split("/")[0]]
    assert [path.resolve() for path in resolve_images(read_particles(table)).paths] == [
        path.resolve() for path in images.paths
    ]
    assert link_stacks(table, root) == []


def test_a_link_survives_the_move_of_everything(tmp_path: Path) -> None:
    table = project(tmp_path / "before", "images.mrcs")
    link_stacks(table, tmp_path / "before" / "project" / "Extract" / "job002")
    (tmp_path / "before").rename(tmp_path / "after")
    moved = tmp_path / "after" / table.relative_to(tmp_path / "before")
    assert resolve_images(read_particles(moved)).paths[0].is_file()


def test_a_file_of_the_job_is_never_replaced(tmp_path: Path) -> None:
    table = project(tmp_path, "images.mrcs")
    own = table.parent / "images.mrcs"
    own.write_bytes(b"written by the job")
    assert link_stacks(table, tmp_path / "project" / "Extract" / "job002") == []
    assert own.read_bytes() == b"written by the job" and not own.is_symlink()


def test_names_that_climb_or_are_absolute_are_left_alone(tmp_path: Path) -> None:
    table = project(tmp_path, "../job002/images.mrcs")
    before = sorted(table.parent.iterdir())
    assert link_stacks(table, tmp_path / "project" / "Extract" / "job002") == []
    text = table.read_text()
    table.write_text(text.replace("@../job002/", f"@{tmp_path}/project/Extract/job002/"))
    assert link_stacks(table, tmp_path) == []
    assert sorted(table.parent.iterdir()) == before


def test_names_under_two_roots_are_refused(tmp_path: Path) -> None:
    project(tmp_path, "images.mrcs")
    star = tmp_path / "project" / "Extract" / "job002" / "particles.star"
    text = star.read_text()
    star.write_text(text.replace("000002@images.mrcs", "000002@job002/images.mrcs"))
    with pytest.raises(InputError, match="one directory"):
        find_root(read_particles(star))
