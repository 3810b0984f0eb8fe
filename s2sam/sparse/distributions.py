"""How many weights each layer keeps: uniform, Erdos-Renyi (ER) and Erdos-Renyi-Kernel (ERK) densities, exact counts.

ER is from SET (Mocanu et al., Nature Communications 2018), ERK from RigL (Evci et al., ICML 2020). All counts follow
one rule: a layer of n weights at sparsity s has `count(s n)` zeros.
"""

import math
from collections.abc import Callable, Collection, Mapping

Shapes = Mapping[str, tuple[int, ...]]


def count(x: float) -> int:
    """Return floor(x), but n for x within 1e-6 below an integer n: 29 for 100 * 0.29, of which int makes 28."""
    return math.floor(x + 1e-6)


def ones(sparsity: float, n: int) -> int:
    """Return how many of n entries are not zero at a sparsity: n - count(sparsity n); 11 of 101 at 0.9."""
    return n - count(sparsity * n)


def require(holds: object, message: str) -> None:
    """Raise ValueError with a message, unless something holds: the one way in which arguments are refused here."""
    if not holds:
        raise ValueError(message)


def check_sparsity(sparsity: float) -> float:
    """Return a sparsity, the fraction of weights that are zero; ValueError when it is not in [0, 1)."""
    remedy = "give the fraction of weights to remove"
    require(0 <= sparsity < 1, f"sparsity must be in [0, 1), got {sparsity}; {remedy}")
    return float(sparsity)


def uniform(
    shapes: Shapes, sparsity: float, *, dense: Collection[str] = (), compensate: bool = False
) -> dict[str, float]:
    """Return the same density 1 - sparsity for every layer that is not declared dense.

    Args:
        shapes: shape of each prunable weight, (c_out, c_in/groups, kh, kw) or (out, in), by name.
        sparsity: fraction of zeros, in [0, 1).
        dense: names of layers of density 1.
        compensate: whether the others make up for the dense ones; usually the dense ones just do not count.

    ValueError for a sparsity outside [0, 1), an unknown dense layer, or dense layers beyond the whole budget.
    """
    return _solve(shapes, sparsity, {name: 1.0 for name in shapes}, dense, compensate)


def erdos_renyi(
    shapes: Shapes, sparsity: float, *, dense: Collection[str] = (), compensate: bool = False
) -> dict[str, float]:
    """Return ER densities, as `erk` but proportional to (n_in + n_out)/(n_in n_out): the kernel is ignored."""
    return _solve(shapes, sparsity, {k: (s[0] + s[1]) / (s[0] * s[1]) for k, s in shapes.items()}, dense, compensate)


def erk(
    shapes: Shapes, sparsity: float, *, dense: Collection[str] = (), compensate: bool = False, power: float = 1.0
) -> dict[str, float]:
    """Return ERK densities, proportional to (sum of the shape/product of the shape)^power, at most 1.

    Arguments and errors: those of `uniform`, which power 0 gives; layers that the rule itself fills do count.
    """
    raw = {name: (sum(shape) / math.prod(shape)) ** power for name, shape in shapes.items()}
    return _solve(shapes, sparsity, raw, dense, compensate)


DISTRIBUTIONS: dict[str, Callable[..., dict[str, float]]] = {"uniform": uniform, "er": erdos_renyi, "erk": erk}


def budgets(shapes: Shapes, densities: Mapping[str, float]) -> dict[str, int]:
    """Return whole numbers of non-zeros for densities: their sum is exact, every layer keeps at least one.

    Each layer starts at the next whole number above n times its density; those that gained most give one back until
    the sum is `ones` of the total (largest remainder; RigL's code skips this). The sum is larger only where one entry
    for each layer is too much already. ValueError for a missing layer or a density outside (0, 1].
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    other = sorted(sizes.keys() ^ densities.keys())
    require(not other, f"distribution must give a density for exactly the prunable layers, got a mismatch: {other}")
    for name, d in densities.items():
        require(0 < d <= 1, f"density must be in (0, 1], got {d} for {name}; leave a layer out of `layers` instead")
    exact = {name: d * sizes[name] for name, d in densities.items()}
    kept = {name: min(sizes[name], count(x) + 1) for name, x in exact.items()}
    n = sum(sizes.values())
    total = ones(1 - sum(exact.values()) / n, n)
    while sum(kept.values()) > total and (givers := [k for k in kept if densities[k] < 1 and kept[k] > 1]):
        kept[max(givers, key=lambda name: kept[name] - exact[name])] -= 1
    return kept


def _solve(
    shapes: Shapes, sparsity: float, raw: Mapping[str, float], dense: Collection[str], compensate: bool
) -> dict[str, float]:
    """Return min(1, eps raw) with the eps of the budget: layers that would exceed 1 are filled, the rest is shared."""
    check_sparsity(sparsity)
    dense = set(dense)  # a name may come twice: by itself and as the first layer
    unknown = sorted(dense - shapes.keys())
    require(not unknown, f"dense must name prunable layers, got {unknown}; the layers are {list(shapes)}")
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    free = [name for name in shapes if name not in dense]
    budget = (1 - sparsity) * sum(sizes[name] for name in (shapes if compensate else free))
    budget -= sum(sizes[name] for name in dense) if compensate else 0
    room = not free or budget > 0
    require(room, f"dense layers must leave room at sparsity {sparsity}, got {sorted(dense)}; drop compensate")
    densities = dict.fromkeys(shapes, 1.0)
    while free:
        eps = budget / sum(raw[name] * sizes[name] for name in free)
        largest = max(raw[name] for name in free)
        if eps * largest <= 1 + 1e-12:  # at a sparsity near 0 rounding alone exceeds 1
            return densities | {name: min(1.0, eps * raw[name]) for name in free}
        budget -= sum(sizes[name] for name in free if raw[name] == largest)
        free = [name for name in free if raw[name] < largest]
    return densities
