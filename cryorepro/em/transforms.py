"""Fourier transforms of real maps ``[n, n, n]``, in the precision of the map.

They are scipy's (pocketfft), which are two to three times as fast in single precision as in double. Importing
``scipy.fft`` takes 0.1 CPU-seconds, nearly all of it for parts that no transform needs (special functions, array
interfaces, numpy's test tools); the programs for maps of 128 voxels take little longer themselves. So the compiled
part is loaded alone, and ``scipy.fft`` is imported where that fails.
"""

from __future__ import annotations

from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Real = npt.NDArray[np.floating]
Spectrum = npt.NDArray[np.complexfloating]
_PLANES, _ROWS = (0, 1), (2,)
_NO_FACTOR, _ONE_OVER_N = 0, 2


def forward(volumes: Real) -> Spectrum:
    """``rfftn`` of a map, ``[n, n, n // 2 + 1]``; complex64 of a float32 map, else complex128."""
    kept: npt.NDArray[Any] = volumes if volumes.dtype == np.float32 else np.asarray(volumes, dtype=np.float64)
    compiled = _pocketfft()
    if compiled is None:
        from scipy import fft

        return np.asarray(fft.fftn(fft.rfft(kept, axis=2), axes=_PLANES, overwrite_x=True))
    spectrum = compiled.r2c(kept, _ROWS, True, _NO_FACTOR, None, 1)
    return np.asarray(compiled.c2c(spectrum, _PLANES, True, _NO_FACTOR, spectrum, 1))


def backward(spectrum: Spectrum, out: Real | None = None) -> Real:
    """``irfftn`` of what `forward` gave, ``[n, n, n]`` (into ``out`` if given); the values in ``spectrum`` are lost."""
    box = spectrum.shape[0]
    compiled = _pocketfft()
    if compiled is None:
        from scipy import fft

        made = np.asarray(fft.irfft(fft.ifftn(spectrum, axes=_PLANES, overwrite_x=True), n=box, axis=2))
        if out is None:
            return made
        out[:] = made
        return out
    partly = compiled.c2c(spectrum, _PLANES, False, _ONE_OVER_N, spectrum, 1)
    return np.asarray(compiled.c2r(partly, _ROWS, box, False, _ONE_OVER_N, out, 1))


def forward_within(block: Real, side: int) -> Spectrum:
    """`forward` of a cube of ``side`` voxels that holds ``block [m, m, m]`` (float32) in a corner and is 0 elsewhere.

    Lines that hold nothing are not transformed.
    """
    compiled, width = _pocketfft(), block.shape[0]
    if compiled is None:
        from scipy import fft

        return np.asarray(fft.rfftn(block, s=(side,) * 3))
    rows = np.zeros((width, width, side), dtype=block.dtype)
    rows[:, :, :width] = block
    partly = compiled.r2c(rows, _ROWS, True, _NO_FACTOR, None, 1)
    spectrum = np.zeros((side, side, side // 2 + 1), dtype=partly.dtype)
    filled = spectrum[:width]
    filled[:, :width] = partly
    compiled.c2c(filled, (1,), True, _NO_FACTOR, filled, 1)
    return np.asarray(compiled.c2c(spectrum, (0,), True, _NO_FACTOR, spectrum, 1))


def along(values: npt.NDArray[Any], axis: int) -> Spectrum:
    """``rfft`` along the last axis of real ``values``, ``fft`` along another of complex ones, which are lost."""
    compiled, real = _pocketfft(), not np.iscomplexobj(values)
    if compiled is None:
        from scipy import fft

        return np.asarray(fft.rfft(values, axis=axis) if real else fft.fft(values, axis=axis, overwrite_x=True))
    if real:
        return np.asarray(compiled.r2c(values, (axis,), True, _NO_FACTOR, None, 1))
    return np.asarray(compiled.c2c(values, (axis,), True, _NO_FACTOR, values, 1))


def back_along(values: Spectrum, axis: int) -> Spectrum:
    """``ifft`` along an axis; ``values`` are lost."""
    compiled = _pocketfft()
    if compiled is None:
        from scipy import fft

        return np.asarray(fft.ifft(values, axis=axis, overwrite_x=True))
    return np.asarray(compiled.c2c(values, (axis,), False, _ONE_OVER_N, values, 1))


def real_rows(values: Spectrum, length: int) -> Real:
    """``irfft`` along the last axis of ``[m, length // 2 + 1]``."""
    compiled = _pocketfft()
    if compiled is None:
        from scipy import fft

        return np.asarray(fft.irfft(values, n=length, axis=1))
    return np.asarray(compiled.c2r(values, (1,), length, False, _ONE_OVER_N, None, 1))


def quick_even_size(at_least: int) -> int:
    """The smallest even side from ``at_least`` on that has no prime factor above 11: quick to transform."""
    side = at_least + at_least % 2
    while not _smooth(side):
        side += 2
    return side


def _smooth(number: int) -> bool:
    for prime in (2, 3, 5, 7, 11):
        while number % prime == 0:
            number //= prime
    return number == 1


@cache
def _pocketfft() -> Any | None:
    """The compiled module behind ``scipy.fft`` without the package around it; None where it is kept elsewhere."""
    package = find_spec("scipy")
    for home in (package.submodule_search_locations or []) if package is not None else []:
        found = PathFinder.find_spec("pypocketfft", [str(Path(home) / "fft" / "_pocketfft")])
        if found is None or found.loader is None:
            continue
        module = module_from_spec(found)
        found.loader.exec_module(module)
        if all(hasattr(module, name) for name in ("r2c", "c2c", "c2r")):
            return module
    return None
