"""The state machine holds for every family of methods; whole runs of each method are repeatable and resume exactly."""

import pytest
import torch
from hypothesis import settings
from method_table import METHODS, assert_promise, build, of_family, prepared
from optim_support import bits
from sparse_checks import BASES, WRAPS, assert_masked, assert_resumes, network, train_step
from sparse_machine import Machine, ignoring_empty_layers

from s2sam import sparse


class Static(Machine):
    names = tuple(of_family("static"))


class Iterative(Machine):
    names = tuple(of_family("iterative"))


class Dynamic(Machine):
    names = tuple(of_family("dynamic"))


class Structured(Machine):
    names = tuple(of_family("structured"))


STEPS = 14
LENGTH = settings(stateful_step_count=12, deadline=None)
TestStatic, TestIterative = Static.TestCase, Iterative.TestCase
TestDynamic, TestStructured = Dynamic.TestCase, Structured.TestCase
TestStatic.settings = TestIterative.settings = TestDynamic.settings = TestStructured.settings = LENGTH


def test_every_method_is_in_the_table():
    public = {v for v in map(vars(sparse).get, sparse.__all__) if isinstance(v, type)} - {sparse.Controller}
    assert {row.kind for row in METHODS.values()} == public
    assert sorted(METHODS) == sorted(of_family("static", "iterative", "dynamic", "structured"))


def one_step(model, opt, controller, t):
    train_step(model, opt, t)
    if controller.step == controller.total_steps:
        with ignoring_empty_layers():
            controller.next_round()


def parts(name, seed=0, make=prepared):
    model = network(seed)
    controller = make(name, model, seed=seed)
    opt = WRAPS["s2sam"](BASES["momentum"](model.parameters()))
    controller.attach(opt)
    return model, opt, controller


@pytest.mark.parametrize("head", [3, 5])
@pytest.mark.parametrize("name", METHODS)
def test_a_run_resumes_exactly(name, head):
    """Broken off where an update is due or has been, or between two of them; the rest sees several more."""
    assert_resumes(lambda seed: parts(name, seed, build if seed else prepared), one_step, head, tail=8)


@pytest.mark.parametrize("name", METHODS)
def test_a_run_depends_on_its_seed_alone(name):
    """Not on torch's global stream, which data loaders and dropout use, and which it leaves as it was."""
    ends = []
    for noise in range(2):
        torch.manual_seed(0)
        model, opt, controller = parts(name)
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        for t in range(STEPS):
            one_step(model, opt, controller, t)
            assert_masked(model, opt)
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(bits(model.state_dict().values()))
        assert controller.step <= STEPS
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_ends_in_what_was_promised(name):
    """A whole training to its last step; a plain network of fewer weights comes out."""
    model, opt, controller = parts(name)
    moves, updates = [], controller._update

    def counted(gradients):
        moves.append(controller.step)
        updates(gradients)

    controller._update = counted
    t = 0
    while controller.step < controller.total_steps or (METHODS[name].family == "iterative" and controller.next_round()):
        train_step(model, opt, t)
        t += 1
    assert t < 200
    assert_promise(name, controller, max(moves, default=None))
    assert bool(moves) == (METHODS[name].family in ("dynamic", "structured"))
    kept = controller.nonzeros
    assert kept < sum(w.numel() for w in controller.weights.values())
    plain = controller.finalize()
    fresh = network(1)
    fresh.load_state_dict(plain.state_dict(), strict=True)
    assert sum(int(w.count_nonzero()) for n, w in fresh.named_parameters() if n in controller.shapes) <= kept
    assert all(p.isfinite().all() for p in fresh.parameters())
