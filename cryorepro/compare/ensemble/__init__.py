"""Sets of replicates: planned together, run interleaved, judged as a whole, failed members included."""
