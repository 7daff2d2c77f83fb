"""What an expectation step may hold at once on its device."""

from __future__ import annotations

from dataclasses import replace

from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.footprint import StepShape
from cryorepro.em.devices.memory import free_bytes
from cryorepro.em.devices.plan import Plan
from cryorepro.em.devices.planning import plan_step
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.imageset import ImageSet
from cryorepro.em.projection import Projector
from cryorepro.em.sampling import psi_count

# References may take this share of what a GPU has free.
_CROWDED = 0.1
# A window of three sigma each way, RELION's, holds a few hundred orientations of any grid.
_LOCAL_ROWS = 1024


def step_shape(model: EstepModel, images: ImageSet) -> StepShape:
    """The sizes that decide how much memory a step takes."""
    sampling, plane = model.sampling, model.plane
    directions, n_psi = int(sampling.pixels.shape[0]), psi_count(sampling.healpix_order)
    return StepShape(
        box_px=images.box_px,
        pixels=len(plane),
        coarse_pixels=plane.coarse_length(model.coarse_shell),
        cells=model.projectors[0].cells,
        classes=model.classes,
        coarse_rows=directions * (n_psi // 2),
        coarse_shifts=int(sampling.translations().shape[0]),
        oversampling=sampling.oversampling,
        groups=images.noise_groups + images.scale_groups,
        particles=len(images),
    )


def placed(projector: Projector, classes: int) -> Projector:
    """The projector of one of so many classes, brought to the CPU where all of them would crowd a GPU."""
    if projector.device.type == "cpu" or 8 * projector.cells * classes < _CROWDED * free_bytes(projector.device):
        return projector
    return projector.on(CPU)


def planned(
    model: EstepModel, images: ImageSet, workers: int, processes: int = 1, exact: bool = False, local: bool = False
) -> Plan:
    """A plan from what is free now; ``processes`` of this node share its memory, each with so many ``workers``.

    A ``local`` search holds the orientations around one particle's own, not the grid's.
    """
    device, shape = model.device, step_shape(model, images)
    if local:
        shape = replace(shape, coarse_rows=min(shape.coarse_rows, _LOCAL_ROWS))
    free = free_bytes(device) // (processes if device.type == "cpu" else 1)
    return plan_step(shape, device, free, workers, exact)
