"""S2-SAM: sharpness-aware training at one gradient a step (Ji et al., NeurIPS 2024), and exact SAM beside it.

`S2SAM(base, rho)` and `SAM(base, rho)` wrap any torch optimizer that takes one gradient a step. `s2sam.rules` is the
method as pure functions, `s2sam.optim` the two methods, `s2sam.wrapper` the bookkeeping they share, `s2sam.attach` the
hooks for a training loop that one cannot edit.
"""

from importlib.metadata import PackageNotFoundError, version

from s2sam.optim import S2SAM, SAM

try:
    __version__ = version("s2sam")
except PackageNotFoundError:  # run from a source tree
    __version__ = "0+unknown"

__all__ = ["S2SAM", "SAM", "__version__"]
