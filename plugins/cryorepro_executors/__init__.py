"""First-party executors, shaped as a third party would write them."""
