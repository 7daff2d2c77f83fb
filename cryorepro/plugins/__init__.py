"""The contract with plugin authors: hookspecs, typed descriptors, interfaces, loader."""
