"""Random phases for the transform of a real map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cryorepro.em.transforms import Spectrum

Angles = npt.NDArray[np.float32]


class RandomTurns:
    """Factors that turn every coefficient at ``|k| >= from_shell`` by a random angle, plane by plane.

    A uniform angle added to a phase leaves a uniform phase, whatever it was. On the planes kx = 0 and kx = n / 2,
    which hold their own Friedel mates, opposite coefficients turn by opposite angles, as a real map demands; the
    seven coefficients on them that are their own mates are real and stay as they are.
    """

    def __init__(
        self, box_px: int, from_shell: float, generator: np.random.Generator, dtype: np.dtype[np.complexfloating]
    ) -> None:
        """Draw what planes have in common; the rest is drawn when a plane is asked for."""
        self._signed = np.fft.fftfreq(box_px, 1.0 / box_px)
        self._squared = self._signed[:, None] ** 2 + np.arange(box_px // 2 + 1) ** 2
        self._from, self._generator = from_shell, generator
        self._sides = [_opposite_angles(box_px, generator) for _ in range(2)]
        self._turn = np.empty(self._squared.shape, dtype=dtype)

    def plane(self, number: int) -> Spectrum:
        """Factors ``[n, n // 2 + 1]`` of the plane at this index of kz (or of ky: all three axes are alike).

        To be asked for once for every plane, always in the same order. The next call overwrites them.
        """
        angle: Angles = np.asarray(self._generator.random(self._turn.shape, dtype=np.float32))
        angle *= np.float32(2.0 * np.pi)
        angle[:, 0], angle[:, -1] = self._sides[0][number], self._sides[1][number]
        rest = self._from**2 - self._signed[number] ** 2
        if rest > 0.0:
            angle[self._squared < rest] = 0.0
        np.cos(angle, out=self._turn.real, casting="same_kind")
        np.sin(angle, out=self._turn.imag, casting="same_kind")
        return self._turn


def randomise_from(spectrum: Spectrum, from_shell: float, generator: np.random.Generator) -> None:
    """Turn the coefficients ``[n, n, n // 2 + 1]`` of a map by `RandomTurns`, in place."""
    turns = RandomTurns(spectrum.shape[0], from_shell, generator, spectrum.dtype)
    for number, plane in enumerate(spectrum):
        plane *= turns.plane(number)


def _opposite_angles(box_px: int, generator: np.random.Generator) -> Angles:
    """Angles ``[kz, ky]`` in rad whose opposite at (-kz, -ky) is minus them: differences of two uniform ones."""
    drawn = generator.random((box_px, box_px), dtype=np.float32)
    mates = -np.arange(box_px)
    difference: Angles = (drawn - drawn[np.ix_(mates, mates)]) * np.float32(2.0 * np.pi)
    return difference
