"""One module per stage kind; each runs as ``python -m cryorepro_engines.programs.KIND``."""
