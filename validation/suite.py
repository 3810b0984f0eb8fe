"""What `s2sam validate` runs: the list of cells at three sizes, for the chosen claims."""

from dataclasses import dataclass

from theory import CLAIMS
from validation import experiments as _experiments  # noqa: F401 - importing registers the experiments
from validation.cells import Cell
from validation.experiments.network import RUN_CLAIMS, STEP_CLAIMS
from validation.measures import MEASURES

SYNTHETIC = ("isotropic", "strong", "convex", "indefinite", "cosine", "pl", "logcosh", "logcosh-ridge", "huber")
REAL = ("breast-cancer", "digits")
SAMPLED = ("noisy-strong", "noisy-convex", "noisy-cosine", "noisy-logcosh")
RULES = ("sgd", "sam", "s2sam", "pair")
H = (0.1, 0.5, 1.0, 1.5)
RHO = (0.01, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes:
        instances: of a family.
        count: steps.
        horizons: the T at which claims about whole runs are read.
        real: starts on real data.
        schedule: longest of B2.
        seeds: repetitions of the sweep.
        paths: steps of the runs whose sample paths are enumerated.
        network: steps of full-batch training.
        h: step sizes in units of 1/L.
        rho: radii; starts are at distance 1.
    """

    instances: int
    count: int
    horizons: tuple[int, ...]
    real: int
    schedule: int
    seeds: int
    paths: int
    network: int
    h: tuple[float, ...] = H
    rho: tuple[float, ...] = RHO


SIZES = {
    "quick": Size(
        instances=12,
        count=12,
        horizons=(1, 4, 12),
        real=2,
        schedule=300,
        seeds=1,
        paths=4,
        network=25,
        h=(0.5, 1.0),
        rho=(0.1, 1.0),
    ),
    "default": Size(
        instances=64, count=40, horizons=(1, 2, 4, 10, 40), real=4, schedule=3000, seeds=1, paths=5, network=100
    ),
    "deep": Size(
        instances=1000,
        count=200,
        horizons=(1, 2, 3, 5, 10, 30, 100, 200),
        real=24,
        schedule=30000,
        seeds=5,
        paths=6,
        network=300,
    ),
}


def cells(size: str, labels: list[str], seed: int = 0, device: str = "cpu") -> list[Cell]:
    """Return the cells that measure these claims at this size ("quick", "default" or "deep")."""
    s = SIZES[size]
    measured = [x for x in labels if x in MEASURES]
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
    result += _curves(s, labels, seed)
    along = [x for x in STEP_CLAIMS + RUN_CLAIMS if x in labels]
    if along:
        result.append(
            Cell.of("network_claims", labels=along, images=300, eta=0.1, rho=0.05, count=s.network, seed=seed)
        )
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
