"""Linear algebra that torch batches and single numpy instances have in common.

A batch has a leading axis N; a single instance has none, and is a numpy object array of exact or 50-digit numbers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Number = Callable[[float], Any]  # a conversion from float: mpmath.mpf, fractions.Fraction


def transposed(A: Any) -> Any:
    """Return A with its last two axes exchanged."""
    return A.swapaxes(-1, -2)


def matvec(A: Any, x: Any) -> Any:
    """Return A x: (N, m, d) by (N, d), one shared (m, d) by (N, d), or numpy (m, d) by (d,)."""
    return (A @ x[..., None])[..., 0] if A.ndim > x.ndim else x @ transposed(A)


def pick(A: Any, index: Any, *, shared: bool) -> Any:
    """Return A[i][index[i]] for every instance i, or A[index] when A has no instance axis (shared, or one instance)."""
    return A[index] if shared else A[torch.arange(len(A), device=A.device), index]


def keep(mask: Any, x: Any) -> Any:
    """Return x where mask holds and 0 elsewhere."""
    return torch.where(mask, x, 0.0) if isinstance(x, Tensor) else np.where(mask, x, x * 0)


def exact(value: Tensor, number: Number) -> Any:
    """Return float64 data as numbers of another kind, digit for digit: an object array, or one number if 0-dimensional.

    Truth values stay truth values; nan, which says that a constant is not known, stays a float.
    """
    array = value.detach().cpu().numpy()
    if array.dtype == np.bool_:
        return array
    return np.frompyfunc(lambda v: number(float(v)) if np.isfinite(v) else float(v), 1, 1)(array)


def minimum(f_star: Tensor, w_star: Tensor) -> dict[str, Any]:
    """Return the entries f_star (N,) and w_star (N, d) of a problem, the latter blanked where f_star is nan."""
    unknown = f_star.isnan()
    known = None if bool(unknown.all()) else w_star.masked_fill(unknown[:, None], torch.nan)
    return {"f_star": f_star, "w_star": known}
