"""Where the engines compute: the device, what fits into its memory, and the processes that share the work."""
