"""What motion correction holds on a device besides frames as they are stored."""

from __future__ import annotations

import torch

from cryorepro.em.devices.memory import free_bytes

_USABLE = 0.8
_PICTURES = 16
"""Pictures of a frame's size in float32: up to eight weighted sums, the gain, transforms and their work space."""
_PER_REDUCED_PIXEL = 24
"""Bytes: the reduced frames, their spectra, and those of overlapping patches."""
_ALWAYS = 256 << 20
"""Parts of frames and spectra that are worked on at once, and the libraries' own."""
_LEAST = 1 << 26


def bytes_besides_frames(frames: int, shape: tuple[int, int], factor: int) -> int:
    """Bytes for ``frames`` of ``shape`` that are binned by ``factor`` for alignment."""
    pixels = shape[0] * shape[1]
    alignment = 4 * 4 * pixels + _PER_REDUCED_PIXEL * frames * (pixels // factor**2)
    return _ALWAYS + max(alignment, _PICTURES * 4 * pixels)


def bytes_for_frames(frames: int, shape: tuple[int, int], factor: int, device: torch.device) -> int:
    """Bytes that frames as they are stored may take of what a GPU has free."""
    return max(_LEAST, int(_USABLE * free_bytes(device)) - bytes_besides_frames(frames, shape, factor))
