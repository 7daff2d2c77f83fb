"""Stage program: picks particles from every micrograph of a list, with blobs or with images of the particle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cryorepro.em.ctf_estimation_files import MicrographTable, read_micrograph_table, write_set_aside
from cryorepro.em.errors import InputError
from cryorepro.em.picking.tables import write_picks
from cryorepro.em.reextraction import read_micrograph
from cryorepro.model.picking_stages import PickingParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, run_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from cryorepro.em.ctf import CtfParameters
    from cryorepro.em.picking.image_templates import References
    from cryorepro.em.picking.search import Found, PickSettings

SHAPES = ("circular", "elliptical", "ring")
_STEP_DEG = 10.0


def work(request: StageRequest) -> None:
    """Pick ``inputs.micrographs``, with ``inputs.templates`` where the method is ``template``, on the request's device.

    A micrograph that is unreadable, flat, not finite or mostly contaminated is set aside and the rest goes on.

    Raises:
        InputError: an input or a parameter is malformed or missing, the device is not there, or no particle is found
            anywhere.
    """
    import torch

    from cryorepro.em.devices.choice import chosen_device

    torch.set_num_threads(1)  # micrographs are shared out instead: the same bits on any number of threads
    parameters = parameters_of(request, PickingParameters)
    device = chosen_device(request.device, f"stage {request.stage}")
    table = read_micrograph_table(request.inputs["micrographs"])
    rows = range(min(len(table.names), parameters.micrographs or len(table.names)))
    search = _Search(request, parameters, device)
    found: dict[int, Found] = {}
    aside: dict[int, str] = {}
    for row, result in zip(rows, search.every(table, rows), strict=True):
        if isinstance(result, str):
            aside[row] = result
        else:
            found[row] = result
        print(f"{table.names[row]}: {_line(result)}", flush=True)
    if not any(len(result.picks) for result in found.values()):
        why = f"; the first: {next(iter(aside.values()))}" if aside else ""
        raise InputError(f"{table.source}: no particle is found in {len(rows)} micrographs{why}")
    _write(request, table, found, aside)


class _Search:
    """The search with everything that all micrographs share."""

    def __init__(self, request: StageRequest, parameters: PickingParameters, device: torch.device) -> None:
        self.request, self.parameters, self.device = request, parameters, device
        self.settings = _settings(request, parameters)
        self.shapes = _shapes(request, parameters)
        self.references = _references(request, parameters, self.settings).to(device) if not self.shapes else None

    def every(self, table: MicrographTable, rows: Sequence[int]) -> Iterator[Found | str]:
        """What is found in each micrograph, or why it is set aside: by threads, or one after the other on a GPU."""
        from cryorepro.em.devices.overlap import overlapped

        if self.device.type == "cpu":
            with ThreadPoolExecutor(self.request.threads) as pool:
                yield from pool.map(lambda row: self.one(table, row, _pixels(table, row)), rows)
            return
        # one process serves the device; the next micrograph is read meanwhile
        for row, pixels in zip(rows, overlapped(lambda row: _pixels(table, row), rows), strict=True):
            yield self.one(table, row, pixels)

    def one(self, table: MicrographTable, row: int, pixels: NDArray[np.float32] | str) -> Found | str:
        """What is found in one micrograph of these pixels, or why it is set aside."""
        import torch

        from cryorepro.em.picking.search import pick_blobs, pick_templates

        if isinstance(pixels, str):
            return pixels
        pixel = table.groups[row].pixel_size_angstrom
        try:
            image = torch.from_numpy(pixels).to(self.device)
            if self.references is None:
                found = pick_blobs(image, pixel, self.settings, self.shapes)
            else:
                ctf = _ctf(table, row) if self.parameters.ctf else None
                step = self.parameters.step_degrees or _STEP_DEG
                found = pick_templates(image, pixel, self.settings, self.references, step, ctf)
        except InputError as error:
            return f"unusable: {error}"
        if found.masked_share > self.parameters.highest_masked_share:
            return f"contaminated: {found.masked_share:.2f} of it is masked"
        return found


def _pixels(table: MicrographTable, row: int) -> NDArray[np.float32] | str:
    """A micrograph's pixels, or why it is set aside."""
    try:
        return read_micrograph(table.paths[row]).astype("float32")
    except InputError as error:
        return f"unusable: {error}"


def _settings(request: StageRequest, p: PickingParameters) -> PickSettings:
    from cryorepro.em.picking.search import PickSettings

    smallest, largest = p.smallest_diameter_angstrom, p.largest_diameter_angstrom
    if smallest is None and largest is None:
        raise InputError(f"stage {request.stage}: parameters.largest_diameter_angstrom is not given.")
    small, large = smallest or largest or 0.0, largest or smallest or 0.0
    default = PickSettings(small, large)
    return PickSettings(
        small,
        large,
        lowpass=p.lowpass_angstrom or default.lowpass,
        lowest_ncc=default.lowest_ncc if p.lowest_ncc is None else p.lowest_ncc,
        least_distance=p.least_distance_angstrom,
        edge=p.edge_angstrom or 0.0,
        most=p.most_picks,
        dark_particles=p.dark_particles,
        mask_contamination=p.mask_contamination,
    )


def _shapes(request: StageRequest, p: PickingParameters) -> frozenset[str]:
    """Shapes of blobs; none for templates."""
    method = p.method or "blob"
    if method == "template":
        if "templates" not in request.inputs:
            raise InputError(f"stage {request.stage}: inputs.templates is not given.")
        return frozenset()
    if method != "blob":
        raise InputError(f"stage {request.stage}: method '{method}' is not one of this runner: blob or template.")
    said = {name: getattr(p, name) for name in SHAPES}
    if all(value is None for value in said.values()):
        return frozenset({"circular"})
    if not any(said.values()):
        raise InputError(f"stage {request.stage}: parameters: no shape of blob is left (circular, elliptical, ring).")
    return frozenset(name for name, value in said.items() if value)


def _references(request: StageRequest, p: PickingParameters, settings: PickSettings) -> References:
    from cryorepro.em.picking.references import read_templates

    return read_templates(
        request.inputs["templates"],
        selection=request.inputs.get("selection"),
        lowpass_angstrom=settings.lowpass,
        symmetry=p.symmetry,
        healpix_order=p.directions_healpix_order,
    )


def _ctf(table: MicrographTable, row: int) -> CtfParameters | None:
    """The micrograph's CTF where the table has it."""
    import torch

    from cryorepro.em.ctf import CtfParameters

    if "rlnDefocusU" not in table.rows.columns:
        return None
    phase = "rlnPhaseShift"
    values = [float(table.rows.numbers(f"rlnDefocus{part}")[row]) for part in ("U", "V", "Angle")]
    values.append(float(table.rows.numbers(phase)[row]) if phase in table.rows.columns else 0.0)
    group = table.groups[row]
    values += [group.voltage_kv, group.spherical_aberration_mm, group.amplitude_contrast]
    return CtfParameters(*(torch.tensor([value], dtype=torch.float64) for value in values))


def _write(request: StageRequest, table: MicrographTable, found: dict[int, Found], aside: dict[int, str]) -> None:
    extra = {
        "cryoreproPicks": [float(len(result.picks)) for result in found.values()],
        "cryoreproMaskedShare": [result.masked_share for result in found.values()],
    }
    names = [table.names[row] for row in found]
    write_picks(request.output_dir, names, [result.picks for result in found.values()], extra)
    write_set_aside(request.output_dir, table, aside)


def _line(result: Found | str) -> str:
    if isinstance(result, str):
        return result
    power = "" if result.noise_known else ", no noise at high frequency: power in units of the image's own"
    return f"{len(result.picks)} picks, {result.masked_share:.3f} masked{power}"


if __name__ == "__main__":
    run_program(work)
