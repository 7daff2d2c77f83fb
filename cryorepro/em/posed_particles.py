"""A particle table with what an iteration found of every particle."""

from __future__ import annotations

from cryorepro.em.formats.particles import Particles
from cryorepro.em.imageset import Poses


def with_found_poses(particles: Particles, poses: Poses, pixel_size_angstrom: float, first_class: int = 1) -> Particles:
    """``particles`` with RELION's columns of its ``poses``; classes are counted from ``first_class``.

    The iteration before the first knows no classes yet: RELION writes 0 then, which no reader takes for a class.
    """
    euler, origin = poses.euler_deg.numpy(), poses.origin_px.numpy() * pixel_size_angstrom
    return particles.with_columns(
        rlnAngleRot=euler[:, 0],
        rlnAngleTilt=euler[:, 1],
        rlnAnglePsi=euler[:, 2],
        rlnOriginXAngst=origin[:, 0],
        rlnOriginYAngst=origin[:, 1],
        rlnClassNumber=poses.class_index.numpy() + first_class,
        rlnNormCorrection=poses.norm.numpy(),
        rlnLogLikeliContribution=poses.log_likelihood.numpy(),
        rlnMaxValueProbDistribution=poses.max_probability.numpy(),
        rlnNrOfSignificantSamples=poses.significant.numpy(),
    )
