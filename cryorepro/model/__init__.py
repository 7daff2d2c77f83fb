"""Records shared by every layer: benchmarks, claims, datasets, stages, runs, verdicts."""
