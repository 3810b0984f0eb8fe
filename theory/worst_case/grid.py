"""The grids of worst cases, and their rows, solved once: a row is known by the hash of its problem and of the code."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from theory.worst_case.problems import Case
from theory.worst_case.solve import Solution, judge, maximum

__all__ = ["cases", "default_cases", "key", "rows"]

STEPS = (0.25, 0.5, 0.75, 1.0)  # h, for claims with h <= 1
LONG = (1.25, 1.5, 1.75)  # and where the claim allows more
MU = 0.1  # mu/L of the claims with mu
ROUND = 0.8  # and for nearly round functions, where some of their bounds are tighter
BETAS = (0.25, 0.5, 0.75, 0.9)  # momentum in B9, and h as parts of the largest that B9 allows
PARTS = (0.25, 0.5, 1.0)
HALF = 0.5  # radius in B3: with one as large as ||w_0 - w*|| a run that stays at w_0 is already the worst


def cases(
    T: Iterable[int] = range(1, 9), h: Iterable[float] = (*STEPS, *LONG), beta: Iterable[float] = BETAS
) -> Iterator[Case]:
    """Every claim's cases at these numbers of steps, step sizes and (B9) momenta, where the claim's domain has them.

    The default is the whole grid. Both kinds of perturbation are taken, S2-SAM's relaxation ("stale") too, but not for
    A4, where it excludes next to nothing: any perturbation is nearly orthogonal to a gradient that is large in a
    direction of its own. B1 and B3 have the measured Delta (R2) and the minimum in its sharper form without p_{T-1},
    B1' and B9 the measured Delta and the minimum as the claim has it, of which B1'.fstar is the sharper form.
    """
    sizes, momenta = tuple(h), tuple(beta)
    for steps in T:
        for kind in ("any", "stale"):
            for size in sizes:
                yield from _at(steps, size, kind)
            for b in momenta:
                yield from _momentum(steps, b, kind)


def default_cases() -> Iterator[Case]:
    """The grid of the default validation: T = 1, 2, 3, 4 and 6, at h = 1/2 and 1, B1' at h = 3/2, B9 at beta = 1/2."""
    yield from cases((1, 2, 3, 4), (0.5, 1.0), (0.5,))
    yield from (c for c in cases((6,), (0.5, 1.0), (0.5,)) if c.perturbation == "any")
    yield from (c for c in cases((1, 2, 4), (1.5,), ()) if c.claim in ("B1'", "B1'.fstar"))


def _at(T: int, h: float, kind: Any) -> Iterator[Case]:
    shared: dict[str, Any] = {"T": T, "h": h, "perturbation": kind}
    m = MU * h
    if kind == "any" and h == 0.5:
        yield from (Case(claim=c, m=ROUND * h, **shared) for c in ("A4.strong", "A4.strong-linear", "B4", "B4'"))
    if kind == "any":
        yield Case(claim="A4.smooth", **shared)
        if h < 2:
            yield from (Case(claim=c, **shared) for c in ("A4.convex", "A4.convex-linear"))
        if h + m < 2:
            yield from (Case(claim=c, m=m, **shared) for c in ("A4.strong", "A4.strong-linear"))
    forms: tuple[dict[str, Any], ...] = ({"decrease": "measured"}, {"sharp": True})
    if h < 2:
        yield from (Case(claim="B1'", decrease=decrease, **shared) for decrease in ("measured", "minimum"))
        yield Case(claim="B1'.fstar", **shared)
    if h + m < 2:
        yield Case(claim="B4'", m=m, **shared)
    if h <= 1:
        yield from (Case(claim="B1", **form, **shared) for form in forms)
        yield from (Case(claim="B3", rho=HALF, **form, **shared) for form in forms)
        yield Case(claim="B4", m=m, **shared)


def _momentum(T: int, beta: float, kind: Any) -> Iterator[Case]:
    limit = (1 - beta) ** 2 / (1 + beta) * (1 - 2.0**-50)  # less what rounding may add
    for part in PARTS:
        for decrease in ("measured", "minimum"):
            yield Case(claim="B9", T=T, h=part * limit, beta=beta, perturbation=kind, decrease=decrease)


@functools.cache
def _code() -> str:
    """A hash of what a solution depends on besides its case: the modules that pose and solve, and the packages."""
    digest = hashlib.sha256()
    for name in ("problems.py", "solve.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    for package in ("PEPit", "cvxpy", "clarabel"):
        digest.update(version(package).encode())
    return digest.hexdigest()


def key(case: Case) -> str:
    """Content hash of the case's problem and of the code that solves it; the claim's bound is not part of it."""
    text = json.dumps([case.problem.options(), _code()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rows(
    which: Iterable[Case] | None = None, cache: Path | None = None, solver: Callable[[Case], Solution] = maximum
) -> Iterator[dict[str, Any]]:
    """One flat dictionary of JSON values for each case (default: `default_cases`), as `WorstCase.row` makes it.

    Args:
        which: the cases.
        cache: a file of JSON lines to which solutions are added and from which those found before are read; None keeps
            them for this call only. The bound is computed anew each time.
        solver: what solves a problem that is not there yet.

    Raises:
        ModuleNotFoundError: without PEPit, which the extra `validation` brings.
    """
    known: dict[str, Solution] = {}
    if cache is not None and cache.exists():
        known = dict(_read(cache))
    for case in default_cases() if which is None else which:
        name = key(case)
        if name not in known:
            known[name] = solver(case.problem)
            if cache is not None:
                with cache.open("a") as file:
                    file.write(json.dumps({"key": name, **asdict(known[name])}) + "\n")
        yield {"key": name, **judge(case, known[name]).row()}


def _read(path: Path) -> Iterator[tuple[str, Solution]]:
    """Solutions in a file; a last line cut short by a kill is left out."""
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        name = row.pop("key")
        yield name, Solution(**{**row, "notes": tuple(row["notes"])})
