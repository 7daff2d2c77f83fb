"""What must be the same before two results, or two times, may be held against each other."""
