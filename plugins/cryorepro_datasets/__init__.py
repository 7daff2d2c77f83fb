"""First-party datasets: archive entries with their tiers, shaped as a third party would write them."""
