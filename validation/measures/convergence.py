"""B: what whole runs do; the constants are taken as realised, so that the bounds have no room to spare."""

from typing import Any

from theory import CLAIMS
from theory.arithmetic import maximum, sqrt
from validation.measures.base import ROOT_UNIT, Measured, gain_error, largest, mean, measure
from validation.step import dot, norm
from validation.trajectories import Probe, Run

_F: dict[str, Probe] = {
    "f": lambda s: s.f_w,
    "noise": lambda s: s.problem.f_size(s.w) + norm(s.a) * norm(s.w),
    "p_sq": lambda s: dot(s.p, s.p),
}
DESCENT: dict[str, Probe] = {**_F, "a_sq": lambda s: dot(s.a, s.a), "b_sq": lambda s: dot(s.b, s.b)}
_DIST: dict[str, Probe] = {
    **DESCENT,
    "dist_sq": lambda s: s.dist_sq,
    "dist_noise": lambda s: s.dist_sq + sqrt(s.dist_sq) * (norm(s.w) + norm(s.problem.w_star)),
}


def largest_size(run: Run, name: str) -> Any:
    """Return the largest value of a probe over t = 0 .. T, the final state included: it enters Delta and may be far."""
    return maximum(largest(run[name]), run.at(name, -1))


def descent(run: Run, left: Any, L: Any = None) -> Measured:
    """Return a left side of B1's kind with B1's constants as realised: Delta = f(w_0) - f(w_T), P^2 = mean ||p||^2."""
    L, eta = run.problem.L if L is None else L, run.eta
    P2 = mean(run["p_sq"])
    size = abs(left) + L**2 * P2 + 2 * largest_size(run, "noise") / (eta * run.T)
    constants = {
        "eta": eta,
        "L": L,
        "gap": run.at("f", 0) - run.at("f", -1),
        "T": run.T,
        "P2": P2,
        "sigma2": run.problem.sigma2,
    }
    return Measured(left, constants, size)


@measure("B1", probes=DESCENT)
def _b1(run: Run) -> Measured:
    return descent(run, mean(run["a_sq"]) + (1 - run.eta * run.problem.L) * mean(run["b_sq"]))


@measure("B1.isotropic", probes=DESCENT, applies=lambda p: bool((p.mu == p.L).all() and (p.sigma2 == 0).all()))
def _b1_isotropic(run: Run) -> Measured:
    m = _b1(run)
    return Measured(m.value, {**m.constants, "mu": run.problem.mu}, m.scale)


@measure("B1'", probes=DESCENT)
def _b1_weights(run: Run) -> Measured:
    m = descent(run, mean(run["a_sq"]))
    root, c, size = sqrt(m.value), m.constants, m.scale
    h = c["eta"] * c["L"]
    inner = c["L"] ** 2 * c["P2"] + (2 - h) * (2 * c["gap"] / (c["eta"] * c["T"]) + h * c["sigma2"])
    # an error e of what stands under a root is one of e/root, and at most sqrt(e), of the root
    least = ROOT_UNIT * sqrt(size) + (size == 0)
    shaken = size / maximum(root, least) + size / (maximum(sqrt(maximum(inner, 0 * inner)), least) * (2 - h))
    return Measured(root, c, root + shaken)


@measure(
    "B1'.fstar",
    probes=DESCENT,
    applies=lambda p: _all_known(p.f_star),
    # an error e of f* is one of sqrt(2 L e) of the path's first norm, and no step enlarges it
    certificate=lambda measured, problem: sqrt(2 * problem.L * problem.certificate),
)
def _b1_from_minimum(run: Run) -> Measured:
    p = run.problem
    root, P2, noise = sqrt(mean(run["a_sq"])), list(run["p_sq"]), p.L * largest_size(run, "noise")
    constants = {"eta": run.eta, "L": p.L, "gap": run.at("f", 0) - p.f_star, "P2": P2, "sigma2": p.sigma2}
    size = root**2 + p.L**2 * mean(P2) + 2 * noise
    least = ROOT_UNIT * sqrt(size) + (size == 0)  # see B1'
    start = sqrt(maximum(2 * p.L * constants["gap"], 0 * root))
    return Measured(root, constants, root + size / maximum(root, least) + noise / maximum(start, least))


def _fstar_error(measured: Measured, problem: Any) -> Any:
    """An error e of f* moves the bound by at most e/(2 gap) of it."""
    bound = CLAIMS["B1'.fstar"].evaluate(**measured.constants)
    return bound * problem.certificate / measured.constants["gap"]


@measure("B1'.fstar", probes=DESCENT, applies=lambda p: _all_known(p.f_star), certificate=_fstar_error)
def _b1_fstar(run: Run) -> Measured:
    m, p = _b1_weights(run), run.problem
    gap = run.at("f", 0) - p.f_star
    constants = {"eta": run.eta, "L": p.L, "gap": gap, "P2": list(run["p_sq"]), "sigma2": p.sigma2}
    bound, known = CLAIMS["B1'.fstar"].evaluate(**constants), maximum(gap, 0 * gap)
    return Measured(m.value, constants, m.scale + bound * (run.at("noise", 0) + abs(p.f_star)) / (known + (known == 0)))


@measure("B1''", ("sam-same-batch",), probes={**DESCENT, "mean_sq": lambda s: dot(s.mean_g, s.mean_g)})
def _b1_same_batch(run: Run) -> Measured:
    L = run.problem.L_sample  # every sample's f must be smooth
    m = descent(run, mean(run["a_sq"]) + (1 - run.eta * L) * mean(run["mean_sq"]), L)
    constants = {k: v for k, v in m.constants.items() if k != "P2"}
    return Measured(m.value, {**constants, "rho": run.rho}, m.scale)


def _minimum_error(measured: Measured, problem: Any) -> Any:
    """f* is known to within the problem's certificate, and enters both sides."""
    return 2 * problem.certificate


def _minimiser_error(measured: Measured, problem: Any) -> Any:
    """w* is known to within r = sqrt(2 certificate/mu), and a squared distance D to within 2 r sqrt(D) + r^2."""
    r = sqrt(2 * problem.certificate / problem.mu)
    return 2 * r * (sqrt(measured.value) + sqrt(measured.constants["R2"]) + r)


def _all_known(value: Any) -> bool:
    return value is not None and not bool(value.isnan().any())


def _known_minimum(p: Any) -> bool:
    return bool((p.mu >= 0).all()) and _all_known(p.w_star)


@measure("B3", probes=_DIST, applies=_known_minimum, certificate=_minimum_error)
def _b3(run: Run) -> Measured:
    p, eta = run.problem, run.eta
    left = mean(run["f"]) - p.f_star + (1 - eta * p.L) / (2 * p.L) * mean(run["b_sq"])
    P2 = mean(run["p_sq"])
    size = abs(left) + p.L * P2 + largest_size(run, "noise") + largest_size(run, "dist_noise") / (eta * run.T)
    constants = {
        "eta": eta,
        "L": p.L,
        "R2": run.at("dist_sq", 0) - run.at("dist_sq", -1),
        "T": run.T,
        "P2": P2,
        "sigma2": p.sigma2,
    }
    return Measured(left, constants, size)


@measure(
    "B3.isotropic",
    probes=_DIST,
    applies=lambda p: _known_minimum(p) and bool((p.mu == p.L).all() and (p.sigma2 == 0).all()),
)
def _b3_isotropic(run: Run) -> Measured:
    m = _b3(run)
    return Measured(m.value, {**m.constants, "mu": run.problem.mu}, m.scale)


def _has_pl(p: Any) -> bool:
    return bool((p.pl > 0).all()) and _all_known(p.f_star)


@measure("B4.path", probes=_F, applies=_has_pl, certificate=_minimum_error)
def _b4_path(run: Run) -> Measured:
    p = run.problem
    left, gap = run.at("f", -1) - p.f_star, run.at("f", 0) - p.f_star
    constants = {"eta": run.eta, "L": p.L, "mu": p.pl, "gap": gap, "P2": list(run["p_sq"]), "sigma2": p.sigma2}
    return Measured(left, constants, abs(left) + largest_size(run, "noise") + p.L**2 / p.pl * largest(run["p_sq"]))


@measure("B4", probes=_F, applies=_has_pl, certificate=_minimum_error)
def _b4(run: Run) -> Measured:
    m = _b4_path(run)
    constants = {k: v for k, v in m.constants.items() if k != "P2"}
    return Measured(m.value, {**constants, "T": run.T, "rho": run.rho}, m.scale)


def _known_minimiser(p: Any) -> bool:
    return bool((p.mu > 0).all()) and _all_known(p.w_star)


@measure("B4'", probes=_DIST, applies=_known_minimiser, certificate=_minimiser_error)
def _b4_distance(run: Run) -> Measured:
    p = run.problem
    constants = {
        "eta": run.eta,
        "L": p.L,
        "mu": p.mu,
        "R2": run.at("dist_sq", 0),
        "P2": list(run["p_sq"]),
        "sigma2": p.sigma2,
    }
    size = largest_size(run, "dist_noise") + p.L / p.mu * largest(run["p_sq"])
    size = size + CLAIMS["B4'"].evaluate(**constants) * gain_error(run.eta * p.L, run.eta * p.mu)
    return Measured(run.at("dist_sq", -1), constants, size)
