"""Margins from an ensemble: repeatability and reproducibility apart, a tolerance interval, held-out runs that pass."""
