"""Stage program: the CTF of every micrograph of a list, unusable ones set aside by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch._dynamo  # torch.optim takes a second to import it at its first step; workers find it imported

from cryorepro.em.ctf_estimation import CtfFit, CtfSettings, estimate_ctf
from cryorepro.em.ctf_estimation_files import (
    MicrographGroup,
    MicrographTable,
    read_micrograph_table,
    write_fitted,
    write_local_defocus,
    write_set_aside,
)
from cryorepro.em.ctf_estimation_search import Optics, SearchRange
from cryorepro.em.devices.choice import chosen_device
from cryorepro.em.devices.overlap import overlapped
from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import Value
from cryorepro.em.parallel import map_in_order, single_threaded
from cryorepro.em.reextraction import read_micrograph
from cryorepro.model.processing_stages import CtfEstimationParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, run_program


def work(request: StageRequest) -> None:
    """Fit every micrograph of ``inputs.micrographs``, on the request's device.

    A micrograph that is unreadable, flat or not finite, or whose fit has a fault, is set aside and the rest goes on.

    Raises:
        InputError: the list or a parameter is malformed, the device is not there, or no micrograph is usable.
    """
    parameters = parameters_of(request, CtfEstimationParameters)
    device = chosen_device(request.device, f"stage {request.stage}")
    table = read_micrograph_table(request.inputs["micrographs"])
    settings = {group: _settings(group, parameters) for group in dict.fromkeys(table.groups)}
    for checked in settings.values():
        checked.pixels()
    fits: dict[int, CtfFit] = {}
    aside: dict[int, str] = {}
    for row, found in enumerate(_every(table, settings, device, request.threads)):
        if isinstance(found, str):
            aside[row] = found
        else:
            fits[row] = found
        print(f"{table.names[row]}: {aside.get(row) or _line(fits[row])}", flush=True)
    if not fits:
        raise InputError(f"{table.source}: none of {len(table.names)} micrographs is usable; the first: {aside[0]}")
    write_fitted(request.output_dir, table, {row: _columns(fit, parameters.phase_shift) for row, fit in fits.items()})
    write_set_aside(request.output_dir, table, aside)
    planes = {row: fit.plane for row, fit in fits.items() if fit.plane is not None}
    write_local_defocus(
        request.output_dir,
        [table.names[row] for row in planes],
        [(p.centre_angstrom, p.gradient_x_angstrom_per_px, p.gradient_y_angstrom_per_px) for p in planes.values()],
    )


def _every(
    table: MicrographTable, settings: Mapping[MicrographGroup, CtfSettings], device: torch.device, workers: int
) -> Iterator[CtfFit | str]:
    """The fit of each micrograph, or why it is set aside: by processes, or one after the other on a GPU."""

    def image_of(row: int) -> torch.Tensor | str:
        try:
            return torch.from_numpy(read_micrograph(table.paths[row]).copy())
        except InputError as error:
            return f"unreadable: {error}"

    def fitted(row: int, image: torch.Tensor | str) -> CtfFit | str:
        if isinstance(image, str):
            return image
        try:
            found = estimate_ctf(image.to(device), settings[table.groups[row]])
        except InputError as error:
            return f"unreadable: {error}"
        return " ".join(found.faults) or found

    rows = range(len(table.names))
    if device.type == "cpu":
        yield from map_in_order(lambda row: fitted(row, image_of(row)), len(rows), workers)
        return
    # one process serves the device; the next micrograph is read meanwhile
    with single_threaded():
        for row, image in zip(rows, overlapped(image_of, rows), strict=True):
            yield fitted(row, image)


def _settings(group: MicrographGroup, p: CtfEstimationParameters) -> CtfSettings:
    contrast = group.amplitude_contrast if p.amplitude_contrast is None else p.amplitude_contrast
    default = SearchRange()
    lowest, highest = p.lowest_defocus_angstrom, p.highest_defocus_angstrom
    return CtfSettings(
        Optics(group.voltage_kv, group.spherical_aberration_mm, contrast),
        group.pixel_size_angstrom,
        tile_px=p.box_px,
        lowest_resolution_angstrom=p.lowest_resolution_angstrom or 30.0,
        highest_resolution_angstrom=p.highest_resolution_angstrom or 5.0,
        searched=SearchRange(
            lowest_defocus_angstrom=default.lowest_defocus_angstrom if lowest is None else lowest,
            highest_defocus_angstrom=default.highest_defocus_angstrom if highest is None else highest,
            expected_astigmatism_angstrom=p.astigmatism_angstrom or None,
            phase_shift=p.phase_shift,
        ),
    )


def _columns(fit: CtfFit, phase_shift: bool) -> dict[str, Value]:
    found = fit.defocus
    columns: dict[str, Value] = {
        "rlnDefocusU": found.defocus_u_angstrom,
        "rlnDefocusV": found.defocus_v_angstrom,
        "rlnCtfAstigmatism": found.defocus_u_angstrom - found.defocus_v_angstrom,
        "rlnDefocusAngle": found.angle_deg,
        "rlnCtfFigureOfMerit": found.correlation,
        "rlnCtfMaxResolution": fit.quality.resolution_angstrom,
    }
    return columns | ({"rlnPhaseShift": found.phase_shift_deg} if phase_shift else {})


def _line(fit: CtfFit) -> str:
    found = fit.defocus
    return (
        f"defocus {found.defocus_u_angstrom:.0f} {found.defocus_v_angstrom:.0f} A at {found.angle_deg:.1f} degrees, "
        f"rings to {fit.quality.resolution_angstrom:.2f} A, correlation {found.correlation:.3f}, "
        f"anisotropy {fit.quality.anisotropy:.2f}, ice {fit.quality.ice_ring_log_power:.2f}"
    )


if __name__ == "__main__":
    run_program(work)
