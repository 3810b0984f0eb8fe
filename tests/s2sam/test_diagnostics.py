"""Diagnostics: true to formulas written out in float64, without influence on the run, and free where nobody asks."""

import math
import weakref

import pytest
import torch
from optim_nets import attached, closure_of, make, network, stepped, train
from optim_support import bits
from torch.utils._python_dispatch import TorchDispatchMode

from s2sam import S2SAM, SAM
from s2sam.sparse import RandomMask


def flat(tensors):
    return torch.cat([t.detach().double().reshape(-1) for t in tensors])


def cos(u, v):
    return float(u @ v / (u.norm() * v.norm()))


# The cosine is 1 - d^2/2 of float32 unit vectors with 67 entries, each off by fewer than 8 roundings of its size.
NEAR = 8 * 2.0**-24 * 67**0.5


def assert_reads_what_the_formulas_say(wrap):
    model, loss, opt = make(wrap=wrap)
    watch, before = opt.diagnostics(), None
    for t in range(5):
        w = flat(model.parameters())
        with opt.perturbed():
            y = flat(model.parameters())
            loss(t).backward()
        g = flat(p.grad for p in model.parameters())
        opt.step()
        opt.zero_grad()
        reading = watch.read()
        # y - w is exact in float64; the difference that is measured is one rounding of each entry away from it.
        assert abs(reading.perturbation - float((y - w).norm())) <= 2.0**-24 * 0.1
        assert reading.perturbation == pytest.approx(0.1 if t else 0.0, abs=67**0.5 * 4 * 2.0**-24)
        assert abs(reading.direction - float(g.norm())) <= 4 * 2.0**-52 * float(g.norm())
        assert math.isnan(reading.cosine) if t == 0 else abs(reading.cosine - cos(g, before)) <= NEAR + 67 * 2.0**-20
        before = g
    slots = [s for state in opt.state.values() for s in state.values()]
    assert reading.state_bytes == sum(s.numel() * s.element_size() for s in slots) == 2 * 4 * 67
    assert reading.skipped == 0


def test_s2sam_reads_what_the_formulas_say():
    assert_reads_what_the_formulas_say(S2SAM)


class Elsewhere(S2SAM):
    def _applied(self):
        return [(sign, radius, p, e.flip(0)) for sign, radius, p, e in super()._applied()]


class Half(S2SAM):
    def _applied(self):
        return [(sign, radius, p, e / 2) for sign, radius, p, e in super()._applied()]


@pytest.mark.parametrize("mutant", [Elsewhere, Half])
def test_a_wrong_reading_is_found(mutant):
    with pytest.raises(AssertionError):
        assert_reads_what_the_formulas_say(mutant)


def test_sam_reads_the_two_gradients_of_its_step():
    model, loss, opt = make(wrap=SAM)
    watch = opt.diagnostics()
    for t in range(3):
        seen = []

        def closure(t=t, seen=seen):
            opt.zero_grad()
            value = loss(t)
            value.backward()
            seen.append((flat(model.parameters()), flat(p.grad for p in model.parameters())))
            return value

        opt.step(closure)
        (w, at_w), (y, at_y) = seen
        reading = watch.read()
        assert abs(reading.perturbation - float((y - w).norm())) <= 2.0**-24 * 0.1
        assert abs(reading.direction - float(at_y.norm())) <= 4 * 2.0**-52 * float(at_y.norm())
        assert abs(reading.cosine - cos(at_w, at_y)) <= NEAR + 67 * 2.0**-20
    assert opt._tried == []


@pytest.mark.parametrize("base", ["maximize", "adam-max"])
@pytest.mark.parametrize("wrap", [S2SAM, SAM])
def test_where_the_base_maximizes_the_cosine_is_still_that_of_the_gradients(wrap, base):
    _, loss, opt = make(base, wrap=wrap)
    watch = opt.diagnostics()
    for _ in range(3):
        opt.step(closure_of(opt, loss))
    assert watch.read().cosine > 0.9  # the same batch each time


def test_radii_of_groups_are_divided_out_and_a_group_at_radius_0_is_left_out():
    for radii, tensor in (((0.1, 0.4), False), ((0.1, 0.4), True), ((0.2, 0.0), False)):
        model, loss = network(dtype=torch.float64)
        options = [torch.tensor(r, dtype=torch.float64) if tensor else r for r in radii]
        layers = (model[0], model[2])
        groups = [{"params": m.parameters(), "rho": r} for m, r in zip(layers, options, strict=True)]
        opt = S2SAM(torch.optim.SGD(groups, lr=0.1))
        watch, grads = opt.diagnostics(), []
        for t in range(3):
            w = flat(model.parameters())
            with opt.perturbed():
                y = flat(model.parameters())
                loss(t).backward()
            here = layers if radii[1] else layers[:1]
            grads.append(flat(p.grad for m in here for p in m.parameters()))
            opt.step()
            opt.zero_grad()
        assert abs(watch.read().perturbation - float((y - w).norm())) <= 2.0**-50
        assert abs(watch.read().cosine - cos(*grads[1:])) <= 1e-12  # y - w has lost 2^-53/0.1 of w's size near 1


@pytest.mark.parametrize("adaptive", [False, True])
def test_hooks_on_a_model_and_adaptive_perturbations_are_measured(adaptive):
    model, loss, opt, _ = attached()
    opt.param_groups[0]["adaptive"] = adaptive
    watch = opt.diagnostics()
    for t in range(3):
        w = flat(model.parameters())
        loss(t).backward()
        y, g = flat(model.parameters()), flat(p.grad for p in model.parameters())
        opt.step()
        opt.zero_grad()
    reading = watch.read()
    assert abs(reading.perturbation - float((y - w).norm())) <= 2.0**-24 * 0.3
    assert abs(reading.cosine - cos(y - w, g)) <= NEAR


def test_a_gradient_that_is_not_finite_shows_and_is_counted():
    model, loss, opt = stepped()
    watch = opt.diagnostics()
    with opt.perturbed():
        loss(1).backward()
    next(model.parameters()).grad[0, 0] = float("inf")
    opt.step()
    assert watch.read().skipped == 1
    assert watch.read().direction == float("inf")
    assert math.isnan(watch.read().cosine)


def test_masked_gradients_are_what_is_measured():
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1)
    RandomMask(model, sparsity=0.5).attach(opt)
    watch = opt.diagnostics()
    for _ in range(2):
        with opt.perturbed():
            model(torch.ones(2, 8)).square().sum().backward()
        opt.step()
        size = float(flat(opt.direction(p) for p in model.parameters()).norm())
        assert abs(watch.read().direction - size) <= 4 * 2.0**-52 * size
        opt.zero_grad()
    assert watch.read().perturbation == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("base", ["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("wrap", [S2SAM, SAM])
def test_measuring_does_not_change_the_run(wrap, base):
    runs = []
    for ask in (False, True):
        model, loss, opt = make(base, wrap=wrap)
        watch = opt.diagnostics() if ask else None
        for t in range(4):
            opt.step(closure_of(opt, lambda _, t=t, loss=loss: loss(t)))
            if watch:
                watch.read()
        runs.append(bits(model.parameters()))
    assert runs[0] == runs[1]


class Operations(TorchDispatchMode):
    """The operations that torch runs, with the number of entries each makes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        results = made if isinstance(made, list | tuple) else [made]
        self.seen.append((str(function), [x.numel() for x in results if isinstance(x, torch.Tensor)]))
        return made


def operations(wrap, ask, base="momentum"):
    """Return the operations of one step: without a watch, with one, or after one was removed."""
    _, loss, opt = make(base, wrap=wrap)
    for _ in range(2):
        opt.step(closure_of(opt, loss))
    watch = opt.diagnostics() if ask else None
    if ask == "removed":
        watch.remove()
    with Operations() as mode:
        opt.step(closure_of(opt, loss))
    return mode.seen


@pytest.mark.parametrize("wrap", [S2SAM, SAM])
def test_nothing_is_computed_or_kept_where_nobody_asks(wrap):
    never, removed, asked = (operations(wrap, ask) for ask in (None, "removed", "asked"))
    assert len(never) > 20
    assert (never == removed) is True
    assert len(asked) > len(never)
    _, loss, opt = make(wrap=wrap)
    before = set(vars(opt))
    opt.step(closure_of(opt, loss))
    assert set(vars(opt)) - before <= {"_tried"}
    assert not opt._gradient_hooks


def test_between_steps_a_watch_keeps_three_numbers_only():
    _, loss, opt = make(wrap=SAM)
    watch = opt.diagnostics()
    opt.step(closure_of(opt, loss))
    assert [x.shape for x in watch._last] == [()] * 3
    held = weakref.ref(watch)
    watch.remove()
    del watch
    assert held() is None


@pytest.mark.parametrize("wrap", [S2SAM, SAM])
def test_it_ends_with_its_block_and_can_be_had_twice(wrap):
    _, loss, opt = make(wrap=wrap)
    with opt.diagnostics() as first, opt.diagnostics() as second:
        opt.step(closure_of(opt, loss))
        assert str(first.read()) == str(second.read())
    last = first.read().direction
    opt.step(closure_of(opt, loss))
    assert first.read().direction == last
    assert not opt._gradient_hooks


def test_a_step_without_gradients_is_not_measured():
    _, loss, opt = make()
    watch = opt.diagnostics()
    train(opt, loss, 2)
    last = watch.read()
    opt.zero_grad()
    opt.step()
    assert watch.read() == last


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_tiny_and_huge_gradients_are_measured(scale):
    p = torch.nn.Parameter(torch.ones(3))
    opt = S2SAM(torch.optim.SGD([p], lr=0.0), rho=0.1)
    watch = opt.diagnostics()
    for g in ([1.0, 0.0, 0.0], [1.0, 1.0, 0.0]):
        with opt.perturbed():
            p.grad = torch.tensor(g) * scale
        opt.step()
    assert watch.read().direction == pytest.approx(2**0.5 * scale, rel=2.0**-22)
    assert watch.read().cosine == pytest.approx(0.5**0.5, abs=2.0**-20)


@pytest.mark.parametrize("wrap", [S2SAM, SAM])
@pytest.mark.parametrize("radius", [0.0, 1.0])
def test_the_perturbation_that_is_read_is_the_radius(wrap, radius):
    _, loss, opt = make(wrap=wrap, rho=radius)
    watch = opt.diagnostics()
    for _ in range(3):
        opt.step(closure_of(opt, loss))
    # 67 float32 entries, each y - w rounded once at weights below 4
    assert watch.read().perturbation == pytest.approx(radius, abs=67**0.5 * 4 * 2.0**-24)


def test_a_step_at_w_has_no_perturbation_to_read():
    model, loss, opt = make()
    watch = opt.diagnostics()
    for t in range(3):
        loss(t).backward()
        gradient = flat(p.grad for p in model.parameters()).norm()
        opt.step()
        opt.zero_grad()
        assert watch.read().perturbation == 0.0
        assert watch.read().direction == pytest.approx(float(gradient), rel=4 * 2.0**-52)
