"""What GPU time costs: the hardware one can ask for, its price, and the cost of a run.

Prices are US dollars a second of billed run time, from https://replicate.com/pricing (its hardware API carries no
prices, so they are kept here). Models, labels and hardware types are those SimpleTuner uses. Replicate sells H100
multiples to accounts with a contract only; without one the create is refused and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from types import MappingProxyType

from chalicelib.domain.predictions import HardwareProfile

_MICRODOLLAR = Decimal("0.000001")
_TRAINER = "simpletuner/advanced-trainer"


def _family(gpu: str, label: str, price: str) -> dict[str, HardwareProfile]:
    """One, two, four and eight of a GPU; Replicate prices multiples proportionally."""
    profiles = {}
    for count in (1, 2, 4, 8):
        profile_id = gpu if count == 1 else f"{gpu}-x{count}"
        name = label if count == 1 else f"{count}x {label}"
        profiles[profile_id] = HardwareProfile(
            id=profile_id,
            model=f"{_TRAINER}-{profile_id}",
            label=name,
            hardware_type=name,
            price_per_second=Decimal(price) * count,
        )
    return profiles


#: Replicate's trainers by profile id, in display order; the first is the default.
REPLICATE_HARDWARE: Mapping[str, HardwareProfile] = MappingProxyType(
    _family("h100", "H100", "0.001525") | _family("l40s", "L40S", "0.000975")
)


def cost(run_seconds: float, price_per_second: Decimal) -> Decimal:
    """US dollars for ``run_seconds`` at ``price_per_second``, half up to six places.

    Raises ValueError when either is negative or not finite: a cost nobody can tell must not pass for a small one.
    """
    seconds = Decimal(str(run_seconds))
    if not seconds.is_finite() or not price_per_second.is_finite() or seconds < 0 or price_per_second < 0:
        raise ValueError("run seconds and price must be finite and not negative")
    return (seconds * price_per_second).quantize(_MICRODOLLAR, rounding=ROUND_HALF_UP)
