"""The experiments: each module states its protocol in its docstring and registers functions that yield rows."""

from validation.experiments import (
    curves,
    extremes,
    floors,
    generalisation,
    low_precision,
    masks,
    network,
    orbits,
    schedules,
    sweep,
)

__all__ = [
    "curves",
    "extremes",
    "floors",
    "generalisation",
    "low_precision",
    "masks",
    "network",
    "orbits",
    "schedules",
    "sweep",
]
