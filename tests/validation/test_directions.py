"""Where a stale direction points: on quadratics with isotropic noise the cosines are known in closed form."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from validation.directions import Moment, Sampling, cosine, measured, predicted

DIM, REPEATS = 3000, 12
# A cosine of independent isotropic vectors has standard deviation 1/sqrt(DIM); each measured cosine moves by at most
# twice that (both of its gradients are noisy), the mean over REPEATS by less; five of those, and 2/DIM of bias.
CLOSE = 5 * 2 / math.sqrt(DIM * REPEATS) + 2 / DIM


@dataclass(frozen=True)
class Noisy:
    """f_i(w) = (L/2)||w||^2 + <c_i, w>, the c_i of sum 0: the noise is the same everywhere."""

    shifts: torch.Tensor
    L: float = 2.0

    def full(self, w):
        return self.L * w

    def batch(self, w, index):
        return self.L * w + self.shifts[index].mean(0)

    def variance(self, w):
        return float((self.shifts**2).sum(1).mean())


def noisy(n, seed):
    shifts = torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Noisy(shifts - shifts.mean(0))


def moment(oracle, sampling, r, h, rho, seed):
    """Return one step of S2-SAM, made by hand: the noise is r times the true gradient's square at the step before."""
    n, B = sampling.n, sampling.batch
    draw = torch.Generator().manual_seed(seed)
    direction = torch.randn(DIM, generator=draw, dtype=torch.float64)
    size = math.sqrt(sampling.noise(oracle.variance(direction)) / r) / oracle.L
    before = size * direction / direction.norm()
    joint = not sampling.replacement and n >= 2 * B
    order = torch.randperm(n, generator=draw)
    used, batch = order[:B], order[B : 2 * B]
    fresh = torch.randperm(n, generator=draw)[:B]
    if sampling.replacement:
        used, batch, fresh = (torch.randint(n, (B,), generator=draw) for _ in range(3))
    aside = torch.randn(DIM, generator=draw, dtype=torch.float64)
    y = before + rho * size * aside / aside.norm()
    stale = oracle.batch(y, used)
    w = before - h / oracle.L * stale
    return Moment(w=w, before=before, y=y, stale=stale, batch=batch, used=used, fresh=fresh, joint=joint)


def averages(measure, sampling, r, h=0.0, rho=0.0):
    oracle = noisy(sampling.n, 1)
    found = [measure(oracle, moment(oracle, sampling, r, h, rho, seed), sampling) for seed in range(REPEATS)]
    return {name: sum(f[name] for f in found) / REPEATS for name in found[0]}


def check_noise_alone(measure):
    """Nothing moves: every direction is the true gradient with noise, r = 0.1 ... 30."""
    for r in (0.1, 1.0, 5.0, 30.0):
        got = averages(measure, Sampling(400, 8, True), r)
        for name in ("stale_full", "batch_full", "at_y", "at_before", "noise_full", "noise_stale_full"):
            assert abs(got[name] - 1 / math.sqrt(1 + r)) < CLOSE
        for name in ("stale_batch", "fresh_batch", "used_batch", "before_batch", "noise_batch", "noise_stale_batch"):
            assert abs(got[name] - 1 / (1 + r)) < CLOSE
        assert abs(got["kept"] - 1) < 1e-12  # the same vector, with itself
        assert abs(got["log10_r"] - math.log10(r)) < 1e-9  # r is exact, up to rounding


def check_reaction(measure):
    """The step opposes its own noise: (1 - h(1 + r))/sqrt((1 + r)((1 - h)^2 + h^2 r)), of both signs."""
    for h, r in ((0.1, 1.0), (0.1, 20.0), (0.5, 0.5), (0.9, 3.0)):
        got = averages(measure, Sampling(400, 8, True), r, h=h)
        closed = (1 - h * (1 + r)) / math.sqrt((1 + r) * ((1 - h) ** 2 + h**2 * r))
        assert abs(got["stale_full"] - closed) < CLOSE
        assert abs(got["at_before"] - 1 / math.sqrt(1 + r)) < CLOSE
        noise = -h * r / math.sqrt((1 + r) * ((1 - h) ** 2 + h**2 * r))
        assert abs(got["reaction"] - noise) < CLOSE
        assert abs(got["signal"] - (closed - noise)) < CLOSE


def check_perturbation(measure):
    """The gradient at y = w + p with p aside: cos(F(y), F(w)) = 1/sqrt(1 + (||p||/||w||)^2), and so for g."""
    got = averages(measure, Sampling(400, 8, True), 1.0, rho=1.0)
    assert abs(got["kept"] - 1 / math.sqrt(2)) < CLOSE
    # at y the true gradient's square is twice that at w, so there r is 1/2
    assert abs(got["at_y"] - 1 / math.sqrt(1.5)) < CLOSE
    assert abs(got["at_before"] - 1 / math.sqrt(3)) < CLOSE
    assert abs(got["noise_stale_full"] - 1 / math.sqrt(3)) < CLOSE
    assert abs(got["before_batch"] - 1 / 2) < CLOSE
    assert abs(got["stale_batch"] - 1 / math.sqrt(6)) < CLOSE


def check_epochs(measure):
    """Without replacement: where the true gradient vanishes, two batches of an epoch have cosine -B/(n - B)."""
    for batch in (20, 50, 100):
        got = averages(measure, Sampling(200, batch, False), 1e9)
        for name in ("stale_batch", "noise_stale_batch", "used_batch"):
            assert abs(got[name] + batch / (200 - batch)) < CLOSE
        assert abs(got["fresh_batch"]) < CLOSE
        assert abs(got["batch_common"] - got["stale_batch"]) < 1e-3  # the rest is of order 1/sqrt(r) = 3e-5


CHECKS = {f.__name__: f for f in (check_noise_alone, check_reaction, check_perturbation, check_epochs)}
MUTANTS = {  # what is read in the place of the right gradient, and the checks that must see it
    "the stale direction is this step's": (
        lambda o, m, s: measured(o, replace(m, stale=o.batch(m.w, m.batch)), s),
        ("check_noise_alone", "check_reaction", "check_epochs"),
    ),
    "the stale direction is taken at w": (
        lambda o, m, s: measured(o, replace(m, stale=o.batch(m.before, m.used)), s),
        ("check_perturbation",),
    ),
    "the batch of this step for the one before": (
        lambda o, m, s: measured(o, replace(m, used=m.batch), s),
        ("check_noise_alone", "check_epochs"),
    ),
    "the full gradient before the step": (
        lambda o, m, s: measured(o, replace(m, w=m.before), s),
        ("check_reaction",),
    ),
    "the perturbed point is the weights": (
        lambda o, m, s: measured(o, replace(m, y=m.before), s),
        ("check_perturbation",),
    ),
    "sampling with replacement is assumed": (
        lambda o, m, s: measured(o, m, replace(s, replacement=True)),
        ("check_epochs",),
    ),
    "the variance of a batch for that of a sample": (
        lambda o, m, s: measured(o, m, replace(s, batch=1)),
        ("check_noise_alone",),
    ),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_closed_forms(check):
    check(measured)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_wrong_gradient_is_seen(name):
    mutant, seen_by = MUTANTS[name]
    for check in seen_by:
        with pytest.raises(AssertionError):
            CHECKS[check](mutant)


def test_the_parts_add_up_to_the_cosines():
    oracle, sampling = noisy(50, 2), Sampling(50, 10, False)
    got = measured(oracle, moment(oracle, sampling, 2.0, 0.3, 0.5, 3), sampling)
    assert got["signal"] + got["reaction"] == pytest.approx(got["stale_full"], abs=1e-12)
    parts = [got[f"batch_{name}"] for name in ("signal", "reaction", "sampled", "common")]
    assert sum(parts) == pytest.approx(got["stale_batch"], abs=1e-12)


def test_the_noise_of_a_batch_and_the_correlation_are_those_of_all_batches():
    """All pairs of disjoint batches of 2 of 5 samples, enumerated, against the two formulas."""
    from itertools import combinations, permutations

    shifts = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shifts -= shifts.mean(0)
    variance, sampling = float((shifts**2).sum(1).mean()), Sampling(5, 2, False)
    noise = torch.stack([shifts[list(pair)].mean(0) for pair in combinations(range(5), 2)])
    assert float((noise**2).sum(1).mean()) == pytest.approx(sampling.noise(variance), rel=1e-12)
    products = [float(shifts[[a, b]].mean(0) @ shifts[[c, d]].mean(0)) for a, b, c, d in permutations(range(5), 4)]
    common = sum(products) / len(products)
    assert common / sampling.noise(variance) == pytest.approx(sampling.correlation(True), rel=1e-9)
    assert sampling.correlation(False) == Sampling(5, 2, True).correlation(True) == 0.0


def test_a_zero_gradient_has_no_direction():
    zero = torch.zeros(3, dtype=torch.float64)
    assert cosine(zero, zero + 1) == 0.0
    oracle, sampling = Noisy(torch.zeros(4, 3, dtype=torch.float64)), Sampling(4, 1, True)
    index = torch.tensor([0])
    got = measured(oracle, Moment(zero, zero, zero, zero, index, index, index, False), sampling)
    assert all(math.isfinite(value) for value in got.values())
    assert got["stale_batch"] == got["signal"] == 0.0


def test_predictions_are_cosines():
    assert predicted(0.0) == 1.0
    assert predicted(3.0, 8.0, kept=0.5) == 0.5 * predicted(3.0) * predicted(8.0)
