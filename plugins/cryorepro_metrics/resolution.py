"""The resolution a classification reports, as a Fourier shell."""

from __future__ import annotations

from cryorepro.em.errors import InputError
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.half_maps import map_scale


class Class3DResolution:
    """``_rlnCurrentResolution`` of the last iteration, which RELION takes from a shell."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Shell index; the value read in Angstrom is among the details.

        Raises:
            InputError: the stage reported none, or it lies between shells or beyond Nyquist.
        """
        angstrom = context.numbers.get("current_resolution_angstrom")
        if not angstrom or angstrom <= 0:
            raise InputError("the stage reported no current resolution")
        box, pixel = map_scale(context)
        exact = box * pixel / angstrom
        shell = round(exact)
        if abs(exact - shell) > 0.02 * max(1, shell) or not 1 <= shell <= box // 2:
            raise InputError(f"a resolution of {angstrom:g} A is not a Fourier shell of {box} pixels of {pixel:g} A")
        details = {"angstrom": angstrom}
        return MetricValue(
            value=shell, unit="shells", shell=shell, box_px=box, pixel_size_angstrom=pixel, details=details
        )
