"""Kubernetes' quantities, as numbers.

Source: kubernetes/apimachinery, pkg/api/resource/quantity.go.
"""

from __future__ import annotations

import decimal
import math
import re

MOST_CPUS = 1024
"""As many threads as spec may ask for."""

_QUANTITY = re.compile(r"^([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?[0-9]{1,2}))?$")
_POWERS_OF_TEN = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SUFFIXES = {
    **{suffix: decimal.Decimal(10) ** power for suffix, power in _POWERS_OF_TEN.items()},
    **{f"{suffix}i": decimal.Decimal(2) ** (10 * power) for power, suffix in enumerate("KMGTPE", start=1)},
}


def parse(quantity: str | int) -> decimal.Decimal:
    """Return a quantity such as ``500m``, ``2`` or ``1Gi`` as a number.

    Raises:
        ValueError: Not a quantity, or one with an exponent of three digits, over which the API server itself hangs.
    """
    found = _QUANTITY.match(str(quantity))
    if found is None:
        raise ValueError(f"{quantity!r} is not a quantity such as 500m, 2 or 1Gi")
    number, suffix, exponent = found.groups()
    return decimal.Decimal(number) * _SUFFIXES.get(suffix, decimal.Decimal(1)) * decimal.Decimal(10) ** int(exponent or 0)


def whole_cpus(quantity: str | int | None) -> int:
    """Return a CPU quantity as a number of CPUs from 0 to :data:`MOST_CPUS`, rounded up; 0 for None.

    Whether a limit beyond that makes sense is for the API server to say; flags and config files must hold the number.
    """
    cpus = parse(quantity) if quantity is not None else 0
    return math.ceil(cpus) if 0 < cpus < MOST_CPUS else MOST_CPUS if cpus > 0 else 0
