"""What ends the demo early."""

from __future__ import annotations


class DemoError(Exception):
    """A sentence for the user, and the exit code to end with."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class DemoSkippedError(DemoError):
    """There is nothing to show, and that is no failure; the text says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 0)
