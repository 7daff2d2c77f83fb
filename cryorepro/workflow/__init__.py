"""From a benchmark to a finished run."""
