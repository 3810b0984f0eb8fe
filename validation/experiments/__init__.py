"""The experiments: each module states its protocol in its docstring and registers functions that yield rows."""

from validation.experiments import curves, floors, masks, network, schedules, sweep

__all__ = ["curves", "floors", "masks", "network", "schedules", "sweep"]
