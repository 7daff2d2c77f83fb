"""First-party metrics: outcomes measured from artifacts of a run."""
