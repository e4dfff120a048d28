"""The sandbox's trainer: SimpleTuner's contract under Cog, with a small NumPy model in place of a diffusion model.

What it takes, prints, writes and publishes follows SimpleTuner 4.10.1. What it trains does not: see README.md.
"""
