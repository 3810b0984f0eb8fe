"""Half parameters: stochastic rounding of y is unbiased, reproducible, leaves w alone; lost perturbations are said."""

import copy
import warnings

import pytest
import torch
from optim_nets import closure_of, make, network, stepped, through_a_file, train
from optim_support import bits

import s2sam.rounding
from s2sam import S2SAM, SAM
from s2sam.rounding import DIGITS, rounded

HALF = [torch.bfloat16, torch.float16]


def every_bit(dtype):
    return torch.arange(2 ** (23 - DIGITS[dtype]), dtype=torch.int32)


def numbers(dtype, count=200):
    """float32 numbers of every sign, near 1, of many magnitudes in the type's normal range, and on its grid."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(count, generator=draw)
    exponents = torch.randint(-13 if dtype is torch.float16 else -90, 14, (count,), generator=draw)
    x = torch.cat([x, (1 + torch.rand(count, generator=draw)) * 2.0**exponents * x.sign()])
    edges = torch.tensor([0.0, 1.0, -1.0, 2 - 2.0**-23, -1 - 2.0**-23, 1 - 2.0**-24, 255.5])
    return torch.cat([x[x.abs() >= 2.0**-14] if dtype is torch.float16 else x, x.to(dtype).float(), edges])


def assert_unbiased(round_to, dtype):
    """Over all random bits the mean is x, with no error at all: float64 holds these sums exactly."""
    given = every_bit(dtype)
    for x in numbers(dtype):
        values = round_to(x.expand(len(given)).clone(), given, dtype).double()
        assert values.sum().item() == x.double().item() * len(given)
        assert values.unique().numel() <= 2


@pytest.mark.parametrize("dtype", HALF)
def test_the_mean_over_all_random_bits_is_exact(dtype):
    assert_unbiased(rounded, dtype)


@pytest.mark.parametrize("dtype", HALF)
def test_other_roundings_are_found_to_be_biased(dtype):
    def nearest(x, given, kind):
        return x.to(kind)

    def down(x, given, kind):
        return rounded(x, torch.zeros_like(given), kind)

    def too_often_up(x, given, kind):
        return rounded(x, (given + 1).clamp(max=len(given) - 1), kind)

    for mutant in (nearest, down, too_often_up):
        with pytest.raises(AssertionError):
            assert_unbiased(mutant, dtype)


def test_below_the_normal_range_the_mean_errs_by_less_than_one_random_bit():
    given = every_bit(torch.float16)
    for x in torch.rand(50, generator=torch.Generator().manual_seed(0)) * 2.0**-15:
        mean = rounded(x.expand(len(given)).clone(), given, torch.float16).double().mean()
        assert abs(mean - x.double()) <= 2.0**-24 * 2.0**-13  # a spacing, and the resolution of 13 bits


@pytest.mark.parametrize("wrap", [S2SAM, SAM])
@pytest.mark.parametrize("dtype", HALF)
def test_y_has_the_mean_w_plus_p(monkeypatch, wrap, dtype):
    given = every_bit(dtype)
    monkeypatch.setattr(s2sam.rounding, "_bits", lambda like, generator: given)
    p = torch.nn.Parameter(torch.full((len(given),), 0.7, dtype=dtype))
    opt = wrap(torch.optim.SGD([p], lr=0.0), rho=0.05, rounding_seed=0)
    means = []

    def closure():
        means.append(p.detach().double().mean().item())
        p.grad = torch.ones_like(p)

    for _ in range(2):
        opt.step(closure)
    step = torch.tensor(0.05 / len(given) ** 0.5)  # in float32, less than a quarter of the spacing
    wanted = float((p[0].float() + step).detach())
    # The entries of n(g) are one ulp from 1/sqrt(n) at most, so p is 3 ulp from what is written here.
    assert abs(means[-1] - wanted) <= 3 * 2.0**-24 * float(step) + 2.0**-25
    assert means[0] == float(p[0].detach())
    assert abs(means[-1] - means[0]) > float(step) / 2


@pytest.mark.parametrize("dtype", HALF)
def test_w_returns_bit_for_bit_and_a_retry_sees_the_same_y(dtype):
    model, _, opt = stepped(rho=1e-3, dtype=dtype, rounding_seed=1)
    w, seen = bits(model.parameters()), []
    for _ in range(4):
        with opt.perturbed():
            seen.append(bits(model.parameters()))
        assert bits(model.parameters()) == w
    assert seen[0] != w
    assert all(y == seen[0] for y in seen)
    assert opt.param_groups[0]["rounding_seed"] == 2


@pytest.mark.parametrize("dtype", HALF)
def test_the_seed_decides_and_counts_on(dtype):
    ys = {}
    for seed in (None, 5, 5, 6):
        model, _, opt = stepped(rho=1e-2, dtype=dtype, rounding_seed=seed)
        before = torch.get_rng_state()
        with opt.perturbed():
            ys.setdefault(seed, []).append(bits(model.parameters()))
        assert bits([torch.get_rng_state()]) == bits([before])
    assert ys[5][0] == ys[5][1]
    assert len({tuple(y[0]) for y in ys.values()}) == 3


@pytest.mark.parametrize("wrap", [S2SAM, SAM])
def test_groups_and_steps_do_not_share_random_bits(wrap, monkeypatch):
    drawn = []
    real = s2sam.rounding._bits
    monkeypatch.setattr(s2sam.rounding, "_bits", lambda *a: drawn.append(real(*a)) or drawn[-1])
    ps = [torch.nn.Parameter(torch.ones(64, dtype=torch.bfloat16)) for _ in range(4)]
    opt = wrap(torch.optim.SGD([{"params": ps[:2]}, {"params": ps[2:]}], lr=0.1), rho=0.1, rounding_seed=0)

    def closure():
        for p in ps:
            p.grad = torch.ones_like(p)

    for _ in range(3):
        opt.step(closure)
    assert len({tuple(bits([d])) for d in drawn}) == len(drawn) >= 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("wrap", [S2SAM, SAM])
def test_other_types_are_not_affected(wrap, dtype):
    runs = []
    for seed in (None, 4):
        model, loss, opt = make(wrap=wrap, dtype=dtype, rounding_seed=seed)
        for _ in range(3):
            opt.step(closure_of(opt, loss))
        runs.append(bits(model.parameters()))
        assert opt.param_groups[0]["rounding_seed"] == seed
    assert runs[0] == runs[1]


def test_in_a_mixed_model_only_half_parameters_are_affected():
    ys = []
    for seed in (None, 4):
        ps = [torch.nn.Parameter(torch.full((9,), 0.3, dtype=t)) for t in (torch.float32, torch.bfloat16)]
        opt = S2SAM(torch.optim.SGD(ps, lr=0.0), rho=0.01, rounding_seed=seed)
        for p in ps:
            p.grad = torch.ones_like(p)
        opt.step()
        with opt.perturbed():
            ys.append(bits(ps))
    assert ys[0][0] == ys[1][0]
    assert ys[0][1] != ys[1][1]


@pytest.mark.parametrize("skipped", [False, True])
@pytest.mark.parametrize("dtype", HALF)
def test_a_run_resumes_bit_for_bit(dtype, skipped):
    model, loss, opt = make(dtype=dtype, rounding_seed=3)
    train(opt, loss, 3)
    if skipped:
        with opt.perturbed():
            loss(3).backward()
        opt.zero_grad()
    saved = through_a_file({"model": model.state_dict(), "opt": opt.state_dict()})
    copied, twin = copy.deepcopy((model, opt))
    other, _, resumed = make(dtype=dtype)
    other.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["opt"])
    assert resumed.param_groups[0]["rounding_seed"] == opt.param_groups[0]["rounding_seed"] > 3
    x = torch.ones(2, 4, dtype=dtype)
    for _ in range(4):
        seen = []
        for m, o in ((model, opt), (other, resumed), (copied, twin)):
            with o.perturbed():
                seen.append(bits(m.parameters()))
                m(x).square().sum().backward()
            o.step()
            o.zero_grad()
        assert seen[0] == seen[1] == seen[2]


def wide(wrap, dtype, rho, count=4000, **options):
    """One parameter of ones with equal gradients: each entry of the perturbation is rho/sqrt(count)."""
    p = torch.nn.Parameter(torch.ones(count, dtype=dtype))
    opt = wrap(torch.optim.SGD([p], lr=0.0), rho=rho, **options)

    def closure():
        p.grad = torch.ones_like(p)

    return p, opt, closure


@pytest.mark.parametrize("wrap", [S2SAM, SAM])
@pytest.mark.parametrize("dtype", HALF)
def test_one_warning_says_that_the_perturbation_is_lost_and_what_to_do(wrap, dtype):
    # Half of the spacing above 1 is 2^-(digits + 1): entries of 2^-(digits + 2) round back, of 2^-digits survive.
    p, opt, closure = wide(wrap, dtype, 2.0 ** -(DIGITS[dtype] + 2) * 4000**0.5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            opt.step(closure)
    assert [w.category for w in caught] == [UserWarning]
    text = str(caught[0].message)
    assert text.startswith(f"perturbation must survive rounding to {dtype}, got 0.0% of it; ")
    assert "float32 parameters under autocast" in text
    assert "rounding_seed" in text
    assert "\n" not in text
    assert p.unique().tolist() == [1.0]


@pytest.mark.parametrize("wrap", [S2SAM, SAM])
@pytest.mark.parametrize("dtype", [*HALF, torch.float32])
def test_no_warning_where_it_survives_or_is_rounded_stochastically(wrap, dtype):
    small = 2.0 ** -(DIGITS.get(dtype, 7) + 2) * 4000**0.5
    large = 2.0 ** -DIGITS.get(dtype, 7) * 4000**0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rho, options in ((large, {}), (small, {"rounding_seed": 0}), (0.0, {})):
            _, opt, closure = wide(wrap, dtype, rho, **options)
            for _ in range(3):
                opt.step(closure)
        if dtype is torch.float32:
            _, opt, closure = wide(wrap, dtype, small)
            for _ in range(3):
                opt.step(closure)


def test_stochastic_rounding_keeps_a_loop_that_nearest_would_lose():
    moved = {}
    for seed in (None, 0):
        p, opt, closure = wide(S2SAM, torch.bfloat16, 0.05, rounding_seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opt.step(closure)
            with opt.perturbed():
                moved[seed] = int((p != 1).sum())
    # Each of 4,000 entries goes up with probability 0.05/sqrt(4000)/2^-7 = 0.1012; 5 standard deviations are 96.
    assert moved[None] == 0
    assert abs(moved[0] - 405) < 96


def test_a_network_in_bfloat16_trains():
    model, loss = network(dtype=torch.bfloat16)
    opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.05, rounding_seed=0)
    before = float(loss(0).detach())
    for _ in range(30):
        with opt.perturbed():
            loss(0).backward()
        opt.step()
        opt.zero_grad()
    assert float(loss(0).detach()) < before / 2
