"""First-party benchmarks, shaped as a third party would write them."""
