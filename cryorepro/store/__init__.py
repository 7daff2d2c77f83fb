"""Run journals, which are the record, and the SQLite index, which can be rebuilt from them."""
