"""The local stack: emulator, sandbox provider, deployment and front door, kept running."""
