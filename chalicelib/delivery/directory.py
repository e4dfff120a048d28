"""The TargetLookup port: the adapter of a destination's kind.

Libraries of one kind are only in the package of the functions that deliver, so each adapter is imported when it is
first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.domain.credentials import Secret
from chalicelib.domain.delivery_ports import AnyDestination, DeliveryFault, Target

#: Connects one kind of destination with its secret; raises DeliveryFault.
Connector = Callable[[Any, Secret | None], Target]


class TargetDirectory:
    """``connectors`` by a destination's ``kind``."""

    def __init__(self, connectors: Mapping[str, Connector]) -> None:
        self._connectors = connectors

    def __call__(self, destination: AnyDestination, secret: Secret | None) -> Target:
        connect = self._connectors.get(destination.kind)
        if connect is None:
            raise DeliveryFault(
                "bad_destination",
                f"This deployment can't deliver to a destination of the kind '{destination.kind}'.",
                "Choose another destination, or update the stack.",
                retry=False,
            )
        return connect(destination, secret)
