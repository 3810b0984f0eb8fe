"""The experiments: each module states its protocol in its docstring and registers functions that yield rows."""

from validation.experiments import (
    alignment,
    certificates,
    curves,
    expectation,
    extremes,
    floors,
    generalisation,
    low_precision,
    masks,
    network,
    orbits,
    schedules,
    sweep,
    worst_case,
)

__all__ = [
    "alignment",
    "certificates",
    "curves",
    "expectation",
    "extremes",
    "floors",
    "generalisation",
    "low_precision",
    "masks",
    "network",
    "orbits",
    "schedules",
    "sweep",
    "worst_case",
]
