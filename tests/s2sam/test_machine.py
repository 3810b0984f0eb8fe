"""The state machine holds for S2SAM, and catches what is broken."""

import copy
import io

import numpy as np
import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from optim_machine import CENTRE, MOMENTUM, Careful, Model, Reference
from torch.optim.lr_scheduler import StepLR

from s2sam import S2SAM


class Machine(Reference):
    """The events, each done to the optimizer and told to the model."""

    @rule()
    def step(self):
        with self.opt.perturbed():
            self.lift()
            g = self.backward()
            expected = self.w + self.d - CENTRE[: len(self.w)]
            assert np.abs(g - expected).max() <= self.slack()
        self.opt.step()
        self.stepped(g)

    @rule(inside=st.booleans())
    def step_by_closure_or_inside(self, inside):
        g = []

        def closure():
            self.lift()
            g.append(self.backward())
            return 7.0

        if inside:
            with self.opt.perturbed():
                closure()
                self.opt.step()
                self.lower()
        else:
            assert self.opt.step(closure) == 7.0
        self.stepped(g[0])

    @rule()
    def skip_the_step(self):
        """What a gradient scaler does at an inf: no call of step() at all."""
        with self.opt.perturbed():
            self.lift()
            self.backward()
        self.lower()

    @rule()
    def step_without_gradient(self):
        self.opt.zero_grad()
        self.opt.step()
        self.stepped(None)

    @rule(clear=st.booleans())
    def zero_gradients(self, clear):
        self.opt.zero_grad(set_to_none=clear)

    @rule()
    def perturb(self):
        self.opt.perturb()
        self.lift()

    @rule()
    def restore(self):
        self.opt.restore()
        self.lower()

    @rule(bad=st.sampled_from([np.nan, np.inf]))
    def a_gradient_that_is_not_finite(self, bad):
        with self.opt.perturbed():
            self.lift()
            self.backward()
        self.model.parts[0].grad[0] = bad
        self.opt.step()
        self.opt.zero_grad()
        self.lower()
        self.skipped += 1
        self.d, self.held, self.fixed_y = np.zeros_like(self.w), None, None

    @rule(rho=st.sampled_from([0.0, 0.25, 0.5, 2.0]), group=st.integers(0, 2))
    @precondition(lambda self: not self.lifted)
    def schedule_the_radius(self, rho, group):
        group %= len(self.rho)
        # A radius that passes through 0 keeps the direction: the model then holds what it held before.
        if rho == 0 or self.rho[group] == 0 or (self.held is not None and 0 in self.held):
            return
        self.rho[group] = self.opt.param_groups[group]["rho"] = rho

    @rule()
    def attach(self):
        if self.handle is None:
            self.handle = self.opt.attach(self.model)

    @rule()
    @precondition(lambda self: self.handle is not None)
    def detach(self):
        self.handle.remove()
        self.handle = None
        self.lower()

    @rule()
    @precondition(lambda self: self.handle is not None)
    def training_forward(self):
        self.model.train()
        self.model()
        self.lift()

    @rule(how=st.sampled_from(["eval", "no_grad", "state_dict"]))
    @precondition(lambda self: self.handle is not None)
    def other_forward(self, how):
        if how == "state_dict":
            self.model.state_dict()
        elif how == "eval":
            self.model.eval()()
            self.model.train()
        else:
            with torch.no_grad():
                self.model()
        self.lower()

    @rule(into_fresh=st.booleans())
    def save_and_load(self, into_fresh):
        file = io.BytesIO()
        torch.save({"opt": self.opt.state_dict(), "model": self.model.state_dict()}, file)
        self.lower()
        file.seek(0)
        saved = torch.load(file, weights_only=True)
        if into_fresh:
            self.model = Model(len(self.model.parts))
            groups = [{"params": list(self.model.parts)[:2]}, *({"params": [p]} for p in list(self.model.parts)[2:])]
            self.opt = self.kind(Careful(groups, lr=9.0, momentum=MOMENTUM), rho=9.0)
            self.opt.skipped_perturbations += self.skipped  # not saved
            self.handle = self.scheduler = None
        self.model.load_state_dict(saved["model"])
        self.opt.load_state_dict(saved["opt"])

    @rule()
    def go_on_with_a_deepcopy(self):
        self.model, self.opt = copy.deepcopy((self.model, self.opt))
        self.handle = self.scheduler = None

    @rule()
    @precondition(lambda self: len(self.sizes) < 3)
    def add_a_group(self):
        self.model.grow()
        self.opt.add_param_group({"params": [self.model.parts[-1]], "rho": 1.0, "lr": self.lr})
        self.w, self.d = np.append(self.w, 0.0), np.append(self.d, 0.0)
        self.sizes.append(1)
        self.rho.append(1.0)
        if self.held is not None:
            self.held.append(1.0)
        self.fixed_y = None
        self.scheduler = None

    @rule(on_base=st.booleans())
    def schedule_the_rate(self, on_base):
        if self.scheduler is None:
            for group in self.opt.param_groups:
                group.pop("initial_lr", None)
            self.scheduler = StepLR(self.opt.base if on_base else self.opt, 1, 0.5)
            self.opt.zero_grad()
            self.opt.step()  # a scheduler wants to see a step first
            self.stepped(None)
        elif self.lr > 0.02:
            self.scheduler.step()
            self.lr /= 2

    @invariant()
    def the_weights_are_the_models(self):
        assert self.opt.is_perturbed == self.lifted
        now = np.concatenate([p.detach().numpy().reshape(-1) for p in self.model.parameters()])
        expected = self.w + self.d if self.lifted else self.w
        assert np.abs(now - expected).max() <= self.slack()
        assert self.opt.skipped_perturbations == self.skipped
        if not self.lifted:
            self.w = now  # exact again: rounding does not pile up
            for p, d in zip(self.model.parts, np.split(self.d, [2, 3, 4][: len(self.model.parts) - 1]), strict=True):
                buffer = self.opt.direction(p)
                assert buffer is not None or not d.any()
                assert buffer is None or np.abs(buffer.numpy() - d).max() <= self.slack()

    @invariant()
    def one_buffer_each(self):
        for p, slots in self.opt.state.items():
            assert slots.keys() <= {"momentum_buffer", "ascent"}
            assert slots["ascent"].shape == p.shape

    def teardown(self):
        self.opt.restore()
        w = np.concatenate([p.detach().numpy().reshape(-1) for p in self.model.parameters()])
        assert np.abs(w - self.w).max() <= self.slack()


TestMachine = Machine.TestCase
TestMachine.settings = settings(stateful_step_count=30, deadline=None)


class Forgets(S2SAM):
    """The mark of a held perturbation is not saved."""

    def state_dict(self):
        state = super().state_dict()
        for group in state["param_groups"]:
            group["held_rho"] = 0.0
        return state


class Stale(S2SAM):
    """A parameter keeps its direction over a gradient that is not finite."""

    def _copy_gradients(self, buffers):
        kept = {p: d.clone() for p, d in buffers.items()}
        copies = super()._copy_gradients(buffers)
        for p, d in copies.items():
            d.copy_(torch.where((d == 0).all(), kept.get(p, d), d))
        return copies


class Sticks(S2SAM):
    """Evaluation under `attach` is at y."""

    def attach(self, model):
        handle = super().attach(model)
        model._forward_pre_hooks.clear()
        model.register_forward_pre_hook(lambda *_: self.perturb() if model.training else None)
        return handle


@pytest.mark.parametrize("mutant", [Forgets, Stale, Sticks])
def test_the_machine_catches(mutant):
    broken = type("Broken", (Machine,), {"kind": mutant})
    once = settings(TestMachine.settings, max_examples=300, derandomize=True, database=None, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(broken, settings=settings(once, report_multiple_bugs=False))
