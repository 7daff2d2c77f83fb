"""How work scales over devices, what that costs, and how long a run will take from its first iterations."""
