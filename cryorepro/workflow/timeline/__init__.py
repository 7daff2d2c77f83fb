"""What the machine did while a stage ran: sampled from outside, kept with the run, summarised and judged."""
