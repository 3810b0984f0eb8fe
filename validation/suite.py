"""What `s2sam validate` runs: the list of cells at three sizes, for the chosen claims."""

from theory import CLAIMS
from theory.worst_case import INSTANCES, PROBLEMS
from validation import experiments as _experiments  # noqa: F401 - importing registers the experiments
from validation.cells import Cell
from validation.experiments.extremes import SLICE, questions
from validation.experiments.worst_case import GRIDS
from validation.measures import MEASURES
from validation.plans import expectations, floors, masks, momentum, network, orbits, schedules
from validation.sizes import SIZES, Size

SYNTHETIC = ("isotropic", "strong", "convex", "indefinite", "cosine", "pl", "logcosh", "logcosh-ridge", "huber")
REAL = ("breast-cancer", "digits")
SAMPLED = ("noisy-strong", "noisy-convex", "noisy-cosine", "noisy-logcosh")
RULES = ("sgd", "sam", "s2sam", "pair")
# measured in cells of their own, not in every sweep
APART = ("B2.quarter", "B2.half", "B5.s2sam", "B5.sam", "B8", "B9", "B10.gap", "B10.isotropic")


def cells(size: str, labels: list[str], seed: int = 0, device: str = "cpu") -> list[Cell]:
    """Return the cells that measure these claims at this size ("quick", "default" or "deep")."""
    s = SIZES[size]
    measured = [x for x in labels if x in MEASURES and x not in APART]
    result: list[Cell] = []
    if measured:
        result += _sweeps(s, measured, seed, device)
    groups = {CLAIMS[x].group for x in labels}
    if "B5" in groups:
        result += floors(s, labels, seed)
    if "B2" in groups:
        result += schedules(s, labels, seed, device)
    if "B8" in groups:
        result += masks(s, seed, device)
    if "B9" in groups:
        result += momentum(s, seed, device)
    if "B10" in groups:
        result += orbits(s, seed, device)
    if groups & {"C1", "C1'"}:
        result += _generalisation(s, seed)
    result += expectations(s, labels, seed, device)
    if s.restarts:
        result += _extremes(s, labels, seed)
        result.append(Cell.of("certificates", labels=[x for x in labels if CLAIMS[x].bound]))
    result += _worst_cases(s, labels)
    result += _curves(s, labels, seed)
    result += network(s, labels, seed)
    return result


def _sweeps(s: Size, labels: list[str], seed: int, device: str) -> list[Cell]:
    result = []
    common = {"labels": labels, "h": list(s.h), "rho": list(s.rho), "count": s.count, "horizons": list(s.horizons)}
    for repetition in range(s.seeds):
        fixed = {**common, "seed": seed + 1000 * repetition, "device": device}
        for family in SYNTHETIC + (REAL if repetition == 0 else ()):
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
                Cell.of("sweep", family=family, rule=rule, size=s.tree, enumerate_samples=True, **tree)
                for rule in ("sam", "s2sam", "sam-same-batch")
            ]
            still = {**tree, "rho": [0.0]}
            result.append(Cell.of("sweep", family=family, rule="sgd", size=s.tree, enumerate_samples=True, **still))
        for family in ("strong", "cosine", "logcosh-ridge"):
            result += [
                Cell.of("sweep", family=family, rule=rule, size=s.instances, sparsity=0.5, **fixed)
                for rule in ("s2sam", "pair")
            ]
        if s.first and "A3.start" in labels:  # one comparison a run, so that runs of one step are enough
            one = {**fixed, "labels": ["A3.start"], "count": 1, "horizons": [1], "size": s.first}
            result += [Cell.of("sweep", family=family, rule="s2sam", **one) for family in SYNTHETIC]
        shipped = {**fixed, "count": min(s.count, 40), "horizons": [h for h in s.horizons if h <= 40], "device": "cpu"}
        result += [
            Cell.of("sweep", family=family, rule=rule, size=1, **shipped)
            for family in ("isotropic", "strong", "cosine", "breast-cancer")
            for rule in ("S2SAM", "SAM")
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


def _generalisation(s: Size, seed: int) -> list[Cell]:
    work = {"draws": (10 if s.restarts else 4) * s.network, "count": 4 * s.network}
    return [
        Cell.of("pac_bayes", prior=prior, sparsity=0.9, seed=seed, **work)
        for prior in ("held", "initial")
    ]


def _extremes(s: Size, labels: list[str], seed: int) -> list[Cell]:
    """Searches over all constants; and at the one h at which they stand beside exact worst cases, T by T."""
    asked = questions(labels)
    held = [(x, rule) for x, rule in asked if x in PROBLEMS and rule in ("s2sam", "pair")]
    common = {"budget": s.restarts, "seed": seed}
    return [Cell.of("extreme", label=x, rule=rule, **common) for x, rule in asked] + [
        Cell.of("extreme", label=x, rule=rule, held={"h": SLICE}, **common) for x, rule in held
    ]


def _worst_cases(s: Size, labels: list[str]) -> list[Cell]:
    """Instances that attain bounds, and exact worst cases: a cell for the claims that share a problem, and each T."""
    known = [x for x in labels if any(i.claim == x for i in INSTANCES)]
    result = [Cell.of("attained", labels=known)] if known else []
    if not s.programs:
        return result
    shared: dict[tuple[str, int], list[str]] = {}
    for case in GRIDS[s.programs]():
        together = shared.setdefault((case.problem.claim, case.T), [])
        if case.claim in labels and case.claim not in together:
            together.append(case.claim)
    return result + [
        Cell.of("worst_case", labels=claims, grid=s.programs, T=T) for (_, T), claims in shared.items() if claims
    ]
