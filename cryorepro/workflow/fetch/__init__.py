"""Fetching: bytes of public archives, verified, resumable, into the store's cache. One subject per file."""
