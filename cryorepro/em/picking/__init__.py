"""Particles found in micrographs: templates, locally normalised correlation, peaks, rules for keeping them, boxes."""
