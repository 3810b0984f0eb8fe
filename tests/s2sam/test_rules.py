"""The pure functions: norm, ascent and adaptive ascent, over every type, size and magnitude."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from s2sam import rules

HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
SCALES = {HALF: (1e-4, 1.0, 1e3), BRAIN: (1e-25, 1.0, 1e25), SINGLE: (1e-38, 1e-25, 1.0, 1e25, 1e33)}
SCALES[DOUBLE] = (*SCALES[BRAIN], 1e-300, 1e-160, 1e160, 1e300)
CASES = [(dtype, scale, n) for dtype in SCALES for scale in SCALES[dtype] for n in (1, 3, 257, 4000)]
CASES += [(dtype, 1.0, 10**6) for dtype in SCALES] + [(SINGLE, 1e-25, 10**7), (DOUBLE, 1e300, 10**6)]


def exact_norm(tensors):
    """The norm to 60 bits: long double sums of squares (64-bit mantissa, pairwise) of values near 1."""
    x = np.concatenate([t.double().numpy().reshape(-1) for t in tensors]).astype(np.longdouble)
    top = np.abs(x).max()
    if top == 0:
        return top
    shift = -int(np.floor(np.log2(top)))
    return np.ldexp(np.sqrt((np.ldexp(x, shift) ** 2).sum()), -shift)


def gradient(n, dtype, scale, seed=0):
    g = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE) * scale
    return [g[: n // 3].to(dtype), g[n // 3 :].to(dtype)]


def assert_norm_is_rho(ascent, dtype, scale, n, rho=0.05):
    """||ascent(g, rho)|| = rho to 3 ulp of the type.

    Two roundings of half an ulp make an entry (rho/norm to the working type, the product), a third half-type output;
    the norm of relative errors of at most 3/2 ulp is at most 3/2 ulp. In float16 an entry below 2^-14 is rounded to
    multiples of 2^-24: sqrt(n) 2^-25 more.
    """
    g = gradient(n, dtype, scale)
    p = ascent(g, rho)
    assert [(x.dtype, x.shape) for x in p] == [(x.dtype, x.shape) for x in g]
    assert all(x.isfinite().all() for x in p)
    slack = 3 * torch.finfo(dtype).eps * rho + (math.sqrt(n) * 2.0**-25 if dtype is HALF else 0.0)
    assert abs(exact_norm(p) - rho) <= slack
    cosine = sum((a.double() * (b.double() / scale)).sum() for a, b in zip(p, g, strict=True))
    assert cosine > 0.99 * rho * float(exact_norm(g) / scale)


@pytest.mark.parametrize(("dtype", "scale", "n"), CASES)
def test_ascent_has_norm_rho(dtype, scale, n):
    assert_norm_is_rho(rules.ascent, dtype, scale, n)


@pytest.mark.parametrize(("dtype", "scale", "n"), CASES)
def test_global_norm_is_exact_to_a_few_ulp_of_float64(dtype, scale, n):
    g = gradient(n, dtype, scale)
    norm = rules.global_norm(g)
    assert norm.dtype is DOUBLE
    assert norm.shape == ()
    # Rows of 256 summed one by one err by under 2 ulp on average, pairwise sums by under log2(n)/2 half-ulps.
    assert abs(np.longdouble(norm.item()) - exact_norm(g)) <= 4 * 2.0**-52 * exact_norm(g)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
def test_the_norm_of_equal_entries_does_not_drift(dtype):
    g = [torch.full((10**6 + 7,), 0.1, dtype=dtype) / 3]  # torch's own norm on the CPU is off by thousands of ulp here
    assert abs(np.longdouble(rules.global_norm(g).item()) / exact_norm(g) - 1) <= 4 * 2.0**-52


@pytest.mark.parametrize("dtype", SCALES)
@pytest.mark.parametrize("batched", [False, True])
def test_zero_stays_zero_exactly(dtype, batched):
    zeros = [torch.zeros(4, 3, dtype=dtype), torch.zeros(4, dtype=dtype)]
    for p in (rules.ascent(zeros, 2.0, batched=batched), rules.adaptive_ascent(zeros, zeros, 2.0, batched=batched)):
        assert all((x == 0).all() for x in p)
    assert (rules.global_norm(zeros, batched=batched) == 0).all()


@pytest.mark.parametrize("dtype", [BRAIN, SINGLE, DOUBLE])
def test_the_smallest_number_of_the_type_has_a_direction(dtype):
    tiny = torch.tensor([0.0, torch.finfo(dtype).smallest_normal], dtype=dtype) * torch.finfo(dtype).eps
    assert tiny[1] > 0
    (p,) = rules.ascent([tiny], 0.5)
    assert p.tolist() == [0.0, 0.5]


def test_a_direction_that_is_not_finite_gives_nan_not_a_number_that_looks_right():
    for bad in (math.nan, math.inf):
        (p,) = rules.ascent([torch.tensor([1.0, bad])], 1.0)
        assert p.isnan().any()
        assert not rules.global_norm([torch.tensor([1.0, bad])]).isfinite()


def test_empty_lists_and_tensors_without_entries():
    assert rules.ascent([], 1.0) == []
    assert rules.global_norm([]) == 0
    for dtype in SCALES:
        empty, two = torch.zeros(0, 3, dtype=dtype), torch.full((1,), 2.0, dtype=dtype)
        assert [x.tolist() for x in rules.ascent([empty, two], 0.5)] == [[], [0.5]]
        assert [x.tolist() for x in rules.adaptive_ascent([empty, two], [empty, two], 0.5)] == [[], [1.0]]
        assert rules.global_norm([empty]) == 0


def test_mixed_types_share_one_norm_and_keep_their_types():
    g = [torch.tensor([3e-200], dtype=DOUBLE), torch.tensor([0.0]), torch.tensor([1.0], dtype=HALF)]
    assert [(x.dtype, x.tolist()) for x in rules.ascent(g[1:], 0.5)] == [(SINGLE, [0.0]), (HALF, [0.5])]
    p = rules.ascent(g[:2], 0.5)
    assert (p[0].dtype, p[1].dtype) == (DOUBLE, SINGLE)
    assert abs(p[0].item() - 0.5) <= 2.0**-53  # one product and one quotient, half an ulp of 0.5 each


def test_views_and_inputs_are_left_alone():
    whole = torch.arange(24.0).reshape(4, 6)
    g = [whole.t(), whole[:, ::2]]
    before = whole.clone()
    p = rules.ascent(g, 1.0)
    contiguous = rules.ascent([x.contiguous() for x in g], 1.0)
    assert all(torch.equal(a, b) for a, b in zip(p, contiguous, strict=True))
    assert torch.equal(whole, before)
    big = torch.arange(3000.0).reshape(50, 60).t()
    assert rules.global_norm([big]) == math.sqrt(sum(i * i for i in range(3000)))


@pytest.mark.parametrize("bad", [torch.ones(2, dtype=torch.complex64), torch.ones(2, dtype=torch.int64)])
def test_only_real_floating_point(bad):
    for call in (rules.ascent, lambda g, rho: rules.adaptive_ascent(g, g, rho), lambda g, _: rules.global_norm(g)):
        with pytest.raises(TypeError, match=r"tensors must be real floating-point, got torch\..*; convert them first"):
            call([bad], 1.0)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
@pytest.mark.parametrize("adaptive", [False, True])
def test_batched_is_every_instance_alone(dtype, adaptive):
    generator = torch.Generator().manual_seed(3)
    rho = torch.tensor([0.1, 0.0, 2.0, 0.5, 1.0], dtype=DOUBLE)
    scale = torch.tensor([1.0, 1e-30, 1e30, 0.0, 1e-5], dtype=dtype)
    shapes = [(5, 8), (5, 2, 3), (5,)]
    g = [torch.randn(s, generator=generator, dtype=dtype) * scale.view(-1, *[1] * (len(s) - 1)) for s in shapes]
    w = [torch.randn(s, generator=generator, dtype=dtype) for s in shapes]

    def call(g, w, rho, **batched):
        return rules.adaptive_ascent(g, w, rho, **batched) if adaptive else rules.ascent(g, rho, **batched)

    together = call(g, w, rho, batched=True)
    for i in range(5):
        alone = call([x[i] for x in g], [x[i] for x in w], rho[i])
        for a, b in zip(alone, together, strict=True):
            # Only the order of the sum of squares may differ: half an ulp of the factor, one of the product.
            assert torch.allclose(a, b[i], rtol=4 * torch.finfo(dtype).eps, atol=0)
    norms = rules.global_norm(g, batched=True)
    alone = torch.stack([rules.global_norm([x[i] for x in g]) for i in range(5)])
    assert torch.allclose(norms, alone, rtol=2.0**-50, atol=0)
    for a, b in zip(call(g, w, 0.3, batched=True), call(g, w, 0.3 + 0 * rho, batched=True), strict=True):
        assert torch.allclose(a, b, rtol=4 * torch.finfo(dtype).eps, atol=0)  # torch divides a number by 1/x times it


def test_one_radius_for_each_tensor_under_one_norm():
    g = [torch.tensor([3.0]), torch.tensor([4.0])]
    p = rules.ascent(g, [10.0, torch.tensor(-5.0)])
    assert [x.item() for x in p] == [6.0, -4.0]


def assert_adaptive_is_kwons(adaptive_ascent, dtype, g_scale, w_scale):
    """rho w^2 g/||w g||, against exact fractions; 8 roundings, each half an ulp."""
    g = [torch.tensor([3.0, -1.0], dtype=dtype) * g_scale, torch.tensor([[0.5], [0.0]], dtype=dtype) * g_scale]
    w = [torch.tensor([1.0, 2.0], dtype=dtype) * w_scale, torch.tensor([[-0.25], [3.0]], dtype=dtype) * w_scale]
    rho = 2.0**-5
    p = torch.cat([x.view(-1) for x in adaptive_ascent(g, w, rho)])
    gs, ws = ([Fraction(v) for x in xs for v in x.view(-1).tolist()] for xs in (g, w))
    square = sum((a * b) ** 2 for a, b in zip(gs, ws, strict=True))
    scale = Fraction(2) ** 400
    length = Fraction(math.isqrt(int(square * scale**8))) / scale**4
    expected = [Fraction(rho) * b * b * a / length for a, b in zip(gs, ws, strict=True)]
    for got, want in zip(p.tolist(), expected, strict=True):
        assert abs(Fraction(got) - want) <= 4 * Fraction(torch.finfo(dtype).eps) * abs(want)


ADAPTIVE = [(SINGLE, *scales) for scales in ((1.0, 1.0), (1e-25, 1e-25), (1e30, 1e8), (1e30, 1e-30), (1e-30, 1e10))]
ADAPTIVE += [(DOUBLE, *scales) for scales in ((1.0, 1.0), (1e-200, 1e-150), (1e250, 1e100))]
ADAPTIVE += [(HALF, 1.0, 1.0), (BRAIN, 1e-25, 1e-25)]


@pytest.mark.parametrize(("dtype", "g_scale", "w_scale"), ADAPTIVE)
def test_adaptive_ascent_is_asams(dtype, g_scale, w_scale):
    assert_adaptive_is_kwons(rules.adaptive_ascent, dtype, g_scale, w_scale)


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=20), st.floats(0, 1e3), st.booleans())
@example([0.0], 1.0, True)
@example([5e-324, 0.0], 1.0, False)
@example([1e-320, 2e-320], 1.0, False)
def test_ascent_on_any_float64_list(values, rho, shift):
    g = torch.tensor(values, dtype=DOUBLE) * (1e270 if shift else 1.0)
    (p,) = rules.ascent([g], rho)
    length = exact_norm([g])
    assert (p == 0).all() or length > 0
    if length > 0:
        # Roundings: norm (few half-ulps for 20 entries), quotient, product; underflow below 2^-1074.
        assert abs(exact_norm([p]) - rho) <= 8 * 2.0**-53 * rho + 20 * 2.0**-1074
        want = rho * (g.numpy().astype(np.longdouble) / length)
        assert (np.abs(p.numpy() - want) <= 8 * 2.0**-53 * np.abs(want) + 2.0**-1020 * (1 + rho)).all()


def test_nothing_reads_a_value_on_the_host():
    """A meta tensor has no values: any branch or read that depends on one raises."""
    g, w = ([torch.empty(300, 3, device="meta", dtype=t), torch.empty(300, device="meta")] for t in (SINGLE, DOUBLE))
    for batched in (False, True):
        for p in (rules.ascent(g, 1.0, batched=batched), rules.adaptive_ascent(w, w, 1.0, batched=batched)):
            assert [x.shape for x in p] == [(300, 3), (300,)]
        assert rules.global_norm(g, batched=batched).shape == ((300,) if batched else ())


class Tagged(torch.Tensor):
    """A subclass as libraries make them: no plain tensor, so norms take the way of other devices."""


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
@pytest.mark.parametrize("scale", [1e-38, 1.0, 1e33])
def test_a_tensor_of_another_class_has_the_same_norm(dtype, scale):
    g = gradient(257, dtype, scale)
    norm = rules.global_norm([t.as_subclass(Tagged) for t in g]).as_subclass(torch.Tensor).item()
    # 257 squares summed in float64, in any order: 257 roundings of 2^-53, halved by the root, and the root's own
    assert norm == pytest.approx(float(exact_norm(g)), rel=130 * 2.0**-53, abs=0)
    mixed = rules.global_norm([g[0], g[1].as_subclass(Tagged)]).as_subclass(torch.Tensor).item()
    assert mixed == pytest.approx(float(exact_norm(g)), rel=130 * 2.0**-53, abs=0)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
def test_the_power_of_two_and_its_inverse_are_normal_numbers(dtype):
    tiny, top = torch.finfo(dtype).tiny, torch.finfo(dtype).max
    expected = {
        0.0: 1 / tiny,
        tiny / 4: 1 / tiny,
        tiny: 1 / tiny,
        2 * tiny: 1 / tiny / 2,
        1.5: 1.0,
        1 + 2.0**-52: 1.0,
        2.0: 0.5,
        top: tiny,
    }
    found = {size: rules._power(torch.tensor(size, dtype=DOUBLE), dtype).item() for size in expected}
    assert found == expected


def test_adaptive_ascent_at_the_end_of_the_range():
    """Products of a weight near the largest number and a gradient with a mantissa near 2 do not overflow on the way."""
    w = [torch.tensor([3.2e38, 1.0])]
    g = [torch.tensor([1.99, 0.0])]
    (p,) = rules.adaptive_ascent(g, w, 1e-38)
    # w n(w g) is w itself in the entry that is not 0: rho w = 3.2, after at most six roundings of 2^-24
    assert p.tolist() == [pytest.approx(3.2, rel=6 * 2.0**-24), 0.0]


def test_adaptive_ascent_keeps_products_of_large_and_small():
    w, g = [torch.tensor([1e30, 1e-10])], [torch.tensor([1e-30, 1.0])]
    (p,) = rules.adaptive_ascent(g, w, 1.0)  # w g = (1, 1e-10), of norm 1
    # the inputs' roundings and at most six more of 2^-24
    assert p.tolist() == [pytest.approx(1e30, rel=10 * 2.0**-24), pytest.approx(1e-20, rel=10 * 2.0**-24)]


@pytest.mark.parametrize("norm", [None, 5.0])
def test_scales_take_one_radius_for_all_tensors(norm):
    g = [torch.tensor([3.0]), torch.tensor([4.0])]
    scale, factors = rules.scales(g, 0.5, None if norm is None else torch.tensor(norm, dtype=DOUBLE))
    assert [(x * scale * f).item() for x, f in zip(g, factors, strict=True)] == [
        pytest.approx(0.3, rel=2.0**-22),
        pytest.approx(0.4, rel=2.0**-22),
    ]


@pytest.mark.parametrize("scale", SCALES[SINGLE])
def test_adaptive_ascent_at_weights_of_one_is_ascent_bit_for_bit(scale):
    g = gradient(257, SINGLE, scale)
    plain, adaptive = rules.ascent(g, 0.05), rules.adaptive_ascent(g, [torch.ones_like(t) for t in g], 0.05)
    assert all(torch.equal(p, q) for p, q in zip(plain, adaptive, strict=True))


def test_as_many_radii_and_weights_as_tensors():
    g = gradient(9, DOUBLE, 1.0)
    with pytest.raises(ValueError, match="shorter"):
        rules.ascent(g, [0.1])
    for weights in ([*g, g[0]], g[:1]):
        with pytest.raises(ValueError, match=r"longer|shorter"):
            rules.adaptive_ascent(g, weights, 0.1)


@pytest.mark.parametrize("radii", [0.5, [0.5, 0.25]])
def test_ascent_can_be_differentiated(radii):
    g = [t.requires_grad_() for t in gradient(9, DOUBLE, 1.0)]
    assert torch.autograd.gradcheck(lambda *tensors: tuple(rules.ascent(list(tensors), radii)), g)
