"""A plugin for tests: a tiny reconstruction from known poses whose program can be told to go wrong in known ways."""
