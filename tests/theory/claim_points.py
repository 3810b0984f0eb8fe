"""Points inside the domain of every claim, by construction.

Constants are dyadic rationals with few digits, so float64, 50-digit, rational and symbolic arithmetic all see exactly
the same numbers. No point is filtered out: what must lie under a limit is drawn as a fraction of it and rounded down.
"""

import math
from fractions import Fraction

from hypothesis import strategies as st

GRID = 2**24


def down(x):
    """The largest multiple of 1/GRID that is <= x."""
    return Fraction(math.floor(x * GRID), GRID)


def dyadic(low, high, bits=10):
    """Multiples of 2^-bits in [low, high]."""
    scale = 2**bits
    return st.integers(math.ceil(low * scale), math.floor(high * scale)).map(lambda n: Fraction(n, scale))


SIZE = dyadic(Fraction(1, 4), 16)  # a positive constant
AMOUNT = dyadic(0, 16)  # a constant that may be zero
SHARE = dyadic(Fraction(1, 64), 1)  # of a limit that may be reached
PART = dyadic(Fraction(1, 64), Fraction(63, 64))  # of a limit that may not be reached
STEPS = st.integers(1, 24)


@st.composite
def _a1(draw):
    a, b = draw(AMOUNT), draw(SIZE)
    diff = down(abs(a - b) + draw(SHARE) * (a + b - abs(a - b)))  # what the triangle inequality admits
    return {"rho": draw(AMOUNT), "diff": diff, "norm_a": a, "norm_b": b}


@st.composite
def _a1_cos(draw):
    b = draw(SIZE)
    return {"norm_b": b, "diff": down(draw(PART) * b)}


@st.composite
def _a2_cos(draw):
    L, g, s, part = draw(SIZE), draw(SIZE), draw(PART), draw(PART)
    return {"L": L, "norm_g": g, "eta": down(s * part / L), "norm_p": down(s * (1 - part) * g / L)}


@st.composite
def _path(draw, limit=2, closed=False, strong=False, sum_closed=False):
    """A4: h below `limit` and, if strong, 0 < m <= h with h + m <= 2 or < 2."""
    point = {"rho": draw(AMOUNT), "T": draw(STEPS), "h": down(draw(SHARE if closed else PART) * limit)}
    if strong:
        h = point["h"]
        top = min(h, 2 - h)
        point["m"] = down(draw(SHARE if sum_closed or h < 1 else PART) * top)
    return point


@st.composite
def _run(draw, limit=1, closed=True, **others):
    """B: L, and eta up to limit/L, with further constants drawn from the strategies given."""
    L = draw(SIZE)
    eta = down(draw(SHARE if closed else PART) * limit / L)
    return {"L": L, "eta": eta, **{name: draw(strategy) for name, strategy in others.items()}}


@st.composite
def _curved(draw, distance=False, **others):
    """B4: 0 < mu <= L, eta up to 1/L, or strictly below 2/(L + mu) for the distance."""
    L = draw(SIZE)
    mu = down(draw(SHARE) * L)
    eta = down(draw(PART) * 2 / (L + mu)) if distance else down(draw(SHARE) / L)
    return {"L": L, "mu": mu, "eta": eta, **{name: draw(strategy) for name, strategy in others.items()}}


@st.composite
def _weights_only(draw):
    """B1': a measured gap may be negative, down to where the root would become imaginary."""
    point = draw(_run(limit=2, closed=False, T=STEPS, P2=AMOUNT, sigma2=AMOUNT))
    h = point["eta"] * point["L"]
    lowest = -point["eta"] * point["T"] * (point["L"] ** 2 * point["P2"] / (2 - h) + h * point["sigma2"]) / 2
    return {**point, "gap": draw(st.one_of(AMOUNT, PART.map(lambda part: down(part * lowest) + Fraction(1, GRID))))}


REAL = dyadic(-16, 16)
SERIES = st.lists(AMOUNT, min_size=1, max_size=12)
NOISY = {"T": STEPS, "P2": AMOUNT, "sigma2": AMOUNT}
SCHEDULE = {"gap": AMOUNT, "sigma2": AMOUNT, "rho0": AMOUNT, "T": STEPS}


def _isotropic(**others):
    return _run(T=STEPS, P2=AMOUNT, sigma2=st.just(Fraction(0)), **others).map(lambda p: {**p, "mu": p["L"]})


def _anytime():
    return _run(**SCHEDULE).map(lambda p: {("eta0" if name == "eta" else name): value for name, value in p.items()})


@st.composite
def _heavy_ball(draw):
    """B9: beta up to 15/16, eta up to (1 - beta)^2/(L (1 + beta)), which may be reached."""
    L, beta = draw(SIZE), draw(dyadic(0, Fraction(15, 16)))
    eta = down(draw(SHARE) * (1 - beta) ** 2 / (L * (1 + beta)))
    return {"L": L, "beta": beta, "eta": eta, "gap": draw(REAL), **{k: draw(v) for k, v in NOISY.items()}}


def _orbit(**others):
    return st.fixed_dictionaries({"L": SIZE, "h": SHARE, **others})


def _whole(low):
    return st.integers(low, 5000).map(Fraction)


POINTS = {
    "A1": _a1(),
    "A1.cos": _a1_cos(),
    "A2": st.fixed_dictionaries({"L": AMOUNT, "eta": AMOUNT, "norm_g": AMOUNT, "norm_p": AMOUNT}),
    "A2.cos": _a2_cos(),
    "A3": st.fixed_dictionaries({"L": AMOUNT, "rho": AMOUNT}),
    "A3.start": st.fixed_dictionaries({"L": AMOUNT, "rho": AMOUNT}),
    "A3.step": st.fixed_dictionaries({"L": AMOUNT, "diff_p": AMOUNT}),
    "A4.smooth": _path(limit=8),
    "A4.convex": _path(),
    "A4.convex-linear": _path(closed=True),
    "A4.strong": _path(strong=True),
    "A4.strong-linear": _path(strong=True, sum_closed=True),
    "A5": st.fixed_dictionaries({"L": AMOUNT, "rho": AMOUNT}),
    "B1": _run(gap=REAL, **NOISY),
    "B1.isotropic": _isotropic(gap=REAL),
    "B1'": _weights_only(),
    # short: symbols in place of numbers make every maximum a new one inside the next
    "B1'.fstar": _run(limit=2, closed=False, gap=SIZE, P2=st.lists(AMOUNT, min_size=1, max_size=2), sigma2=AMOUNT),
    "B1''": _run(gap=REAL, T=STEPS, rho=AMOUNT, sigma2=AMOUNT),
    "B2.fixed": st.fixed_dictionaries({"L": SIZE, "c": SIZE, **SCHEDULE}),
    "B2.anytime": st.fixed_dictionaries(
        {"L": SIZE, "gap": REAL, "sigma2": AMOUNT, "sum_eta": SIZE, "sum_eta_p2": AMOUNT, "sum_eta2": SIZE}
    ),
    "B2.quarter": _anytime(),
    "B2.half": _anytime(),
    "B3": _run(R2=REAL, **NOISY),
    "B3.isotropic": _isotropic(R2=REAL),
    "B4.path": _curved(gap=AMOUNT, P2=SERIES, sigma2=AMOUNT),
    "B4": _curved(gap=AMOUNT, T=STEPS, rho=AMOUNT, sigma2=AMOUNT),
    "B4'": _curved(distance=True, R2=AMOUNT, P2=SERIES, sigma2=AMOUNT),
    "B5.s2sam": _path(limit=1).flatmap(lambda p: SIZE.map(lambda w0: {**p, "w0": w0})),
    "B5.sam": st.fixed_dictionaries({"L": SIZE, "h": PART.map(lambda part: 2 * part), "rho": AMOUNT}),
    "B5.lower": st.fixed_dictionaries({"eta": SIZE, "mu": SIZE, "rho": AMOUNT}),
    "B6": st.just({}),
    "B6.distance": st.fixed_dictionaries({"rho": AMOUNT}),
    "B7": st.just({}),
    "B7.same-batch": st.fixed_dictionaries({"L": AMOUNT, "rho": AMOUNT}),
    "B7.full": st.fixed_dictionaries({"L": AMOUNT, "rho": AMOUNT, "N": st.integers(1, 50)}),
    "B7.independent": st.fixed_dictionaries({"L": AMOUNT, "rho": AMOUNT}),
    "B8": st.just({}),
    "B8.changing": _run(gap=REAL, jumps=REAL, **NOISY),
    "B9": _heavy_ball(),
    "B10.gap": _orbit(rho=AMOUNT, q=dyadic(0, Fraction(63, 64)), C=dyadic(0, 1), T=STEPS),
    "B10.isotropic": _orbit(rho=SIZE, W=AMOUNT, area=SIZE, T=STEPS),
    "B10.conjecture": _orbit(rho=AMOUNT, q=dyadic(0, Fraction(63, 64))),
    "C1": st.fixed_dictionaries(
        {"loss": dyadic(0, 1), "norm2": AMOUNT, "rho": SIZE, "k": _whole(1), "n": _whole(2), "delta": PART}
    ),
    "C1'": st.fixed_dictionaries(
        {
            "loss": dyadic(0, 1), "dist2": AMOUNT, "s": SIZE, "n": _whole(8), "J": _whole(1), "masks": AMOUNT,
            "draws": _whole(1), "delta": PART, "delta2": PART,
        }
    ),
}
