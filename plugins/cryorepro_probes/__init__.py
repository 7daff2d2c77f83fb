"""Probes: what the machine is, measured rather than declared, and nothing about the person who uses it."""
