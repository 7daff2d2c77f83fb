"""An example plugin for cryorepro: a ball of known size, a mask of it, and a check of the mask."""
