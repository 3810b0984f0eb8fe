"""Both optimizers against the literal twin, along whole paths, in every form of the loop."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optim_support import BASES, DIM, Problem, assert_follows_twin, assert_same_path, run, tolerance, twin, vector

from s2sam import S2SAM, SAM

FORMS = [(S2SAM, "s2sam", form) for form in ("loop", "closure", "attach")] + [(SAM, "sam", "closure")]


@pytest.mark.parametrize("adaptive", [False, True], ids=["plain", "adaptive"])
@pytest.mark.parametrize(("wrap", "method", "form"), FORMS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("base", BASES)
def test_follows_the_twin(base, wrap, method, form, adaptive):
    assert_follows_twin(wrap, method, base, form=form, adaptive=adaptive)


@pytest.mark.parametrize("base", ["nesterov", "decay", "adamw"])
@pytest.mark.parametrize("wrap", [S2SAM, SAM])
def test_follows_the_twin_on_the_foreach_implementation(base, wrap):
    form = "closure" if wrap is SAM else "loop"
    assert_follows_twin(wrap, wrap.__name__.lower(), base, form=form, foreach=True)


@pytest.mark.parametrize("base", BASES)
def test_the_twins_of_the_methods_differ_by_far_more_than_the_tolerance(base):
    problem = Problem()
    paths = {m: twin(m, base, problem, 0.1)[0] for m in ("base", "sam", "s2sam")}
    for a, b in (("base", "sam"), ("base", "s2sam"), ("sam", "s2sam")):
        gap = max(np.abs(x - y).max() for x, y in zip(paths[a], paths[b], strict=True))
        assert gap > 1e6 * tolerance("s2sam", base, problem, 0.1)


@pytest.mark.parametrize("wrap", [S2SAM, SAM])
def test_follows_the_twin_in_float32_too(wrap):
    problem = Problem()
    paths = run(lambda ps: wrap(torch.optim.SGD(ps, lr=0.1), rho=0.1), problem, "closure", torch.float32)
    method = wrap.__name__.lower()
    assert_same_path(paths, twin(method, "sgd", problem, 0.1), tolerance(method, "sgd", problem, 0.1, eps=2.0**-24))


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=15)
@given(seed=seeds, base=st.sampled_from(sorted(BASES)), adaptive=st.booleans())
def test_radius_zero_is_the_base_optimizer_bit_for_bit(seed, base, adaptive):
    problem = Problem(seed, steps=6)
    kind, _, options = BASES[base]
    for wrap in (S2SAM, SAM):
        ws, ys, _ = run(lambda ps, w=wrap: w(kind(ps, **options), rho=0.0, adaptive=adaptive), problem, "closure")
        assert np.array_equal(ws, run(lambda ps: _Plain(kind(ps, **options)), problem)[0])
        assert np.array_equal(ys, ws[:-1])


class _Plain:
    """A bare optimizer with the loop's interface."""

    def __init__(self, base):
        self.perturbed, self.step, self.zero_grad = nullcontext, base.step, base.zero_grad


@settings(max_examples=15)
@given(seed=seeds, base=st.sampled_from(sorted(BASES)), rho=st.floats(0, 10))
def test_the_first_step_is_the_base_optimizers(seed, base, rho):
    problem = Problem(seed, steps=2)
    kind, _, options = BASES[base]
    ws, _, _ = run(lambda ps: S2SAM(kind(ps, **options), rho=rho), problem)
    plain, _, _ = run(lambda ps: _Plain(kind(ps, **options)), problem)
    assert np.array_equal(ws[1], plain[1])
    assert rho < 1e-3 or not np.array_equal(ws[2], plain[2])


def perturbation(gradient, rho=0.25, dtype=torch.float64, pieces=None):
    """The perturbation that S2SAM makes of a given last gradient (lr = 0, w = 0, so y is the perturbation)."""
    parts = [gradient] if pieces is None else np.split(gradient, pieces)
    parameters = [torch.nn.Parameter(torch.zeros(len(part), dtype=dtype)) for part in parts]
    opt = S2SAM(torch.optim.SGD(parameters, lr=0.0), rho=rho)
    for p, part in zip(parameters, parts, strict=True):
        p.grad = torch.tensor(part, dtype=dtype)
    opt.step()
    with opt.perturbed():
        return vector(parameters)


@given(seed=seeds, exponent=st.integers(-900, 900), factor=st.floats(1, 2))
def test_the_perturbation_does_not_depend_on_the_scale_of_the_loss(seed, exponent, factor):
    g = np.random.default_rng(seed).standard_normal(7)
    assert np.array_equal(perturbation(g * 2.0**exponent), perturbation(g))  # powers of two round nothing
    # Per entry: g*factor, the power of two's product (exact) and rho/norm's product round once each, norm <= 8 ulp.
    assert np.abs(perturbation(g * factor) - perturbation(g)).max() <= 0.25 * 16 * 2.0**-53


@settings(max_examples=25)
@given(seed=seeds)
def test_the_path_is_equivariant_under_rotations(seed):
    problem, rng = Problem(seed, steps=12), np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]

    def path(rotate):
        w = torch.nn.Parameter(torch.from_numpy(rotate @ problem.w0))
        opt = S2SAM(torch.optim.SGD([w], lr=0.1, momentum=0.5), rho=0.1)
        H, R = torch.from_numpy(problem.H), torch.from_numpy(rotate)
        ws, ys = [vector([w])], []
        for b in torch.from_numpy(problem.b):
            with opt.perturbed():
                x = R.T @ w
                ys.append(vector([w]))
                (x @ (H @ x) / 2 - b @ x).backward()
            opt.step()
            opt.zero_grad()
            ws.append(vector([w]))
        return ws, ys

    ws, ys = path(np.eye(DIM))
    turned = [[Q.T @ x for x in xs] for xs in path(Q)]
    # The rotations add 6 products of length DIM to each step's 64 roundings; on this convex quadratic with lr ||H|| < 1
    # errors grow by less than those of momentum, 1/(1 - 0.5), and of the normalisation, 1 + rho/min ||g||, each < 20.
    scale = max(np.abs(x).max() for x in ws + ys)
    assert_same_path(turned, (ws, ys), 12 * (64 + 6 * DIM) * 2.0**-53 * scale * 20 * 20)


@settings(max_examples=25)
@given(seed=seeds, cuts=st.lists(st.integers(1, 6), max_size=5), grouped=st.booleans())
def test_the_path_does_not_depend_on_tensors_and_groups(seed, cuts, grouped):
    problem = Problem(seed, steps=8)

    def wrap(groups):
        return S2SAM(torch.optim.SGD(groups, lr=0.1, momentum=0.9), rho=0.1)

    def several(parameters):
        return [{"params": [p]} for p in parameters] if grouped else parameters

    ws, ys, _ = run(wrap, problem, groups=several)
    one, other = run(wrap, problem)[:2], (ws, ys)
    assert_same_path(other, one, 0.0)  # the same tensors in other groups: the same arithmetic, to the last bit
    g = np.random.default_rng(seed).standard_normal(7)
    whole, split = perturbation(g), perturbation(g, pieces=sorted(cuts))
    assert np.abs(whole - split).max() <= 0.25 * 16 * 2.0**-53  # only the order of the sum of squares changes


@given(seed=seeds, steps=st.integers(2, 8), rho=st.floats(0.01, 3))
def test_on_a_linear_function_s2sam_is_sam(seed, steps, rho):
    a = torch.from_numpy(np.random.default_rng(seed).standard_normal(5))
    paths = []
    for wrap in (S2SAM, SAM):
        w = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
        opt = wrap(torch.optim.SGD([w], lr=0.1, momentum=0.9), rho=rho)
        paths.append(linear_path(opt, w, a, steps))
    # w_{t+1} uses only the gradient, which is a everywhere; y_t (t >= 1) is w_t + rho n(a) in both: the same roundings
    assert np.array_equal(paths[0][0], paths[1][0])
    assert np.array_equal(paths[0][1][1:], paths[1][1][1:])
    assert not np.array_equal(paths[0][1][0], paths[1][1][0])  # p_0 = 0 for S2-SAM only


def linear_path(opt, w, a, steps):
    ws, ys = [], []

    def closure():
        opt.zero_grad()
        ys[-1] = vector([w])
        loss = a @ w
        loss.backward()
        return loss

    for _ in range(steps):
        ys.append(None)
        opt.step(closure)
        ws.append(vector([w]))
    return ws, ys


@given(h=st.floats(0.01, 0.9), w0=st.floats(1, 100), rho=st.floats(0.001, 0.05), steps=st.integers(1, 6))
def test_in_one_dimension_s2sam_is_sam_until_the_sign_changes(h, w0, rho, steps):
    def path(wrap, start, count):
        w = torch.nn.Parameter(torch.tensor([start], dtype=torch.float64))
        opt = wrap(torch.optim.SGD([w], lr=h), rho=rho)
        ws = [start]

        def closure():
            opt.zero_grad()
            loss = (w * w).sum() / 2
            loss.backward()
            return loss

        for _ in range(count):
            opt.step(closure)
            ws.append(w.item())
        return ws

    ws = path(S2SAM, w0, steps + 1)
    sign = next((t for t, w in enumerate(ws) if w <= 0), len(ws))
    same = path(SAM, ws[1], steps)  # SAM from S2-SAM's w_1, since p_0 = 0
    # p = +-rho in both, rounded three times; 8 roundings a step on numbers below 101, which (1 - h) does not enlarge.
    assert sign >= 2
    assert np.allclose(ws[1:sign], same[: sign - 1], rtol=0, atol=steps * 8 * 2.0**-53 * w0)


@settings(max_examples=20)
@given(seed=seeds, adaptive=st.booleans())
def test_fed_the_current_gradient_s2sam_is_sam(seed, adaptive):
    problem = Problem(seed, steps=6)

    def wrap(groups):
        return S2SAM(torch.optim.SGD(groups, lr=0.1, momentum=0.9), rho=0.1, adaptive=adaptive)

    parameters = problem.parameters()
    opt = wrap(parameters)
    for p in parameters:
        p.grad = torch.zeros_like(p)
    lr, opt.param_groups[0]["lr"] = opt.param_groups[0]["lr"], 0.0
    opt.step()  # makes the buffers
    opt.param_groups[0]["lr"] = lr
    ws, ys = [vector(parameters)], []
    for t in range(6):
        now = torch.autograd.grad(problem.loss(parameters, t), parameters)
        for p, g in zip(parameters, now, strict=True):
            opt.direction(p).copy_(g)
        opt.zero_grad()
        with opt.perturbed():
            ys.append(vector(parameters))
            problem.loss(parameters, t).backward()
        opt.step()
        ws.append(vector(parameters))

    def exact(groups):
        return SAM(torch.optim.SGD(groups, lr=0.1, momentum=0.9), rho=0.1, adaptive=adaptive)

    assert_same_path((ws, ys), run(exact, problem, "closure"), 0.0)
