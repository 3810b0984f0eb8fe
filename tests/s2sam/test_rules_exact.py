"""What the pure functions do without any error at all, and their derivatives: no tolerance hides a wrong factor."""

import math

import pytest
import torch

from s2sam import rules

HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
EXPONENTS = {HALF: (-24, 15), BRAIN: (-133, 127), SINGLE: (-149, 127), DOUBLE: (-1074, 1023)}  # smallest, largest 2^k


def assert_norm_is_magnitude(global_norm):
    """Bringing a number near 1 and back rounds nothing, and the root of a square is the number (IEEE 754)."""
    generator = torch.Generator().manual_seed(0)
    x = (1 + torch.rand(4092, generator=generator, dtype=DOUBLE)).ldexp(torch.arange(-1022, 1024).repeat(2))
    assert torch.equal(global_norm([-x.view(-1, 1)], batched=True), x)
    assert all(global_norm([v.view(1)]) == v for v in x[::40])


def test_the_norm_of_one_number_is_its_magnitude():
    assert_norm_is_magnitude(rules.global_norm)

    def through_a_factor(tensors, batched=False):  # 1/x in place of a power of two: near 1 as well, but it rounds
        (x,) = tensors
        factor = x.abs().reciprocal().clamp(2.0**-1022, 2.0**1022).view(-1)
        norm = ((x.view(-1) * factor) ** 2).sqrt() / factor
        return norm if batched else norm.sum()

    with pytest.raises(AssertionError):
        assert_norm_is_magnitude(through_a_factor)


def test_batched_is_given_by_name():
    g = [torch.ones(2, 1)]
    for call, given in ((rules.global_norm, (g,)), (rules.ascent, (g, 1.0)), (rules.adaptive_ascent, (g, g, 1.0))):
        with pytest.raises(TypeError, match="positional"):
            call(*given, True)


@pytest.mark.parametrize("dtype", EXPONENTS)
@pytest.mark.parametrize("batched", [False, True])
def test_a_power_of_two_is_perturbed_by_the_radius_exactly(dtype, batched):
    """From the least subnormal number to the largest power, whatever its sign: y - w is rho, not one bit less."""
    low, high = EXPONENTS[dtype]
    numbers = [s * math.ldexp(1.0, k) for k in range(low, high + 1) for s in (1, -1)]
    g = torch.tensor(numbers, dtype=DOUBLE).to(dtype)
    assert (g != 0).all()
    if batched:
        (p,) = rules.ascent([g.view(-1, 1)], 0.375, batched=True)
        assert torch.equal(p.view(-1), 0.375 * g.sign())
    else:
        for x in g[:: max(1, len(g) // 60)]:
            (p,) = rules.ascent([x.view(1)], 0.375)
            assert p == 0.375 * x.sign()


@pytest.mark.parametrize("dtype", EXPONENTS)
def test_three_four_five(dtype):
    """Small whole numbers and their products are exact in every type: rho n(g), and rho w^2 g/||w g||."""
    g = [torch.tensor([3.0, 0.0], dtype=dtype), torch.tensor([[-4.0]], dtype=dtype)]
    assert rules.global_norm(g) == 5
    assert [x.tolist() for x in rules.ascent(g, 5.0)] == [[3.0, 0.0], [[-4.0]]]
    w = [torch.tensor([4.0, 7.0], dtype=dtype), torch.tensor([[4.0]], dtype=dtype)]  # w g = (12, 0), -16, of norm 20
    assert [x.tolist() for x in rules.adaptive_ascent(g, w, 20.0)] == [[48.0, 0.0], [[-64.0]]]


@pytest.mark.parametrize("batched", [False, True])
def test_inputs_are_left_alone(batched):
    tensors = [torch.tensor([[3.0, 1.0], [2.0, 5.0]], dtype=t) for t in (SINGLE, DOUBLE, DOUBLE)]
    before = [t.clone() for t in tensors]
    for g in (tensors[:1], tensors[1:]):
        rules.global_norm(g, batched=batched)
        rules.ascent(g, 0.5, batched=batched)
        rules.adaptive_ascent(g, [torch.full_like(x, 3.0) for x in g], 0.5, batched=batched)
        rules.adaptive_ascent([torch.ones_like(x) for x in g], g, 0.5, batched=batched)
        assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_a_radius_for_each_tensor_and_each_instance():
    g = [torch.tensor([[3.0], [0.0]], dtype=DOUBLE), torch.tensor([[4.0], [-2.0]], dtype=DOUBLE)]
    radii = [torch.tensor([5.0, 7.0], dtype=DOUBLE), torch.tensor([10.0, 0.5], dtype=DOUBLE)]
    p = rules.ascent(g, radii, batched=True)
    assert [x.view(-1).tolist() for x in p] == [[3.0, 0.0], [8.0, -0.5]]


def derivative(g, w, rho, adaptive):
    """Jacobian of rho w n(w g) by g, with w = 1 unless adaptive: rho w (I - n n') w/||w g||."""
    w = w if adaptive else torch.ones_like(g)
    n = w * g / torch.linalg.vector_norm(w * g)
    return rho * w[:, None] * (torch.eye(len(g), dtype=DOUBLE) - n[:, None] * n) * w / torch.linalg.vector_norm(w * g)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("scale", [1e-150, 0.3, 1e150])
def test_a_step_can_be_differentiated(adaptive, batched, scale):
    """The adversary's search goes through it; one norm for both tensors of an instance, at any scale."""
    g = scale * torch.tensor([3.0, -1.0, 2.0], dtype=DOUBLE)
    w = torch.tensor([0.5, 2.0, -1.5], dtype=DOUBLE)

    def pieces(x):
        return [x[None, :1], x[None, 1:]] if batched else [x]

    def ascent(x):
        if adaptive:
            p = rules.adaptive_ascent(pieces(x), pieces(w), 0.25, batched=batched)
        else:
            p = rules.ascent(pieces(x), 0.25, batched=batched)
        return torch.cat([t.view(-1) for t in p])

    jacobian, expected = torch.autograd.functional.jacobian(ascent, g), derivative(g, w, 0.25, adaptive)
    # some thirty roundings of numbers up to the largest entry
    assert (jacobian - expected).abs().max() <= 60 * 2.0**-53 * expected.abs().max()
    with pytest.raises(AssertionError):  # rho/||g|| alone would be the derivative at a fixed norm
        assert (jacobian - 0.25 * torch.eye(3) / torch.linalg.vector_norm(g)).abs().max() <= 0.01 * expected.abs().max()


def test_the_norm_can_be_differentiated():
    g = torch.tensor([3.0, -4.0], dtype=DOUBLE, requires_grad=True)
    rules.global_norm([g[:1], g[1:]]).backward()
    # a few roundings of 3/5 and 4/5
    assert (g.grad - torch.tensor([0.6, -0.8], dtype=DOUBLE)).abs().max() <= 8 * 2.0**-53
