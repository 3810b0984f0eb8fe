"""The shared checks can fail: each plausible wrong implementation is caught by the very check that a test uses."""

import pytest
import torch
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from method_table import METHODS, assert_promise, build, prepared
from sparse_checks import (
    BASES,
    WRAPS,
    Moving,
    assert_masked,
    assert_restricted_run,
    assert_resumes,
    assert_seen_masked,
    assert_survivors_untouched,
    clones,
    loss_of,
    network,
    snapshot,
    train_step,
)
from sparse_machine import Machine

from s2sam.sparse import dynamic, ranked, static
from s2sam.sparse.dynamic import MEST, RigL
from s2sam.sparse.select import drop_grow, highest


def setting(kind, base="momentum", wrap="s2sam", seed=0, **options):
    model = network(seed)
    opt = WRAPS[wrap](BASES[base](model.parameters()))
    sparse = kind(model, 0.8, **options)
    sparse.attach(opt)
    return model, opt, sparse


class AfterTheCopy(Moving):
    """Gradients are masked when the direction has been copied, as in a published code; weights and momentum are 0."""

    def _take_gradients(self):
        self._dense_gradients = self._gradients() if self._due(self.step + 1) else {}
        return False

    def _clear(self, name, where):
        direction = self.optimizer.direction(self._parameter(name)) if self.optimizer else None
        kept = None if direction is None else direction.clone()
        super()._clear(name, where)
        if direction is not None:
            direction.copy_(kept)


class KeepsMomentum:
    """Where an update drops an entry, only the weight and its gradient become 0."""

    def _clear(self, name, where):
        p = self._parameter(name)
        for t in (p.detach(), p.grad):
            if t is not None:
                t.masked_fill_(where, 0)


class Momentum(KeepsMomentum, Moving):
    pass


class Multiplies(Moving):
    """Masks by a product, so that what is not finite stays."""

    def _clear(self, name, where):
        p = self._parameter(name)
        slots = self.optimizer.state.get(p, {}).values() if self.optimizer else ()
        for t in (p.detach(), p.grad, *slots):
            if isinstance(t, torch.Tensor) and t.shape == p.shape:
                t.mul_(~where)


def run(kind, steps=4, base="momentum", wrap="s2sam", form="loop", spoil=False, **options):
    """The check of `test_controller`, for a toy method."""
    model, opt, sparse = setting(kind, base, wrap, **options)

    def edit():
        if spoil:
            w = sparse.weights["fc1.weight"]
            w.grad[~sparse.masks["fc1.weight"]] = torch.inf

    for t in range(steps):
        masks = clones(sparse.masks)
        assert_seen_masked(masks, train_step(model, opt, t, form, edit))
        assert_masked(model, opt)


def test_a_perturbation_off_the_support_is_caught():
    run(Moving)
    with pytest.raises(AssertionError, match=r"ascent of .* is not 0 where it is pruned"):
        run(AfterTheCopy, 1)
    model, opt, sparse = setting(AfterTheCopy)
    train_step(model, opt, 0)
    with pytest.raises(AssertionError, match="was not 0 in the forward pass"):
        assert_seen_masked(clones(sparse.masks), train_step(model, opt, 1))


def test_a_perturbation_off_the_support_is_not_the_restricted_function():
    class Frozen(AfterTheCopy):
        def _due(self, step):
            return False

    model = network()
    with pytest.raises(AssertionError, match="step 1: the forward passes differ"):
        assert_restricted_run(Frozen(model, 0.8), model, lambda p: WRAPS["s2sam"](BASES["momentum"](p)))


@pytest.mark.parametrize("base", ["momentum", "adam"])
def test_slots_kept_for_dropped_weights_are_caught(base):
    run(Moving, base=base)
    with pytest.raises(AssertionError, match=r"(momentum_buffer|exp_avg) of .* is not 0 where it is pruned"):
        run(Momentum, base=base)


@pytest.mark.parametrize(("wrap", "form"), [("bare", "loop"), ("s2sam", "loop"), ("sam", "closure")])
def test_a_mask_that_multiplies_is_caught(wrap, form):
    class Multiplied(Multiplies):
        def _mask_gradients(self):
            for name, mask in self.masks.items():
                if (g := self._parameter(name).grad) is not None:
                    g.mul_(mask)

    run(Moving, 2, wrap=wrap, form=form, spoil=True)
    with pytest.raises(AssertionError):
        run(Multiplied, 2, wrap=wrap, form=form, spoil=True)


def above(score, among, k):
    """The entries strictly above the k-th highest score, as in the code of several papers."""
    ranked = score[among].sort(descending=True).values
    return among & (score > ranked[k - 1]) if 0 < k <= len(ranked) else among & (k > 0)


def reached(score, among, k):
    """The entries that reach the k-th highest score."""
    ranked = score[among].sort(descending=True).values
    return among & (score >= ranked[k - 1]) if 0 < k <= len(ranked) else among & (k > 0)


@pytest.mark.parametrize("name", ["random", "snip", "grasp-layers", "rigl", "mest"])
def test_a_threshold_in_the_place_of_a_count_is_caught(monkeypatch, name):
    assert_promise(name, prepared(name, network()))
    for module in (static, ranked, dynamic):
        monkeypatch.setattr(module, "highest", above)
    with pytest.raises(AssertionError, match="keeps"):
        assert_promise(name, prepared(name, network()))


@pytest.mark.parametrize("wrong", [above, reached])
def test_a_threshold_is_caught_where_scores_are_equal(monkeypatch, wrong):
    """Weights of one size: all tie. Without ties `reached` is right, so only this shows it."""

    def equal():
        model = network()
        with torch.no_grad():
            for w in model.parameters():
                w.fill_(0.5)
        return model

    assert_promise("mest", build("mest", equal()))
    monkeypatch.setattr(dynamic, "highest", wrong)
    with pytest.raises(AssertionError, match="keeps"):
        assert_promise("mest", build("mest", equal()))


class Renewed(Moving):
    """Chooses its masks anew when a run resumes."""

    def load_state_dict(self, state):
        super().load_state_dict(state)
        for name, mask in self.masks.items():
            everything = torch.ones_like(mask)
            self._set(name, highest(self._random(name), everything, int(mask.sum())))
        self.apply()


class Forgets(Moving):
    """Grows at random, from a generator that is not saved."""

    def _update(self, gradients):
        super()._update({name: self._random(name) for name in gradients})

    def state_dict(self):
        state = super().state_dict()
        return state | {"generator": torch.Generator().get_state()}


class Restarts(Moving):
    """Counts steps from 0 again."""

    def load_state_dict(self, state):
        super().load_state_dict({**state, "step": 0})


@pytest.mark.parametrize("kind", [Renewed, Forgets, Restarts])
def test_what_does_not_resume_is_caught(kind):
    def check(kind):
        assert_resumes(lambda seed: setting(kind, seed=seed), lambda m, o, s, t: train_step(m, o, t))

    check(Moving)
    with pytest.raises(AssertionError, match="differ"):
        check(kind)


def test_survivors_that_are_touched_are_caught():
    def check(kind):
        model, opt, sparse = setting(kind)
        train_step(model, opt, 0)
        loss_of(model, 1).backward()
        old, before = clones(sparse.masks), snapshot(model, opt)
        sparse.update()
        assert_survivors_untouched(old, clones(sparse.masks), before, snapshot(model, opt))

    class Rescales(Moving):
        def _update(self, gradients):
            super()._update(gradients)
            for w in self.weights.values():
                w.mul_(1 + 2**-20)

    class ClearsAll(Moving):
        """Builds the optimizer anew, as a published code does."""

        def _update(self, gradients):
            super()._update(gradients)
            for slots in self.optimizer.state.values():
                for t in slots.values():
                    t.zero_()

    check(Moving)
    for kind in (Rescales, ClearsAll):
        with pytest.raises(AssertionError, match="changed"):
            check(kind)


class MomentumRigL(KeepsMomentum, RigL):
    pass


class OneMore(RigL):
    """Grows one entry more than it drops."""

    def _update(self, gradients):
        for name in self._sparse:
            mask = drop_grow(self.masks[name], self.weights[name].abs(), gradients[name].abs(), 3, regrow=True)
            self._set(name, mask | highest(gradients[name].abs(), ~mask, 1))


class AtY(RigL):
    """Changes its topology wherever the weights are."""

    def _refuse_perturbed(self, other=None):
        pass


class AlsoBetween(RigL):
    """Changes its topology once more after each step."""

    def _after_step(self, optimizer, args, kwargs):
        super()._after_step(optimizer, args, kwargs)
        name = next(iter(self._sparse))
        self._set(name, self.masks[name].flip(0))
        self.apply()


class Unseeded(MEST):
    """Grows from torch's global generator."""

    def _random(self, name):
        return torch.rand(self.weights[name].shape, dtype=torch.float64)


MUTANTS = {
    "momentum": ("rigl", MomentumRigL),
    "one more": ("rigl-after", OneMore),
    "at y": ("rigl", AtY),
    "between": ("rigl", AlsoBetween),
    "unseeded": ("mest", Unseeded),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_machine_catches(mutant):
    name, kind = MUTANTS[mutant]

    def make(name, model, **options):
        return kind(model, **METHODS[name].options | options)

    broken = type("Broken", (Machine,), {"names": (name,), "make": staticmethod(make), "fresh": staticmethod(make)})
    once = settings(max_examples=200, stateful_step_count=12, derandomize=True, database=None, deadline=None)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_state_machine_as_test(broken, settings=settings(once, phases=[Phase.generate], report_multiple_bugs=False))
