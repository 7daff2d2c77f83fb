"""A refined map held against the atomic model it should show, with a picture of the map beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from cryorepro.em.align import align_maps
from cryorepro.em.atomic import AtomicModel, model_density, read_model
from cryorepro.em.errors import InputError
from cryorepro.em.fsc import crossing, fsc_curve, shell_to_angstrom
from cryorepro.em.model_symmetry import orient_to_symmetry
from cryorepro.em.render import write_sections_png
from cryorepro.em.symmetry import normalise_symmetry
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.half_maps import read_artifact, shell_value

PICTURE = "map_sections.png"
_MIRROR = np.diag([1.0, 1.0, -1.0])


class MapModelFsc:
    """Last shell before the FSC of the map with its model falls below a threshold (0.5 unless given)."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Shell index; the curve, the other crossing and that of the mirrored model among the details.

        A model with cubic or icosahedral symmetry is placed by its axes, any other by a search over all
        rotations.  No mask is laid over the map: the model's density has no solvent around it, and a mask's
        edge would decide the shells where a round particle scatters least.

        Raises:
            InputError: map or model is missing or unreadable, or the model has not the symmetry stated.
        """
        volume, pixel_size = read_artifact(context, "map")
        if "model" not in context.data.files:
            raise InputError("the dataset gives no atomic model to hold the map against")
        known = {**context.data.parameters, **context.stage_parameters}
        symmetry = normalise_symmetry(str(known.get("symmetry", "C1")))
        box = volume.shape[0]
        model = place_model(read_model(context.data.files["model"]), volume, pixel_size, symmetry)
        curve, mirrored = (
            fsc_curve(volume, model_density(candidate, box, pixel_size))
            for candidate in (model, model.moved(_MIRROR, np.zeros(3)))
        )
        threshold = float(context.parameters.get("threshold", 0.5))
        value = shell_value(curve, threshold, box, pixel_size)
        details: dict[str, Any] = dict(value.details)
        details["shell_at_0.143"] = crossing(curve, 0.143).shell
        details["shell_of_other_hand"] = crossing(mirrored, threshold).shell
        if context.output_dir is not None:
            shown = shell_to_angstrom(value.value, box, pixel_size)
            title = f"map against model: FSC {threshold:g} at shell {value.shell} ({shown:.1f} Å)"
            write_sections_png(context.output_dir / PICTURE, volume, pixel_size, title=title)
            details["picture"] = PICTURE
        return value.model_copy(update={"details": details})


def place_model(model: AtomicModel, volume: np.ndarray, pixel_size: float, symmetry: str) -> AtomicModel:
    """Move a model into the frame of a map ``[n, n, n]``.

    The axes of O and I leave one way to place it; elsewhere the best of all rotations is taken.
    """
    if symmetry[0] in "OI":
        return orient_to_symmetry(model, symmetry)
    centred = orient_to_symmetry(model, symmetry) if symmetry != "C1" else model.centred()
    density = model_density(centred, volume.shape[0], pixel_size)
    found = align_maps(volume, density, pixel_size, symmetry)
    return centred.moved(found.rotation, found.shift_angstrom)
