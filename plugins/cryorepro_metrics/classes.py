"""How particles were divided into classes."""

from __future__ import annotations

import numpy as np

from cryorepro.em.formats.particles import read_particles
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.assignments import pair


class ClassOccupancy:
    """Fraction of particles whose best class is the largest one."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Fraction of the largest class; all of them among the details.

        Raises:
            InputError: the particle table has no class column.
        """
        numbers = read_particles(context.artifacts["particles"], require_ctf=False).column("rlnClassNumber")
        counts = np.bincount(numbers)[1:]
        fractions = [round(float(count) / len(numbers), 6) for count in counts]
        return MetricValue(value=max(fractions), unit="fraction", details={"fractions": fractions})


class ClassAccuracy:
    """Fraction of particles in their true class, after matching classes one to one."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Fraction, with the confusion table (found class by true class) among the details.

        Raises:
            InputError: found and true particles are not the same images.
        """
        pairing = pair(context.artifacts["particles"], context.truth["particles"])
        left = pairing.found.column("rlnClassNumber")
        right = pairing.true.column("rlnClassNumber")
        confusion = np.zeros((int(left.max()), int(right.max())), dtype=int)
        np.add.at(confusion, (left - 1, right - 1), 1)
        details = {
            "true_of_found": {str(key): value for key, value in pairing.true_of_found.items()},
            "confusion": confusion.tolist(),
        }
        return MetricValue(value=float(pairing.correct.mean()), unit="fraction", details=details)
