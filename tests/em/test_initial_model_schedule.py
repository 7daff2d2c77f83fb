"""The course of an initial model: phases, growing batches, every particle in turn."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.em.initial_model_schedule import dealt_classes, mini_batch, step_at
from cryorepro.em.initial_model_state import InitialModelSettings

SETTINGS = InitialModelSettings(
    particle_diameter_angstrom=200.0, number_of_classes=3, initial_iterations=5, inbetween_iterations=20,
    final_iterations=4, initial_subset=10, final_subset=40,
)  # fmt: skip


def test_resolution_and_batches_grow_in_the_second_phase_alone() -> None:
    steps = [step_at(SETTINGS, number) for number in range(1, SETTINGS.iterations + 1)]
    assert SETTINGS.iterations == 29
    assert {(s.resolution_angstrom, s.subset) for s in steps[:5]} == {(35.0, 10)}
    assert {(round(s.resolution_angstrom, 9), s.subset) for s in steps[25:]} == {(15.0, 40)}
    middle = steps[5:25]
    assert all(a.resolution_angstrom > b.resolution_angstrom for a, b in zip(middle, middle[1:], strict=False))
    assert [s.size for s in steps] == [0.5] * 25 + [0.2] * 4
    assert 10 < middle[0].subset <= middle[-1].subset < 40


def test_the_overstated_noise_is_gone_when_the_first_phase_ends() -> None:
    factors = [step_at(replace(SETTINGS, noise_factor=4.0), number).noise_factor for number in range(1, 8)]
    assert factors[0] == 4.0 and factors[5:] == [1.0, 1.0]
    assert all(a > b for a, b in zip(factors[:5], factors[1:6], strict=True))
    assert step_at(SETTINGS, 1).noise_factor == 1.0


def test_classes_part_after_the_first_phase_and_are_dealt_out_for_a_tenth_of_the_second() -> None:
    steps = [step_at(SETTINGS, number) for number in range(1, SETTINGS.iterations + 1)]
    assert [s.classes for s in steps] == [1] * 5 + [3] * 24
    assert [number for number, s in enumerate(steps, start=1) if s.dealt] == [6, 7]
    dealt = dealt_classes(SETTINGS, 100, seed=1)
    assert sorted(torch.bincount(dealt).tolist()) == [33, 33, 34]
    assert not torch.equal(dealt, dealt_classes(SETTINGS, 100, seed=2))


@given(count=st.integers(12, 90), seed=st.integers(0, 5))
def test_every_particle_is_used_in_every_pass(count: int, seed: int) -> None:
    uses, drawn = torch.zeros(count, dtype=torch.int64), 0
    for number in range(1, SETTINGS.iterations + 1):
        batch = mini_batch(SETTINGS, number, count, seed)
        assert torch.equal(batch, torch.unique(batch))
        assert int(batch.min()) >= 0 and int(batch.max()) < count
        uses[batch] += 1
        drawn += min(count, step_at(SETTINGS, number).subset)
        # of two passes that meet in a batch one use may be lost
        assert int(uses.min()) >= (drawn // count) // 2
        assert int(uses.max()) <= drawn // count + 1


def test_a_batch_is_never_larger_than_the_set_and_follows_from_seed_and_number() -> None:
    assert torch.equal(mini_batch(SETTINGS, 29, 17, 3), torch.arange(17))
    assert torch.equal(mini_batch(SETTINGS, 9, 500, 3), mini_batch(SETTINGS, 9, 500, 3))
    assert not torch.equal(mini_batch(SETTINGS, 9, 500, 3), mini_batch(SETTINGS, 9, 500, 4))
