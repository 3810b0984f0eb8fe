"""The checks can fail: each plausible wrong implementation is caught by the very check that a test uses."""

import numpy as np
import pytest
import torch
from optim_nets import network, train
from optim_support import BASES, Problem, assert_follows_twin, assert_returns_bit_for_bit, bits, run
from test_rules import BRAIN, SINGLE, assert_adaptive_is_kwons, assert_norm_is_rho

import s2sam.optim
from s2sam import S2SAM, SAM, rules


class NoAscent(S2SAM):
    def perturb(self):
        self._lift([])


class NeverRefreshed(S2SAM):
    """The first gradient stays the direction for ever."""

    def _take_direction(self):
        return [] if self._buffers() else super()._take_direction()


class FromGrad(S2SAM):
    """The direction is read from `p.grad`, as in a published S2-SAM: after `zero_grad()` there is none."""

    @torch.no_grad()
    def perturb(self):
        if self.is_perturbed:
            return
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        steps = rules.ascent([p.grad for p in parameters], self.param_groups[0]["rho"])
        self._lift(list(zip(parameters, steps, strict=True)))


class BySubtraction(S2SAM):
    """Going back subtracts the perturbation instead of copying w."""

    @torch.no_grad()
    def restore(self):
        for p, w in self._lifted or []:
            step = p - w
            p.sub_(step)
            w.copy_(step)
        self._lifted = None


class BySubtractingTheAscent(S2SAM):
    """The same with the perturbation that was added, kept aside."""

    def _lift(self, pairs, scales=None):
        w = [p.clone() for p, _ in pairs]
        super()._lift(pairs, scales)
        self.added = [(p, p - v) for (p, _), v in zip(pairs, w, strict=True)]

    @torch.no_grad()
    def restore(self):
        super().restore()
        for p, e in self.__dict__.pop("added", []):
            p.add_(e).sub_(e)


class AfterTheBase(S2SAM):
    """The direction is copied after the base step, which may have overwritten `p.grad`."""

    def _take_direction(self):
        step, self.base.step_now = type(self.base).step.__wrapped__, True
        step(self.base)
        created = super()._take_direction()
        for p in self.param_groups[0]["params"]:
            p.grad = torch.zeros_like(p)  # the second update, by _step, then only repeats the momentum
        return created


class BufferFirst(S2SAM):
    """The buffer is in the state before the base step: Adam takes its state for initialised."""

    def _take_direction(self):
        for p, buffer in super()._take_direction():
            self.state[p]["ascent"] = buffer
        return []


class StaleNorm(S2SAM):
    """The norm of the gradient is believed even where the direction was edited since."""

    def _known_norm(self, buffers):
        return self._norm._norm if self._norm else None


class TwiceTheSame(SAM):
    """SAM whose second evaluation is at w."""

    def _lift(self, pairs, scales=None):
        super()._lift([])


def test_without_an_ascent_the_path_is_not_the_twins():
    with pytest.raises(AssertionError, match="w_2 is off"):
        assert_follows_twin(NoAscent, "s2sam", "momentum")
    with pytest.raises(AssertionError, match="w_1 is off"):
        assert_follows_twin(TwiceTheSame, "sam", "momentum", form="closure")


@pytest.mark.parametrize(("wrap", "form"), [(S2SAM, "loop"), (SAM, "closure")])
def test_a_flipped_sign_is_caught(monkeypatch, wrap, form):
    assert_follows_twin(wrap, wrap.__name__.lower(), "sgd", form=form)
    monkeypatch.setattr(s2sam.optim, "scales", lambda g, rho, norm: rules.scales(g, [-r for r in rho], norm))
    with pytest.raises(AssertionError, match="is off"):
        assert_follows_twin(wrap, wrap.__name__.lower(), "sgd", form=form)


@pytest.mark.parametrize("base", ["sgd", "adam"])
def test_a_direction_that_is_never_refreshed_is_caught(base):
    with pytest.raises(AssertionError, match=r"y_2 is off|w_3 is off"):
        assert_follows_twin(NeverRefreshed, "s2sam", base)


def test_a_direction_from_the_gradient_field_is_caught_and_is_plain_sgd_bit_for_bit():
    with pytest.raises(AssertionError, match="is off"):
        assert_follows_twin(FromGrad, "s2sam", "momentum")
    kind, _, options = BASES["momentum"]
    mutant = run(lambda ps: FromGrad(kind(ps, **options), rho=0.5), Problem())
    plain = run(lambda ps: S2SAM(kind(ps, **options), rho=0.0), Problem())
    assert np.array_equal(mutant[0], plain[0])
    assert np.array_equal(mutant[1], mutant[0][:-1])
    with_zeros = run(lambda ps: FromGrad(kind(ps, **options), rho=0.5), Problem(), set_to_none=False)
    assert np.array_equal(with_zeros[0], plain[0])  # zero-filled before the forward: no direction either


def test_the_gradient_squared_instead_of_the_weight_is_caught(monkeypatch):
    def squared_gradient(g, w, rho):
        parts = [x.pow(2) * x for x in g]
        return [rho * x / torch.cat([(x * v).view(-1) for x, v in zip(g, w, strict=True)]).norm() for x in parts]

    with pytest.raises(AssertionError):
        assert_adaptive_is_kwons(squared_gradient, SINGLE, 1.0, 1.0)
    monkeypatch.setattr(s2sam.optim, "adaptive_ascent", lambda g, w, rho: squared_gradient(g, w, rho[0]))
    with pytest.raises(AssertionError, match="is off"):
        assert_follows_twin(S2SAM, "s2sam", "sgd", adaptive=True)


@pytest.mark.parametrize("mutant", [BySubtraction, BySubtractingTheAscent])
def test_going_back_by_subtraction_is_caught(mutant):
    with pytest.raises(AssertionError):
        assert_returns_bit_for_bit(mutant)


@pytest.mark.parametrize("eps", [1e-12, 1e-38])
def test_an_eps_in_the_denominator_is_caught(eps):
    def with_eps(g, rho):
        return [rho * x / (torch.cat([v.view(-1) for v in g]).norm() + eps) for x in g]

    assert_norm_is_rho(with_eps, SINGLE, 1.0, 1000)  # a gradient of ordinary size does not show it
    with pytest.raises(AssertionError):
        assert_norm_is_rho(with_eps, SINGLE, 1e-25 if eps > 1e-30 else 1e-38, 1000)


def naive(g, rho):
    norm = torch.cat([v.view(-1) for v in g]).norm()
    return [rho * x / norm for x in g]


@pytest.mark.parametrize(("dtype", "scale"), [(SINGLE, 1e-25), (SINGLE, 1e25), (torch.float64, 1e-300), (BRAIN, 1e-25)])
def test_a_norm_in_the_working_precision_is_caught(dtype, scale):
    with pytest.raises(AssertionError):
        assert_norm_is_rho(naive, dtype, scale, 1000)


def test_one_norm_for_each_tensor_is_caught(monkeypatch):
    def each(gs, rho, norm):
        found = [rules.scales([g], r / len(gs) ** 0.5) for g, r in zip(gs, rho, strict=True)]
        return torch.ones((), dtype=torch.float64), [s * f for s, (f,) in found]

    monkeypatch.setattr(s2sam.optim, "scales", each)
    with pytest.raises(AssertionError, match="is off"):
        assert_follows_twin(S2SAM, "s2sam", "sgd")


def test_a_direction_copied_after_the_base_step_is_caught():
    problem = Problem(steps=3)
    right = run(lambda ps: S2SAM(torch.optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True, foreach=True)), problem)
    first = right[2].direction(right[2].param_groups[0]["params"][0])
    parameters = problem.parameters()
    opt = AfterTheBase(torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, foreach=True))
    with opt.perturbed():
        problem.loss(parameters, 0).backward()
    given = bits(p.grad for p in parameters)
    opt.step()
    assert bits(opt.direction(p) for p in parameters) != given
    assert first is not None
    with pytest.raises(AssertionError, match="is off"):
        assert_follows_twin(AfterTheBase, "s2sam", "nesterov", foreach=True)


def test_a_buffer_made_before_the_base_step_breaks_adam():
    model, loss = network()
    with pytest.raises(KeyError):
        train(BufferFirst(torch.optim.Adam(model.parameters())), loss, 1)
    train(S2SAM(torch.optim.Adam(model.parameters())), loss, 1)
    assert set(S2SAM.__mro__[1].__subclasses__()) >= {S2SAM, SAM}


def test_a_norm_from_before_the_direction_was_edited_is_caught():
    def assert_radius_survives_an_edit(wrap, edit):
        p = torch.nn.Parameter(torch.zeros(4))
        opt = wrap(torch.optim.SGD([p], lr=0.0), rho=0.5)
        p.grad = torch.tensor([3.0, 4.0, 0.0, 12.0])
        opt.step()
        edit(opt, p)
        with opt.perturbed():
            # Three roundings of half an ulp: rho/norm, the product, the sum with 0.
            assert torch.allclose(p.detach(), torch.tensor([0.3, 0.4, 0.0, 0.0]), rtol=2 * 2.0**-23, atol=0)

    def in_state(opt, p):
        opt.state[p]["ascent"][3] = 0.0

    def past_torch(opt, p):
        opt.direction(p).numpy()[3] = 0.0

    assert_radius_survives_an_edit(S2SAM, in_state)
    assert_radius_survives_an_edit(S2SAM, past_torch)
    with pytest.raises(AssertionError):
        assert_radius_survives_an_edit(StaleNorm, in_state)
