"""The executable domain: its edges are inside, the next number is outside, and the refusal says what and how much."""

import math
import re
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
import torch
from claim_points import POINTS
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import CLAIMS, DomainError

FEW = settings(max_examples=settings.default.max_examples // 2)  # follows the profile, and claims are many
RUN = {"L": 20.0, "eta": 0.05, "gap": 1.0, "R2": 1.0, "T": 100, "P2": 0.25, "sigma2": 0.5, "rho": 0.5, "mu": 2.0}
PATH = {"h": 0.5, "m": 0.25, "rho": 0.5, "T": 10}
RATE = {"L": 20.0, "gap": 1.0, "T": 100, "rho0": 0.5, "c": 1.0, "sigma2": 0.5, "eta0": 0.05}
BASE = {
    "A1": {"rho": 0.5, "diff": 1.0, "norm_a": 1.0, "norm_b": 1.0},
    "A1.cos": {"diff": 1.0, "norm_b": 2.0},
    "A2": {"L": 1.0, "eta": 0.5, "norm_g": 1.0, "norm_p": 0.25},
    "A2.cos": {"L": 1.0, "eta": 0.5, "norm_g": 1.0, "norm_p": 0.25},
    "A3.step": {"L": 1.0, "diff_p": 1.0},
    **{label: {"L": 1.0, "rho": 0.5} for label in ("A3", "A3.start", "A5", "B7.same-batch", "B7.independent")},
    "B6.distance": {"rho": 0.5},
    **{label: PATH for label in CLAIMS if label.startswith("A4")},
    **{label: RUN for label in ("B1", "B1'", "B1''", "B3", "B4")},
    "B8.changing": {**RUN, "jumps": 0.5},
    **{label: {**RUN, "mu": 20.0, "sigma2": 0.0} for label in ("B1.isotropic", "B3.isotropic")},
    **{label: {**RUN, "P2": [0.0, 0.25]} for label in ("B1'.fstar", "B4.path", "B4'")},
    **{label: RATE for label in ("B2.fixed", "B2.quarter", "B2.half")},
    "B2.anytime": {**RATE, "sum_eta": 1.0, "sum_eta_p2": 0.25, "sum_eta2": 0.5},
    "B5.s2sam": {"h": 0.5, "rho": 0.5, "w0": 1.0, "T": 10},
    "B5.sam": {"L": 1.0, "h": 0.5, "rho": 0.5},
    "B5.lower": {"eta": 0.5, "mu": 1.0, "rho": 0.5},
    "B7.full": {"L": 1.0, "rho": 0.5, "N": 10},
    **{label: {} for label in ("B6", "B7", "B8")},
    "B9": {**RUN, "beta": 0.5, "eta": 0.005},
    "B10.gap": {"L": 20.0, "h": 0.5, "rho": 0.5, "q": 0.5, "C": 0.5, "T": 10},
    "B10.isotropic": {"L": 20.0, "h": 0.5, "rho": 0.5, "W": 1.0, "area": 0.5, "T": 10},
    "B10.conjecture": {"L": 20.0, "h": 0.5, "rho": 0.5, "q": 0.5},
    "C1": {"loss": 0.5, "norm2": 4.0, "rho": 0.5, "k": 100.0, "n": 1000.0, "delta": 0.5},
    "C1'": {
        "loss": 0.5, "dist2": 4.0, "s": 0.5, "n": 1000.0, "J": 4.0, "masks": 2.0, "draws": 100.0, "delta": 0.5,
        "delta2": 0.5,
    },
}

# label, constants on the edge (None if the edge is outside), constants just outside, what the refusal says
ROWS = [
    ("A1", {"norm_a": 0.0}, {"norm_a": 0.0, "norm_b": 0.0}, "norm_a + norm_b > 0, got 0"),
    ("A1.cos", {"diff": math.nextafter(2.0, 0)}, {"diff": 2.0}, "diff < norm_b = 2, got 2"),
    ("A2.cos", {"norm_p": 0.5 - 2**-53}, {"norm_p": 0.5}, "L (eta norm_g + norm_p) < norm_g = 1, got 1"),
    ("A4.convex", {"h": math.nextafter(2, 0)}, {"h": 2.0}, "h < 2, got 2"),
    ("A4.convex-linear", {"h": 2.0}, {"h": math.nextafter(2, 3)}, "h <= 2, got 2.0000000000000004"),
    ("A4.strong", {"h": 0.5, "m": 0.5}, {"m": 0.75}, "m <= h = 0.5, got 0.75"),
    ("A4.strong", {"h": 1.5, "m": 0.5 - 2**-52}, {"h": 1.5, "m": 0.5}, "h + m < 2, got 2"),
    ("A4.strong-linear", {"h": 0.5, "m": 0.5}, {"m": 0.75}, "m <= h = 0.5, got 0.75"),
    ("A4.strong-linear", {"h": 1.5, "m": 0.5}, {"h": 1.5, "m": 0.75}, "h + m <= 2, got 2.25"),
    ("B1", {"eta": 1 / 20}, {"eta": 0.2}, "eta <= 1/L = 0.05, got 0.2"),
    ("B1", {"gap": -5.0}, {"gap": math.nan}, "gap finite, got nan"),
    ("B1.isotropic", {"eta": 1 / 20}, {"eta": 0.2}, "eta <= 1/L = 0.05, got 0.2"),
    ("B1.isotropic", {"mu": 20.0}, {"mu": 19.0}, "mu = L = 20, got 19"),
    ("B1.isotropic", {"sigma2": 0.0}, {"sigma2": 0.5}, "sigma2 = 0, got 0.5"),
    ("B1.isotropic", {"gap": -5.0}, {"gap": -math.inf}, "gap finite, got -inf"),
    ("B1'", {"eta": math.nextafter(0.1, 0)}, {"eta": 0.1}, "eta < 2/L = 0.1, got 0.1"),
    ("B1'", {"gap": -5.0, "P2": 1.0}, {"gap": -math.inf}, "gap finite, got -inf"),
    ("B1'.fstar", {"eta": math.nextafter(0.1, 0)}, {"eta": 0.1}, "eta < 2/L = 0.1, got 0.1"),
    ("B1'.fstar", {"P2": [0.0]}, {"P2": []}, "len(P2) >= 1, got 0"),
    ("B1'.fstar", {"P2": [0.0, 0.0]}, {"P2": [1.0, -0.5]}, "min(P2) >= 0, got -0.5"),
    ("B1'.fstar", {"gap": 2.0**-50}, {"gap": 0.0}, "gap > 0, got 0"),
    ("B1''", {"eta": 1 / 20}, {"eta": 0.2}, "eta <= 1/L = 0.05, got 0.2"),
    ("B1''", {"gap": -5.0}, {"gap": math.nan}, "gap finite, got nan"),
    ("B2.anytime", {"eta0": 0.05}, {"eta0": 0.06}, "eta0 <= 1/L = 0.05, got 0.06"),
    ("B2.anytime", {"gap": -5.0}, {"gap": math.nan}, "gap finite, got nan"),
    ("B2.quarter", {"eta0": 0.05}, {"eta0": 0.06}, "eta0 <= 1/L = 0.05, got 0.06"),
    ("B2.half", {"eta0": 0.05}, {"eta0": 0.06}, "eta0 <= 1/L = 0.05, got 0.06"),
    ("B3", {"eta": 1 / 20}, {"eta": 0.2}, "eta <= 1/L = 0.05, got 0.2"),
    ("B3", {"R2": -5.0}, {"R2": math.nan}, "R2 finite, got nan"),
    ("B3.isotropic", {"eta": 1 / 20}, {"eta": 0.2}, "eta <= 1/L = 0.05, got 0.2"),
    ("B3.isotropic", {"mu": 20.0}, {"mu": 19.0}, "mu = L = 20, got 19"),
    ("B3.isotropic", {"sigma2": 0.0}, {"sigma2": 0.5}, "sigma2 = 0, got 0.5"),
    ("B3.isotropic", {"R2": -5.0}, {"R2": math.nan}, "R2 finite, got nan"),
    ("B4.path", {"mu": 20.0}, {"mu": 21.0}, "mu <= L = 20, got 21"),
    ("B4.path", {"eta": 1 / 20}, {"eta": 0.2}, "eta <= 1/L = 0.05, got 0.2"),
    ("B4.path", {"P2": [0.0]}, {"P2": []}, "len(P2) >= 1, got 0"),
    ("B4.path", {"P2": [0.0, 0.0]}, {"P2": [1.0, -0.5, 2.0]}, "min(P2) >= 0, got -0.5"),
    ("B4", {"mu": 20.0}, {"mu": 21.0}, "mu <= L = 20, got 21"),
    ("B4", {"eta": 1 / 20}, {"eta": 0.2}, "eta <= 1/L = 0.05, got 0.2"),
    ("B4'", {"mu": 20.0, "eta": 0.04}, {"mu": 21.0}, "mu <= L = 20, got 21"),
    ("B4'", {"eta": math.nextafter(2 / 22, 0)}, {"eta": 2 / 22}, "eta < 2/(L + mu) = 0.0909091, got 0.0909091"),
    ("B4'", {"P2": [0.0]}, {"P2": []}, "len(P2) >= 1, got 0"),
    ("B4'", {"P2": [0.0, 0.0]}, {"P2": [1.0, math.nan]}, "min(P2) finite, got nan"),
    ("B5.s2sam", {"h": math.nextafter(1, 0)}, {"h": 1.0}, "h < 1, got 1"),
    ("B5.sam", {"h": math.nextafter(2, 0)}, {"h": 2.0}, "h < 2, got 2"),
    ("B8.changing", {"eta": 1 / 20}, {"eta": 0.2}, "eta <= 1/L = 0.05, got 0.2"),
    ("B8.changing", {"gap": -5.0}, {"gap": math.nan}, "gap finite, got nan"),
    ("B8.changing", {"jumps": -5.0}, {"jumps": math.nan}, "jumps finite, got nan"),
    ("B9", {"beta": 0.5, "eta": 1 / 120}, {"eta": 1 / 119}, "eta <= (1 - beta)^2/(L (1 + beta)) = 0.00833333, got"),
    ("B9", {"beta": 0.0, "eta": 1 / 20}, {"beta": 0.5, "eta": 1 / 20}, "eta <= (1 - beta)^2/(L (1 + beta)) = 0.0083"),
    ("B9", None, {"beta": 1.0}, "beta < 1, got 1"),
    ("B9", {"gap": -5.0}, {"gap": math.nan}, "gap finite, got nan"),
    *(
        (label, {"h": 1.0}, {"h": math.nextafter(1, 2)}, "h <= 1, got 1.0000000000000002")
        for label in ("B10.gap", "B10.isotropic", "B10.conjecture")
    ),
    *((label, {"q": math.nextafter(1, 0)}, {"q": 1.0}, "q < 1, got 1") for label in ("B10.gap", "B10.conjecture")),
    ("B10.gap", {"C": 1.0}, {"C": 1.5}, "C <= 1, got 1.5"),
    *((label, {"loss": 1.0}, {"loss": 1.5}, "loss <= 1, got 1.5") for label in ("C1", "C1'")),
    *((label, {"delta": math.nextafter(1, 0)}, {"delta": 1.0}, "delta < 1, got 1") for label in ("C1", "C1'")),
    ("C1'", {"delta2": math.nextafter(1, 0)}, {"delta2": 1.0}, "delta2 < 1, got 1"),
    ("C1", {"n": 2.0}, {"n": 1.0}, "n >= 2, got 1"),
    ("C1'", {"n": 8.0}, {"n": 7.0}, "n >= 8, got 7"),
]


def signs():
    """Rows for all requirements on one constant with a whole limit, such as rho >= 0, L > 0, T >= 1."""
    for label, claim in CLAIMS.items():
        for r in claim.requires:
            if r.value is None and r.text in ("0", "1") and r.relation in (">", ">="):
                limit = int(r.text)
                outside = float(limit) if r.relation == ">" else math.nextafter(limit, -1)
                edge = {r.name: float(limit)} if r.relation == ">=" else None
                yield label, edge, {r.name: outside}, f"{r.name} {r.relation} {limit}, got"


ALL = [*ROWS, *signs()]


def check_row(claim, edge, outside, message):
    """Base and edge are inside; outside is refused, by domain and by the call, in one line that begins with message."""
    base = BASE[claim.label]
    for inside in ({}, edge or {}):
        point = {**base, **inside}
        assert claim.domain(**point) is True
        assert math.isfinite(claim(**point))
    assert claim.domain(**{**base, **outside}) is False
    with pytest.raises(DomainError, match="^" + re.escape(f"{claim.label} needs {message}")) as refusal:
        claim(**{**base, **outside})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("label", "edge", "outside", "message"), ALL, ids=[f"{row[0]}: {row[3]}" for row in ALL])
def test_edges_inside_and_outside(label, edge, outside, message):
    check_row(CLAIMS[label], edge, outside, message)


def test_every_requirement_is_refused_in_some_row():
    named = {(label, re.split(r" (?:<=|<|>=|>|=|finite)[ ,]", message)[0]) for label, _, _, message in ALL}
    assert named == {(label, r.name) for label, c in CLAIMS.items() for r in c.requires}
    assert set(BASE) == {label for label, c in CLAIMS.items() if c.bound}


@pytest.mark.parametrize("label", [label for label, c in CLAIMS.items() if c.requires])
def test_nan_and_infinity_are_outside(label):
    claim, base = CLAIMS[label], BASE[label]
    for name in {r.name for r in claim.requires} & base.keys():
        for value in (math.nan, math.inf, -math.inf):
            assert claim.domain(**{**base, name: value}) is False


def test_a_domain_that_is_not_checked_is_noticed():
    with pytest.raises(AssertionError):
        check_row(CLAIMS["A3"], None, {"rho": 0.5}, "rho >= 0, got 0.5")


@given(inside=st.lists(st.booleans(), min_size=2, max_size=6))
def test_elementwise_masks_and_first_offender(inside):
    claim, base = CLAIMS["B1"], BASE["B1"]
    eta = [0.05 if good else 0.1 + 0.01 * i for i, good in enumerate(inside)]
    for make in (np.array, lambda values: torch.tensor(values, dtype=torch.float64)):
        mask = claim.domain(**{**base, "eta": make(eta)})
        assert mask.tolist() == inside
        matrix = claim.domain(**{**base, "eta": make(eta)[:, None], "gap": make([1.0, math.nan])})
        assert matrix.tolist() == [[good, False] for good in inside]
        if all(inside):
            assert claim(**{**base, "eta": make(eta)}).shape == (len(inside),)
        else:
            first = eta[inside.index(False)]
            with pytest.raises(DomainError, match=rf"^B1 needs eta <= 1/L = 0\.05, got {first:.6g}$"):
                claim(**{**base, "eta": make(eta)})


def test_the_limit_shown_is_that_of_the_offender():
    L = np.array([[4.0], [20.0]])
    with pytest.raises(DomainError, match=r"^B1 needs eta <= 1/L = 0\.05, got 0\.2$"):
        CLAIMS["B1"](**{**BASE["B1"], "L": L, "eta": np.array([0.01, 0.2])})


def test_a_sequence_of_arrays():
    P2 = [torch.tensor([0.0, 1.0]), torch.tensor([-1.0, 1.0])]
    for sequence in (P2, torch.stack(P2)):
        assert CLAIMS["B4.path"].domain(**{**BASE["B4.path"], "P2": sequence}).tolist() == [False, True]


def test_an_array_with_zeros_warns_of_nothing():
    mask = CLAIMS["B1"].domain(**{**BASE["B1"], "L": np.array([0.0, 20.0, math.nan])})
    assert mask.tolist() == [False, True, False]


def test_exact_numbers_at_the_edge():
    """1/L as a fraction, in SymPy, and in 50 digits, where the next number differs far beyond float64."""
    base = {**BASE["B1"], "L": Fraction(3), "gap": Fraction(1), "P2": Fraction(0), "sigma2": Fraction(0)}
    assert CLAIMS["B1"](**{**base, "eta": Fraction(1, 3)}) == Fraction(6, 100)
    assert CLAIMS["B1"].domain(**{**base, "eta": Fraction(10**30 + 1, 3 * 10**30)}) is False
    symbolic = {name: sympy.Rational(value) for name, value in base.items()}
    assert CLAIMS["B1"](**{**symbolic, "eta": sympy.Rational(1, 3)}) == sympy.Rational(6, 100)
    with pytest.raises(TypeError, match="truth value"):  # symbols have no domain: evaluate serves them
        CLAIMS["B1"](**{**symbolic, "eta": sympy.Symbol("eta")})
    with mpmath.workdps(50):
        third = 1 / mpmath.mpf(3)
        base["L"] = mpmath.mpf(3)
        assert CLAIMS["B1"].domain(**{**base, "eta": third}) is True
        with pytest.raises(DomainError, match=r"= 0\.3{50}, got 0\.3{39}83{10}$"):
            CLAIMS["B1"](**{**base, "eta": third + mpmath.mpf("5e-40")})


@pytest.mark.parametrize("label", POINTS)
@FEW
@given(data=st.data())
def test_random_points_are_inside_in_float64(label, data):
    """Edges included: the constants are dyadic, so 1/L in float64 is the only rounding, and it rounds to nearest."""
    point = data.draw(POINTS[label])
    claim = CLAIMS[label]
    floats = {k: [float(x) for x in v] if isinstance(v, list) else float(v) for k, v in point.items()}
    assert claim.domain(**floats) is True
    assert claim(**floats) == claim.evaluate(**floats)
