"""Parts of what `s2sam validate` runs: the cells of the claims that the sweeps of `suite` do not speak of."""

from typing import Any

from validation.cells import Cell
from validation.experiments.alignment import COMMON, TASKS
from validation.experiments.expectation import share
from validation.experiments.network import MOMENTUM_CLAIMS, RUN_CLAIMS, STEP_CLAIMS
from validation.noisy_runs import asked
from validation.sizes import Size

BETAS = (0.5, 0.9)


def floors(s: Size, labels: list[str], seed: int) -> list[Cell]:
    """Return the cells of B5: floors on the line, in rational arithmetic and in float64."""
    exact = [Cell.of("floor_rational", h=h, rho="1/3", w0="5/7", count=200) for h in ("1/10", "1/2", "9/10")]
    every = 1 if s.restarts else 4
    result = [
        *exact,
        Cell.of("floor_float", h=[0.05 * k for k in range(every, 40, every)], rho=0.37, w0=[1.0, 0.21, 6.3], L=3.0),
        Cell.of("floor_paths", h=[0.1, 0.5], rho=0.37, w0=1.0, count=60),
    ]
    line: dict[str, Any] = {"family": "line", "size": 4 * s.instances, "seed": seed}
    # as long as rounding leaves of y_1; and after the transient, of at most 1/(rho h) + 41/h steps
    slow = {"h": [0.01, 0.02, 0.05, 0.1, 0.2], "rho": [0.01, 0.1, 1.0, 3.0], "count": 300, "horizons": [10, 100, 300]}
    fast = {"h": [0.3, 0.6, 1.0, 1.4, 1.7], "rho": [0.3, 1.0, 3.0], "count": 300, "horizons": [50, 150, 200, 300]}
    for label, rule, run in (("B5.s2sam", "s2sam", slow), ("B5.sam", "sam", fast)):
        if label in labels:
            result.append(Cell.of("sweep", labels=[label], rule=rule, **line, **run))
    return result


def masks(s: Size, seed: int, device: str) -> list[Cell]:
    """Return the cells of B8: one fixed support, and masks that change."""
    common = {"count": s.count, "seed": seed}
    result = []
    for family in ("strong", "cosine", "logcosh"):
        for sparsity in (0.0, 0.5, 0.8):
            fixed = {"family": family, "sparsity": sparsity, "rho": 0.5, **common}
            result += [Cell.of("mask_fixed", h=h, size=s.instances, **fixed) for h in (0.5, 1.0)]
            if sparsity:  # its rows are few
                result += [
                    Cell.of("mask_changing", h=h, every=4, size=9 * s.instances, **fixed) for h in (0.5, 1.0)
                ]
        run = {"labels": ["B8"], "h": list(s.h), "rho": list(s.rho), "horizons": [s.count], "device": device, **common}
        result.append(Cell.of("sweep", family=family, rule="masked", size=2 * s.instances, **run))
    return result


def schedules(s: Size, labels: list[str], seed: int, device: str) -> list[Cell]:
    """Return the cells of B2 without noise, or with all sample paths: long runs, then sweeps over h, rho and kinds."""
    horizons = [T for T in (10, 30, 100, 300, 1000, 3000, 10000, 30000) if T <= s.schedule]
    common = {"size": min(s.instances, 100), "horizons": horizons, "seed": seed, "device": device}
    result = []
    for family in ("isotropic", "cosine"):
        for rule in ("s2sam", "sam"):
            result.append(Cell.of("schedule_fixed", family=family, rule=rule, rho0=1.0, **common))
            result += [
                Cell.of("schedule_anytime", family=family, rule=rule, rho0=1.0, decay=decay, **common)
                for decay in ("quarter", "half")
            ]
    first: dict[str, Any] = {"h": [h for h in s.h if h <= 1], "rule": "s2sam", "seed": seed, "device": device}
    run = {"count": s.count, "horizons": list(s.horizons), "size": s.instances, "rho": list(s.rho)}
    tree = {"count": s.paths, "horizons": list(range(1, s.paths + 1)), "size": s.tree, "enumerate_samples": True}
    for decay in ("quarter", "half"):
        own = {**first, "labels": [f"B2.{decay}"], "schedule": decay}
        if own["labels"][0] not in labels:
            continue
        result += [Cell.of("sweep", family=f, **own, **run) for f in ("isotropic", "strong", "convex", "cosine")]
        result += [
            Cell.of("sweep", family=f, **own, **{**run, **tree}) for f in ("noisy-strong", "noisy-cosine")
        ]
    return result


def expectations(s: Size, labels: list[str], seed: int, device: str) -> list[Cell]:
    """Return the cells of long noisy runs; the level of each limit depends on the size of the suite alone."""
    families = ["noisy-isotropic", "noisy-cosine", *(["noisy-strong"] if s.restarts else [])]
    plans: list[dict[str, Any]] = []
    for family in families:
        for rule in ("s2sam", "sam"):
            fixed = {"family": family, "rule": rule, "horizons": list(s.long), "precision": s.precision}
            plans += [{**fixed, "schedule": "constant", "h": h, "rho": 0.1} for h in (0.5, 0.9)]
            if family != "noisy-strong" or s.precision < 0.1:  # its paths are the most
                decays = ("fixed", "quarter", "half")
                plans += [{**fixed, "schedule": decay, "h": 1.0, "rho": 0.01} for decay in decays]
    level = share(plans)
    return [
        Cell.of("expectation", labels=mine, level=level, seed=seed, device=device, **plan)
        for plan in plans
        if (mine := [x for x in asked(plan["family"], plan["rule"], plan["schedule"]) if x in labels])
    ]


def momentum(s: Size, seed: int, device: str) -> list[Cell]:
    """Return the cells of B9: runs with a buffer, on a grid of steps up to the largest that B9 allows."""
    result = []
    for beta in BETAS:
        limit = (1 - beta) ** 2 / (1 + beta) * (1 - 2.0**-50)  # of h, less what rounding may add to eta = h/L
        grid = {"h": [limit * part for part in (0.1, 0.5, 1.0)], "rho": [r for r in s.rho if r >= 0.1]}
        fixed = {"labels": ["B9"], "beta": beta, "seed": seed, **grid}
        count = 2 * s.count
        run = {"count": count, "horizons": sorted({1, 4, s.count, count}), "size": s.instances}
        for family in ("isotropic", "strong", "indefinite", "cosine"):
            own = {**fixed, **run, "family": family, "device": device}
            result += [Cell.of("sweep", rule=rule, **own) for rule in ("sam", "s2sam")]
            result.append(Cell.of("sweep", rule="sgd", **{**own, "rho": [0.0]}))
        few = {**run, "size": s.real, "count": s.count, "horizons": [s.count]}
        result.append(Cell.of("sweep", family="breast-cancer", rule="s2sam", device=device, **fixed, **few))
        result += [
            Cell.of("sweep", family="strong", rule=rule, **fixed, **{**few, "size": 1}) for rule in ("S2SAM", "SAM")
        ]
        tree = {"count": s.paths, "horizons": list(range(1, s.paths + 1)), "size": s.tree, "enumerate_samples": True}
        result += [
            Cell.of("sweep", family=family, rule="s2sam", device=device, **fixed, **tree)
            for family in ("noisy-strong", "noisy-cosine")
        ]
    return result


def orbits(s: Size, seed: int, device: str) -> list[Cell]:
    """Return the cells of B10: limit sets at constant radius."""
    h, count = [0.05, 0.1, 0.25, 0.5, 1.0], 10 * s.count
    gap = {"h": h, "rho": [0.1, 1.0], "count": count, "horizons": [2, 4, s.count, count], "seed": seed}
    round_ = {"count": 4000 if s.orbits > 10 else 1000, "rounds": 3 if s.orbits > 10 else 2, "seed": seed}
    line = {"h": h, "rho": [0.1, 1.0, 3.0], "count": count, "horizons": [10, s.count, count], "seed": seed}
    return [
        Cell.of("sweep", labels=["B10.gap"], family="axes", rule="s2sam", size=s.instances, device=device, **gap),
        *(Cell.of("orbit_isotropic", size=s.instances, dim=dim, **line) for dim in (2, 5)),
        *(Cell.of("orbit_search", dim=dim, size=s.orbits, h=h, **round_) for dim in (2, 4)),
        *(
            Cell.of("orbit_limit", dim=dim, size=10, q=[0.2, 0.5, 0.8], halvings=s.halvings, seed=seed)
            for dim in (2, 4)
        ),
    ]


def network(s: Size, labels: list[str], seed: int) -> list[Cell]:
    """Return the cells along the training of a network: claims (and with momentum), directions (A5), half types."""
    result = []
    run = {"images": 300, "rho": 0.05, "count": s.network, "seed": seed}
    for known, step in ((STEP_CLAIMS + RUN_CLAIMS, {"eta": 0.1}), (MOMENTUM_CLAIMS, {"eta": 0.05, "beta": 0.5})):
        if along := [x for x in known if x in labels]:
            result.append(Cell.of("network_claims", labels=along, **step, **run))
    if any(x.partition(".")[0] == "A5" for x in labels):
        narrow = {**TASKS["digits"], **COMMON, "width": 8, "steps": 2 * s.network, "seed": seed}
        fixed = {**narrow, "sparsity": 0.0, "momentum": 0.9, "replacement": False, "seeds": 5 if s.restarts else 2}
        result += [Cell.of("network_alignment", batch=batch, **fixed) for batch in (32, 256)]
    if any(x.partition(".")[0] == "A1" for x in labels):
        result.append(Cell.of("low_precision", widths=list(s.widths), rho=[0.05, 0.005], count=20, seed=seed))
    return result
