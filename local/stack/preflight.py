"""What can be known before anything is set up: whether the stack could have its ports."""

from __future__ import annotations

from collections.abc import Callable

from local.stack import record
from local.stack.layout import DEFAULT_PORT, Layout, Ports
from local.stack.ports import check_ports, check_same_port, is_free, parse_port
from local.stack.processes import identity


def preflight(layout: Layout, port: str | None, command: str, free: Callable[[int], bool] = is_free) -> None:
    """Raises StackError when ``port`` (PORT's text; empty or None: the default) can't be the first of three ports, one
    of them is somebody else's, or the stack of this folder is up on others. ``command`` is what the user typed.
    """
    ports = Ports(parse_port(port or str(DEFAULT_PORT)))
    found = record.read(layout.record)
    if record.is_held(layout.lock):
        if found is not None:
            check_same_port(found.port, ports)
    elif found is None or not any(identity(m.pid) == m.started for m in found.children.values()):
        # What a killed supervisor left running may hold the ports: the start ends it, and looks again.
        check_ports(ports, command, free)
