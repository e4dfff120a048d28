"""What the product costs in time, transitions and memory. Measured, never asserted: see README.md."""
