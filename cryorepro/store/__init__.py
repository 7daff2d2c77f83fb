"""Run journals first, the SQLite index second."""
