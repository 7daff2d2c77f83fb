"""Runs exported for others."""
