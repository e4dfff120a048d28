"""How a delivery of a very large model behaves; see README.md."""
