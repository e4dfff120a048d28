"""The sandbox provider: Replicate's HTTP API on loopback, with a tiny CPU trainer instead of a GPU."""
