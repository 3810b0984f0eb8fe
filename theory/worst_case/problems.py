"""The worst-case problems: per claim, the functions, points and constraints over which the left side is maximised.

Lengths are in units that make L = 1 and the start's constant (Delta, ||w_0 - w*||^2) 1, so eta = h and mu = m/h. The
interpolation conditions used are necessary and sufficient, but for B4, where no such conditions are known for
Polyak-Lojasiewicz functions: there the value found is an upper bound of the worst case.

Sources: Drori and Teboulle (2014), Taylor, Hendrickx and Glineur (2017); Goujaud et al. (2024) for PEPit; Drori and
Shamir (2020) for the condition of smooth functions with a lower bound.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from theory.claims import CLAIMS

__all__ = ["PROBLEMS", "Case", "Perturbation"]

Perturbation = Literal["any", "mean", "stale"]
Decrease = Literal["minimum", "measured"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One worst-case problem.

    Attributes:
        claim: label of the claim whose left side is maximised.
        T: number of steps. h: eta L. m: eta mu, 0 where the claim has no mu. rho: radius, in the units of the module.
            beta: momentum, 0 but for B9.
        perturbation: "any" vector of norm <= rho at each step; "mean", of root mean square <= rho; "stale", of norm
            <= rho, <p_t, g_{t-1}> >= 0 and p_0 = 0, which contains S2-SAM's (A4: and <p_t, grad f(w_t)> >= 0 for
            SAM's), so that the value is an upper bound for these methods.
        decrease: where the claim has a Delta (B1, B1', B9) or R2 (B3), whether 1 bounds f(w_0) - f*, or the measured
            f(w_0) - f(w_T) (B9: f(z_T); B3: ||w_0 - w*||^2, or that less ||w_T - w*||^2).
        changing: A4 only, whether the function may change from step to step.
        sharp: B1 and B3 with decrease "minimum", the form in which p_{T-1} drops out of P^2: B1's second sum stops at
            T - 2 and B3's is left out. (For B1' it is B1'.fstar.)
    """

    claim: str
    T: int
    h: float
    m: float = 0.0
    beta: float = 0.0
    rho: float = 1.0
    perturbation: Perturbation = "any"
    decrease: Decrease = "minimum"
    changing: bool = True
    sharp: bool = False

    def __post_init__(self) -> None:
        """Refuse a claim without problem, another kind of perturbation and constants off the claim's domain."""
        if self.claim not in PROBLEMS:
            raise ValueError(f"claim must be one of {', '.join(PROBLEMS)}, got {self.claim!r}")
        if self.perturbation not in get_args(Perturbation) or self.decrease not in get_args(Decrease):
            raise ValueError(
                f"perturbation must be one of {get_args(Perturbation)} and decrease one of {get_args(Decrease)}, "
                f"got {self.perturbation!r} and {self.decrease!r}"
            )
        if self.claim == "B1'.fstar" and self.decrease != "minimum":
            raise ValueError(f"decrease must be 'minimum' for B1'.fstar, got {self.decrease!r}")
        last = self.claim in ("B1", "B3") and self.perturbation != "mean" and self.decrease == "minimum"
        if self.sharp and not last:
            raise ValueError(f"sharp must be False unless the last perturbation drops out, got True for {self}")
        CLAIMS[self.claim](**self.constants)

    @property
    def constants(self) -> dict[str, Any]:
        """The claim's constants at this case; P^2 is the largest that the perturbations allow."""
        p2 = [self.rho**2] * self.T
        if self.perturbation == "stale":
            p2[0] = 0.0
        if self.sharp:
            p2[-1] = 0.0
        every = {
            "h": self.h, "m": self.m, "rho": self.rho, "T": self.T, "eta": self.h, "L": 1.0, "mu": self.m / self.h,
            "beta": self.beta, "gap": 1.0, "R2": 1.0, "sigma2": 0.0,
            "P2": p2 if self.claim in ("B1'.fstar", "B4'") else sum(p2) / self.T,
        }
        return {name: every[name] for name in CLAIMS[self.claim].constants}

    @property
    def bound(self) -> float:
        """The claim's right side at this case."""
        return float(CLAIMS[self.claim](**self.constants))

    @property
    def power(self) -> int:
        """2 where the claim bounds a root: the problem then maximises the square of the left side."""
        return 2 if self.claim in ("A4.smooth", "A4.convex-linear", "A4.strong-linear", "B1'", "B1'.fstar") else 1

    @property
    def problem(self) -> "Case":
        """The case that stands for all with this problem, whose bounds may differ."""
        shared = {"A4.convex-linear": "A4.convex", "A4.strong-linear": "A4.strong", "B1'.fstar": "B1'"}
        return replace(self, claim=shared.get(self.claim, self.claim))

    def options(self) -> dict[str, Any]:
        """The case as a plain dictionary."""
        return asdict(self)


Build = Callable[[Any, Case], Any]


def _run(pep: Any, case: Case, f: Any, w: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Points w_0 ... w_T, gradients at y_t, and pairs of gradient and value at w_t; where beta > 0, w_T is z_T."""
    from PEPit import Point

    ws: list[Any] = [w]
    bs: list[Any] = []
    kept: list[Any] = []
    ps: list[Any] = []
    v = 0 * w
    for t in range(case.T):
        p = 0 * w if case.perturbation == "stale" and t == 0 else Point()
        if case.perturbation != "mean":
            pep.add_constraint(p**2 <= case.rho**2)
        if case.perturbation == "stale" and t:
            pep.add_constraint(p * bs[-1] >= 0)
        kept.append(f.oracle(ws[-1]))
        bs.append(f.gradient(ws[-1] + p))
        ps.append(p)
        v = case.beta * v + bs[-1]
        ws.append(ws[-1] - case.h * v)
    if case.perturbation == "mean":
        pep.add_constraint(sum(p**2 for p in ps) <= case.T * case.rho**2)
    if case.beta:
        ws[-1] = ws[-1] - case.h * case.beta / (1 - case.beta) * v
    return ws, bs, kept


def _bounded_below(pep: Any, f: Any, value: Any) -> None:
    """All points of f at least ||grad||^2/(2L) above `value`: with smoothness, that f has this lower bound."""
    for _, gradient, height in f.list_of_points:
        pep.add_constraint(height - value >= gradient**2 / 2)


def _nonconvex(pep: Any, case: Case) -> Any:
    """B1, B1' and B9: the mean of ||grad f(w_t)||^2, but for B1' with its share of that of ||grad f(y_t)||^2."""
    from PEPit import Expression
    from PEPit.functions import SmoothFunction

    f = pep.declare_function(SmoothFunction, L=1.0)
    ws, bs, kept = _run(pep, case, f, pep.set_initial_point())
    if case.decrease == "measured":
        pep.add_constraint(kept[0][1] - f.value(ws[-1]) <= 1)
    else:
        lowest = Expression()
        _bounded_below(pep, f, lowest)
        pep.add_constraint(kept[0][1] - lowest <= 1)
    total = sum(a**2 for a, _ in kept)
    if case.claim != "B1'":
        share = 1 - case.h * (1 + case.beta) / (1 - case.beta) ** 2
        total += share * sum(b**2 for b in (bs[:-1] if case.sharp else bs))
    return total / case.T


def _convex(pep: Any, case: Case) -> Any:
    """B3: the mean of f(w_t) - f*, with ((1 - h)/2) times that of ||grad f(y_t)||^2."""
    from PEPit.functions import SmoothConvexFunction

    f = pep.declare_function(SmoothConvexFunction, L=1.0)
    best = f.stationary_point()
    start = pep.set_initial_point()
    ws, bs, kept = _run(pep, case, f, start)
    moved = (start - best) ** 2 - ((ws[-1] - best) ** 2 if case.decrease == "measured" else 0)
    pep.add_constraint(moved <= 1)
    weight = 0 if case.sharp else (1 - case.h) / 2
    return sum(height - f(best) + weight * b**2 for (_, height), b in zip(kept, bs, strict=True)) / case.T


def _polyak(pep: Any, case: Case) -> Any:
    """B4: f(w_T) - f*; of the Polyak-Lojasiewicz condition what it says at the points of the run."""
    from PEPit import Expression
    from PEPit.functions import SmoothFunction

    f = pep.declare_function(SmoothFunction, L=1.0)
    ws, _, kept = _run(pep, case, f, pep.set_initial_point())
    last, best = f.value(ws[-1]), Expression()
    _bounded_below(pep, f, best)
    for _, gradient, height in f.list_of_points:
        pep.add_constraint(gradient**2 >= 2 * case.m / case.h * (height - best))
    pep.add_constraint(kept[0][1] - best <= 1)
    return last - best


def _distance(pep: Any, case: Case) -> Any:
    """B4': ||w_T - w*||^2."""
    from PEPit.functions import SmoothStronglyConvexFunction

    f = pep.declare_function(SmoothStronglyConvexFunction, L=1.0, mu=case.m / case.h)
    best, start = f.stationary_point(), pep.set_initial_point()
    pep.add_constraint((start - best) ** 2 <= 1)
    ws, *_ = _run(pep, case, f, start)
    return (ws[-1] - best) ** 2


def _pair(pep: Any, case: Case) -> Any:
    """A4: ||w_T^S2 - w_T^SAM||^2, on one function or on one that changes."""
    from PEPit import Point
    from PEPit.functions import SmoothConvexFunction, SmoothFunction, SmoothStronglyConvexFunction

    def declare() -> Any:
        if case.claim == "A4.smooth":
            return pep.declare_function(SmoothFunction, L=1.0)
        if case.m == 0:
            return pep.declare_function(SmoothConvexFunction, L=1.0)
        return pep.declare_function(SmoothStronglyConvexFunction, L=1.0, mu=case.m / case.h)

    start = pep.set_initial_point()
    w = [start, start]
    f, stale = declare(), 0 * start
    for t in range(case.T):
        f = declare() if case.changing and t else f
        p = [Point() if t else 0 * start, Point()]
        for one in p[0 if t else 1 :]:
            pep.add_constraint(one**2 <= case.rho**2)
        if case.perturbation == "stale":
            pep.add_constraint(p[1] * f.gradient(w[1]) >= 0)
            if t:
                pep.add_constraint(p[0] * stale >= 0)
        g = [f.gradient(x + q) for x, q in zip(w, p, strict=True)]
        w, stale = [x - case.h * s for x, s in zip(w, g, strict=True)], g[0]
    return (w[0] - w[1]) ** 2


PROBLEMS: dict[str, Build] = {
    **dict.fromkeys(("A4.smooth", "A4.convex", "A4.convex-linear", "A4.strong", "A4.strong-linear"), _pair),
    **dict.fromkeys(("B1", "B1'", "B1'.fstar", "B9"), _nonconvex),
    "B3": _convex, "B4": _polyak, "B4'": _distance,
}
"""What builds the problem of a claim: it takes a PEPit.PEP and a `Case` and returns the expression to maximise."""
