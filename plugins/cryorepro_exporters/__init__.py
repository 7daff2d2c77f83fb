"""First-party exporters, shaped as a third party would write them."""
