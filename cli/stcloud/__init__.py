"""Command line of SimpleTuner Cloud. It knows the server through its HTTP API alone."""

from __future__ import annotations

__version__ = "0.1.0"
