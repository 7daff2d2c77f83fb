"""Movies of a known specimen: what the beam, the ice, the optics, the stage and the detector make of it."""
