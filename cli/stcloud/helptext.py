"""How ``--help`` shows parameters: nothing behind a flag, since it takes no value; no braces around an argument."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


def _bare(params: list[Any]) -> list[Any]:
    # Typer shows `--json <bool>` where an option has no metavar of its own; older releases show nothing.
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


class Command(TyperCommand):
    """A command whose flags are shown bare, and its required arguments without braces."""

    def get_params(self, ctx: Any) -> Any:
        return _bare(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        # Typer 0.29 writes `{JOB}` where every release before it, and every other program, writes `JOB`.
        return [piece[1:-1] if piece.startswith("{") else piece for piece in super().collect_usage_pieces(ctx)]


class Group(TyperGroup):
    """A group of commands whose flags are shown bare."""

    def get_params(self, ctx: Any) -> Any:
        return _bare(super().get_params(ctx))
