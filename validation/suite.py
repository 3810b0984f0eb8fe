"""What `s2sam validate` runs: the list of cells at three sizes, for the chosen claims."""

from theory import CLAIMS
from validation import experiments as _experiments  # noqa: F401 - importing registers the experiments
from validation.cells import Cell
from validation.experiments.extremes import questions
from validation.experiments.network import RUN_CLAIMS, STEP_CLAIMS
from validation.measures import MEASURES
from validation.sizes import SIZES, Size

SYNTHETIC = ("isotropic", "strong", "convex", "indefinite", "cosine", "pl", "logcosh", "logcosh-ridge", "huber")
REAL = ("breast-cancer", "digits")
SAMPLED = ("noisy-strong", "noisy-convex", "noisy-cosine", "noisy-logcosh")
RULES = ("sgd", "sam", "s2sam", "pair")
APART = ("B9", "B10.gap")  # measured in cells of their own, not in every sweep
BETAS = (0.5, 0.9)


def cells(size: str, labels: list[str], seed: int = 0, device: str = "cpu") -> list[Cell]:
    """Return the cells that measure these claims at this size ("quick", "default" or "deep")."""
    s = SIZES[size]
    measured = [x for x in labels if x in MEASURES and x not in APART]
    result: list[Cell] = []
    if measured:
        result += _sweeps(s, measured, seed, device)
    groups = {CLAIMS[x].group for x in labels}
    if "B5" in groups:
        result += _floors()
    if "B2" in groups:
        result += _schedules(s, seed, device)
    if "B8" in groups:
        result += _masks(s, seed)
    if "B9" in groups:
        result += _momentum(s, seed, device)
    if "B10" in groups:
        result += _orbits(s, seed, device)
    if groups & {"C1", "C1'"}:
        result += _generalisation(s, seed)
    if s.restarts:
        result += [
            Cell.of("extreme", label=x, rule=rule, budget=s.restarts, seed=seed) for x, rule in questions(labels)
        ]
    result += _curves(s, labels, seed)
    along = [x for x in STEP_CLAIMS + RUN_CLAIMS if x in labels]
    if along:
        result.append(
            Cell.of("network_claims", labels=along, images=300, eta=0.1, rho=0.05, count=s.network, seed=seed)
        )
    if "A1" in groups:
        result.append(Cell.of("low_precision", widths=list(s.widths), rho=[0.05, 0.005], count=20, seed=seed))
    if "A5" in groups:
        result += [
            Cell.of(
                "network_alignment",
                batch=b,
                eta=0.05,
                momentum=0.9,
                rho=0.05,
                count=8 * s.network,
                every=max(1, s.network // 12),
                seed=seed,
            )
            for b in (32, 256)
        ]
    return result


def _sweeps(s: Size, labels: list[str], seed: int, device: str) -> list[Cell]:
    result = []
    common = {"labels": labels, "h": list(s.h), "rho": list(s.rho), "count": s.count, "horizons": list(s.horizons)}
    for repetition in range(s.seeds):
        fixed = {**common, "seed": seed + 1000 * repetition, "device": device}
        for family in SYNTHETIC + REAL:
            size = s.real if family in REAL else s.instances
            result += [Cell.of("sweep", family=family, rule=rule, size=size, **fixed) for rule in RULES[1:]]
            result.append(Cell.of("sweep", family=family, rule="sgd", size=size, **{**fixed, "rho": [0.0]}))
        for family in SAMPLED:
            result += [
                Cell.of("sweep", family=family, rule=rule, size=s.instances, **fixed)
                for rule in ("s2sam", "sam-same-batch")
            ]
            tree = {
                **fixed,
                "count": s.paths,
                "horizons": list(range(1, s.paths + 1)),
                "rho": [r for r in s.rho if r >= 0.1],
            }
            result += [
                Cell.of("sweep", family=family, rule=rule, size=8, enumerate_samples=True, **tree)
                for rule in ("sam", "s2sam", "sam-same-batch")
            ]
            still = {**tree, "rho": [0.0]}
            result.append(Cell.of("sweep", family=family, rule="sgd", size=8, enumerate_samples=True, **still))
        for family in ("strong", "cosine", "logcosh-ridge"):
            result += [
                Cell.of("sweep", family=family, rule=rule, size=s.instances, sparsity=0.5, **fixed)
                for rule in ("s2sam", "pair")
            ]
        shipped = {**fixed, "count": min(s.count, 40), "horizons": [h for h in s.horizons if h <= 40], "device": "cpu"}
        result += [
            Cell.of("sweep", family=family, rule=rule, size=1, **shipped)
            for family in ("isotropic", "strong", "cosine", "breast-cancer")
            for rule in ("S2SAM", "SAM")
        ]
    return result


def _floors() -> list[Cell]:
    exact = [Cell.of("floor_rational", h=h, rho="1/3", w0="5/7", count=200) for h in ("1/10", "1/2", "9/10")]
    return [
        *exact,
        Cell.of("floor_float", h=[0.05 * k for k in range(1, 40)], rho=0.37, w0=[1.0, 0.21, 6.3], L=3.0),
        Cell.of("floor_paths", h=[0.1, 0.5], rho=0.37, w0=1.0, count=60),
    ]


def _schedules(s: Size, seed: int, device: str) -> list[Cell]:
    horizons = [T for T in (10, 30, 100, 300, 1000, 3000, 10000, 30000) if T <= s.schedule]
    common = {"size": s.instances, "horizons": horizons, "seed": seed, "device": device}
    result = []
    # with noise a small radius, so that the noise makes up a good part of the bound
    for family, rho0 in (("isotropic", 1.0), ("cosine", 1.0), ("noisy-strong", 0.01), ("noisy-cosine", 0.01)):
        for rule in ("s2sam", "sam"):
            result.append(Cell.of("schedule_fixed", family=family, rule=rule, rho0=rho0, **common))
            result += [
                Cell.of("schedule_anytime", family=family, rule=rule, rho0=rho0, decay=decay, **common)
                for decay in ("quarter", "half")
            ]
    return result


CURVES = {
    "A4.smooth": ("indefinite", "cosine", "strong"),
    "A4.convex": ("convex", "logcosh", "huber"),
    "A4.strong": ("isotropic", "strong", "breast-cancer"),
    "B1": ("isotropic", "cosine", "breast-cancer"),
    "B1'": ("isotropic", "cosine", "breast-cancer"),
    "B3": ("isotropic", "convex", "breast-cancer"),
    "B4": ("isotropic", "strong", "pl"),
    "B4'": ("isotropic", "strong", "breast-cancer"),
}


def _curves(s: Size, labels: list[str], seed: int) -> list[Cell]:
    longest = 40 if s.count < 40 else 1000
    horizons = sorted({round(10 ** (k / 8)) for k in range(25) if round(10 ** (k / 8)) <= longest})
    return [
        Cell.of(
            "curve",
            label=label,
            family=family,
            rule="pair" if label.startswith("A4") else "s2sam",
            h=0.5,
            rho=0.1,
            horizons=[T for T in horizons if T <= 40 or label != "A4.smooth"],
            seed=seed,
        )
        for label, families in CURVES.items()
        if label in labels
        for family in families
    ]


def _momentum(s: Size, seed: int, device: str) -> list[Cell]:
    result = []
    for beta in BETAS:
        limit = (1 - beta) ** 2 / (1 + beta) * (1 - 2.0**-50)  # of h, less what rounding may add to eta = h/L
        grid = {"h": [limit * part for part in (0.1, 0.5, 1.0)], "rho": [r for r in s.rho if r >= 0.1]}
        fixed = {"labels": ["B9"], "beta": beta, "seed": seed, **grid}
        count = 2 * s.count
        run = {"count": count, "horizons": sorted({1, 4, s.count, count}), "size": s.instances}
        for family in ("isotropic", "strong", "indefinite", "cosine"):
            result += [Cell.of("sweep", family=family, rule=rule, device=device, **fixed, **run) for rule in RULES[1:3]]
            still = {**fixed, **run, "rho": [0.0], "device": device}
            result.append(Cell.of("sweep", family=family, rule="sgd", **still))
        few = {**run, "size": s.real, "count": s.count, "horizons": [s.count]}
        result.append(Cell.of("sweep", family="breast-cancer", rule="s2sam", device=device, **fixed, **few))
        result += [
            Cell.of("sweep", family="strong", rule=rule, **fixed, **{**few, "size": 1}) for rule in ("S2SAM", "SAM")
        ]
        tree = {"count": s.paths, "horizons": list(range(1, s.paths + 1)), "size": 8, "enumerate_samples": True}
        result += [
            Cell.of("sweep", family=family, rule="s2sam", device=device, **fixed, **tree)
            for family in ("noisy-strong", "noisy-cosine")
        ]
    return result


def _orbits(s: Size, seed: int, device: str) -> list[Cell]:
    h, count = [0.05, 0.1, 0.25, 0.5, 1.0], 10 * s.count
    gap = {"h": h, "rho": [0.1, 1.0], "count": count, "horizons": [2, 4, s.count, count], "seed": seed}
    round_ = {"count": 4000 if s.orbits > 10 else 1000, "rounds": 3 if s.orbits > 10 else 2, "seed": seed}
    line = {"h": h, "rho": [0.1, 1.0, 3.0], "count": count, "horizons": [10, s.count, count], "seed": seed}
    return [
        Cell.of("sweep", labels=["B10.gap"], family="axes", rule="s2sam", size=s.instances, device=device, **gap),
        *(Cell.of("orbit_isotropic", size=s.instances, dim=dim, **line) for dim in (2, 5)),
        *(Cell.of("orbit_search", dim=dim, size=s.orbits, h=h, **round_) for dim in (2, 4)),
    ]


def _generalisation(s: Size, seed: int) -> list[Cell]:
    return [
        Cell.of("pac_bayes", prior=prior, sparsity=0.9, draws=10 * s.network, count=4 * s.network, seed=seed)
        for prior in ("held", "initial")
    ]


def _masks(s: Size, seed: int) -> list[Cell]:
    common = {"size": s.instances, "count": s.count, "seed": seed}
    result = []
    for family in ("strong", "cosine", "logcosh"):
        for sparsity in (0.0, 0.5, 0.8):
            result += [
                Cell.of("mask_fixed", family=family, sparsity=sparsity, h=h, rho=0.5, **common) for h in (0.5, 1.0)
            ]
            if sparsity:
                result += [
                    Cell.of("mask_changing", family=family, sparsity=sparsity, h=h, rho=0.5, every=4, **common)
                    for h in (0.5, 1.0)
                ]
    return result
