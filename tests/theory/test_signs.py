"""Which constants may be negative or zero, said here once more and not read from the requirements.

So a requirement that is left out or made weaker shows, which no test that goes through the requirements can see.
"""

import math
from dataclasses import replace

import pytest
from test_domains import BASE

from theory import CLAIMS

# a measured decrease may be negative where f* does not enter, so may the jumps of a changing objective
NEGATIVE = {
    "gap": {"B1", "B1.isotropic", "B1'", "B1''", "B2.anytime", "B8.changing", "B9"},
    "R2": {"B3", "B3.isotropic"},
    "jumps": {"B8.changing"},
}
# counts, steps, curvatures, probabilities: what is divided by, or without which there is nothing to speak of
NOT_ZERO = set("h m mu c eta0 sum_eta sum_eta2 w0 area s delta delta2 T N n k J draws eta L".split())
ZERO_AFTER_ALL = {"eta": {"A2", "A2.cos"}, "L": {label for label in CLAIMS if label[:2] in ("A2", "A3", "A5", "B7")}}
NOT_ZERO_THERE = {
    "rho": {"B10.isotropic", "C1"}, "gap": {"B1'.fstar"}, "norm_b": {"A1.cos"}, "norm_g": {"A2.cos"},
}  # fmt: skip


def inside(claim, name, factor):
    """Whether the claim's point with one constant multiplied is in its domain; a constant 0 counts as 1."""
    value = BASE[claim.label][name]
    scaled = [factor * (x or 1.0) for x in value] if isinstance(value, list) else factor * (value or 1.0)
    return claim.domain(**{**BASE[claim.label], name: scaled})


def check_signs(claim):
    label = claim.label
    for name in claim.constants:
        assert inside(claim, name, math.nan) is False
        assert inside(claim, name, -1) is (label in NEGATIVE.get(name, ()))
        zero = label in ZERO_AFTER_ALL.get(name, ()) if name in NOT_ZERO else label not in NOT_ZERO_THERE.get(name, ())
        assert inside(claim, name, 0) is zero


BOUNDS = [label for label, claim in CLAIMS.items() if claim.bound and claim.constants]


@pytest.mark.parametrize("label", BOUNDS)
def test_which_constants_may_be_negative_or_zero(label):
    check_signs(CLAIMS[label])


@pytest.mark.parametrize(("label", "name"), [("B1", "sigma2"), ("B3", "R2"), ("B9", "P2"), ("C1", "rho"), ("A3", "L")])
def test_a_requirement_that_is_left_out_is_noticed(label, name):
    claim = CLAIMS[label]
    with pytest.raises(AssertionError):
        check_signs(replace(claim, requires=tuple(r for r in claim.requires if r.name != name)))
