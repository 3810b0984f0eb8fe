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
HALF = 0.5  # radius in B3: with one as large as ||w_0 - w*|| a run that stays at w_0 is already the worst


def cases(T: Iterable[int] = range(1, 9), h: Iterable[float] = (*STEPS, *LONG)) -> Iterator[Case]:
    """Every claim's cases at these numbers of steps and step sizes, where the claim's domain has them.

    The default is the whole grid. Both kinds of perturbation are taken, S2-SAM's relaxation ("stale") too, but not for
    A4, where it excludes next to nothing: any perturbation is nearly orthogonal to a gradient that is large in a
    direction of its own. B1, B1' and B3 have the measured Delta (R2) and the minimum in its sharper form without
    p_{T-1}, B1' also the minimum as the claim has it.
    """
    sizes = tuple(h)
    for steps in T:
        for size in sizes:
            for kind in ("any", "stale"):
                yield from _at(steps, size, kind)


def default_cases() -> Iterator[Case]:
    """The grid that a quick validation solves: T = 1, 2, 3, 4 and 6, at h = 1/2 and 1, and B1' at h = 3/2."""
    yield from cases((1, 2, 3, 4), (0.5, 1.0))
    yield from (c for c in cases((6,), (0.5, 1.0)) if c.perturbation == "any")
    yield from (c for c in cases((2, 4), (1.5,)) if c.claim == "B1'")


def _at(T: int, h: float, kind: Any) -> Iterator[Case]:
    shared: dict[str, Any] = {"T": T, "h": h, "perturbation": kind}
    m = MU * h
    if kind == "any":
        yield Case(claim="A4.smooth", **shared)
        if h < 2:
            yield from (Case(claim=c, **shared) for c in ("A4.convex", "A4.convex-linear"))
        if h + m < 2:
            yield from (Case(claim=c, m=m, **shared) for c in ("A4.strong", "A4.strong-linear"))
    forms: tuple[dict[str, Any], ...] = ({"decrease": "measured"}, {"sharp": True})
    if h < 2:
        yield from (Case(claim="B1'", **form, **shared) for form in (*forms, {}))
    if h + m < 2:
        yield Case(claim="B4'", m=m, **shared)
    if h <= 1:
        yield from (Case(claim="B1", **form, **shared) for form in forms)
        yield from (Case(claim="B3", rho=HALF, **form, **shared) for form in forms)
        yield Case(claim="B4", m=m, **shared)


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
