"""A small Hub that the real ``huggingface_hub`` completes against; see README.md."""
