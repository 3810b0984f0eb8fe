"""How many weights each layer keeps: uniform, Erdos-Renyi (ER) and Erdos-Renyi-Kernel (ERK) densities, exact counts.

All counts follow one rule, in which `count` guards against 100 * 0.29 = 28.999...: a layer of n weights at sparsity s
has `count(s n)` zeros. ER is from SET (Mocanu et al., Nature Communications 2018), ERK from RigL (Evci et al., ICML
2020).
"""

import math
from collections.abc import Callable, Collection, Mapping

Shapes = Mapping[str, tuple[int, ...]]


def count(x: float) -> int:
    """Return floor(x), x within 1e-6 below an integer taken for that integer.

    >>> int(100 * 0.29), count(100 * 0.29)
    (28, 29)
    """
    return math.floor(x + 1e-6)


def ones(sparsity: float, n: int) -> int:
    """Return how many of n entries are not zero at a sparsity: n - count(sparsity n).

    >>> ones(0.9, 101)
    11
    """
    return n - count(sparsity * n)


def check_sparsity(sparsity: float) -> float:
    """Return a sparsity, the fraction of weights that are zero.

    Raises:
        ValueError: when it is not in [0, 1).
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be in [0, 1), got {sparsity}; give the fraction of weights to remove")
    return float(sparsity)


def uniform(
    shapes: Shapes, sparsity: float, *, dense: Collection[str] = (), compensate: bool = False
) -> dict[str, float]:
    """Return the same density 1 - sparsity for every layer that is not declared dense.

    Args:
        shapes: shape of each prunable weight, (c_out, c_in/groups, kh, kw) or (out, in), by name.
        sparsity: fraction of zeros, in [0, 1).
        dense: names of layers of density 1.
        compensate: whether the others make up for the dense ones, so that the sparsity is that of the whole. Without
            it (the usual practice) the dense layers do not count.

    Raises:
        ValueError: for a sparsity outside [0, 1), an unknown dense layer, or dense layers beyond the whole budget.

    >>> uniform({"a": (4, 4), "b": (8, 6)}, 0.75, dense=["a"])
    {'a': 1.0, 'b': 0.25}
    """
    return _solve(shapes, sparsity, {name: 1.0 for name in shapes}, dense, compensate)


def erdos_renyi(
    shapes: Shapes, sparsity: float, *, dense: Collection[str] = (), compensate: bool = False
) -> dict[str, float]:
    """Return ER densities, proportional to (n_in + n_out)/(n_in n_out) with the kernel ignored, at most 1.

    Arguments and errors are those of `uniform`; layers that the rule itself fills do count.
    """
    return _solve(shapes, sparsity, {k: (s[0] + s[1]) / (s[0] * s[1]) for k, s in shapes.items()}, dense, compensate)


def erk(
    shapes: Shapes, sparsity: float, *, dense: Collection[str] = (), compensate: bool = False, power: float = 1.0
) -> dict[str, float]:
    """Return ERK densities, proportional to (sum of the shape/product of the shape)^power, at most 1.

    Arguments and errors are those of `uniform`; layers that the rule itself fills do count. For linear layers it is ER,
    at power 0 uniform.

    >>> erk({"a": (8, 3, 3, 3), "b": (16, 8, 3, 3), "c": (32, 16, 3, 3), "d": (10, 32)}, 0.8)  # d is filled
    {'a': 0.7318..., 'b': 0.2421..., 'c': 0.1089..., 'd': 1.0}
    """
    raw = {name: (sum(shape) / math.prod(shape)) ** power for name, shape in shapes.items()}
    return _solve(shapes, sparsity, raw, dense, compensate)


DISTRIBUTIONS: dict[str, Callable[..., dict[str, float]]] = {"uniform": uniform, "er": erdos_renyi, "erk": erk}


def budgets(shapes: Shapes, densities: Mapping[str, float]) -> dict[str, int]:
    """Return whole numbers of non-zeros for densities: their sum is exact, every layer keeps at least one.

    Each layer starts at `ones(1 - density, n)`, which rounds up; layers that gained most give one back until the sum is
    `ones` of the total (largest remainder; RigL's code skips this and is off by less than the number of layers).

    Args:
        shapes: shape of each prunable weight, by name.
        densities: fraction of non-zeros of each, in (0, 1].

    Raises:
        ValueError: for a missing layer or a density outside (0, 1].

    >>> budgets({"a": (3, 5), "b": (7, 5), "c": (5, 5)}, {"a": 0.1, "b": 0.1, "c": 0.1})  # 8 of 75
    {'a': 1, 'b': 4, 'c': 3}
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if missing := sorted(sizes.keys() ^ densities.keys()):
        raise ValueError(f"distribution must give a density for exactly the prunable layers, got a mismatch: {missing}")
    for name, d in densities.items():
        if not 0 < d <= 1:
            raise ValueError(f"density must be in (0, 1], got {d} for {name}; leave a layer out of `layers` instead")
    kept = {name: ones(1 - d, sizes[name]) for name, d in densities.items()}
    total, n = sum(kept.values()), sum(sizes.values())
    exact = {name: d * sizes[name] for name, d in densities.items()}
    surplus = total - ones(1 - sum(exact.values()) / n, n)
    gained = sorted((name for name in kept if kept[name] > 1), key=lambda name: exact[name] - kept[name])
    for name in gained[: max(surplus, 0)]:
        kept[name] -= 1
    return kept


def _solve(
    shapes: Shapes, sparsity: float, raw: Mapping[str, float], dense: Collection[str], compensate: bool
) -> dict[str, float]:
    """Return min(1, eps raw) with the eps of the budget: layers that would exceed 1 are filled, the rest is shared."""
    check_sparsity(sparsity)
    if unknown := sorted(set(dense) - shapes.keys()):
        raise ValueError(f"dense must name prunable layers, got {unknown}; the layers are {list(shapes)}")
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    free = [name for name in shapes if name not in dense]
    budget = (1 - sparsity) * sum(sizes[name] for name in (shapes if compensate else free))
    budget -= sum(sizes[name] for name in dense) if compensate else 0
    if free and budget <= 0:
        raise ValueError(f"dense layers must leave room at sparsity {sparsity}, got {list(dense)}; drop compensate")
    densities = dict.fromkeys(shapes, 1.0)
    while free:
        eps = budget / sum(raw[name] * sizes[name] for name in free)
        largest = max(raw[name] for name in free)
        if eps * largest <= 1 + 1e-12:  # at a sparsity near 0 rounding alone exceeds 1
            return densities | {name: min(1.0, eps * raw[name]) for name in free}
        budget -= sum(sizes[name] for name in free if raw[name] == largest)
        free = [name for name in free if raw[name] < largest]
    return densities
