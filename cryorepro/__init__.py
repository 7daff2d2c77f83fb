"""cryorepro: published cryo-EM benchmarks, run here, with a verdict you can believe."""

__version__ = "0.1.0"
