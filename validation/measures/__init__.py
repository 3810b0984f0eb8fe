"""The left side of every claim, measured: importing this package fills MEASURES."""

from validation.measures import bias, convergence, error, limits, momentum, orbits, rates
from validation.measures.base import MEASURES, Measure, Measured, mean, measure

__all__ = [
    "MEASURES", "Measure", "Measured", "bias", "convergence", "error", "limits", "mean", "measure", "momentum",
    "orbits", "rates",
]
