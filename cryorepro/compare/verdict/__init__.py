"""Verdicts on three axes: outcome, performance, assurance."""
