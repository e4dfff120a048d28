"""What ends a command of the local stack."""

from __future__ import annotations


class StackError(Exception):
    """The command can't go on. The message is for people: what happened, and what to do."""


class Stopped(Exception):
    """Somebody asked to stop (Ctrl-C, `make stop`) while something was waited for."""
