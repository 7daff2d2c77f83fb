"""Verdicts and comparisons of runs."""
