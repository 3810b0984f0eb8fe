"""A state machine: any sparse-training method under any sequence of events, and what must hold after each.

One machine for all families; a subclass names its methods. After every event pruned entries are exactly 0 in weights,
gradients and slots, masks are bool and of the right shape, the counts are those the method promises, biases and norm
layers move only by the optimizer, and masks move only when the method says so.
"""

import contextlib
import copy
import warnings

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from method_table import METHODS, assert_promise, build, prepared
from optim_support import bits
from sparse_checks import (
    BASES,
    FORMS,
    WEIGHTS,
    WRAPS,
    assert_masked,
    assert_seen_masked,
    assert_survivors_untouched,
    clones,
    loss_of,
    masked_parameters,
    network,
    snapshot,
    through_a_file,
    train_step,
)


class Machine(RuleBasedStateMachine):
    """The events; `names` are the methods of a family, `make` builds one (a mutant's is another)."""

    names: tuple[str, ...] = ()
    make = staticmethod(prepared)
    fresh = staticmethod(build)

    @initialize(
        index=st.integers(0, 99),
        sparsity=st.sampled_from([0.0, 0.5, 0.8, 0.9, 0.995]),
        dense=st.sampled_from([None, "fc2", "conv1"]),
        idle=st.sampled_from([False, False, False, True]),
        base=st.sampled_from(["momentum", "adam"]),
        wrap=st.sampled_from(["bare", "s2sam"]),
    )
    def begin(self, index, sparsity, dense, idle, base, wrap):
        self.name = self.names[index % len(self.names)]
        self.row = METHODS[self.name]
        self.options = {"sparsity": sparsity} | (self.row.idle if idle and self.row.idle else {})
        if dense and self.row.dense:
            self.options["dense"] = [dense]
        self.dense = f"{dense}.weight" if dense and self.row.dense else None
        self.idle, self.base, self.wrap = bool(idle and self.row.idle), base, wrap
        self.t, self.seed, self.emptied, self.updated = 0, 0, False, None
        self.model = network()
        with ignoring_empty_layers():
            self.sparse = self.make(self.name, self.model, **self.options)
        self.attach(base, wrap)

    def attach(self, base, wrap):
        self.base, self.wrap = base, wrap
        self.opt = WRAPS[wrap](BASES[base](self.model.parameters()))
        self.sparse.attach(self.opt)

    def is_due(self):
        """Whether the next step ends in an update, or is left out for one."""
        if self.sparse.skip_step_on_update:
            return self.sparse._due(self.sparse.step) and self.sparse.last_update != self.sparse.step
        return self.sparse._due(self.sparse.step + 1)

    @rule(form=st.integers(0, 2), zero=st.booleans())
    def step(self, form, zero):
        """A step, perhaps with a gradient that is all zero."""
        masks, due, step = clones(self.sparse.masks), self.is_due(), self.sparse.step
        counted = not (due and self.sparse.skip_step_on_update)

        def edit():
            for p in self.model.parameters():
                p.grad.zero_()

        forms = FORMS[self.wrap]
        with ignoring_empty_layers():
            seen = train_step(self.model, self.opt, self.t, forms[form % len(forms)], edit if zero else None)
        self.t += 1
        assert_seen_masked(masks, seen)
        assert self.sparse.step == step + counted
        if due:
            self.updated = self.sparse.step
        if not due or (self.idle and not self.emptied):
            assert bits(masks.values()) == bits(self.sparse.masks.values())

    @rule(form=st.integers(0, 2), steps=st.integers(2, 5))
    def steps(self, form, steps):
        for _ in range(steps):
            self.step(form, False)

    @rule(kind=st.sampled_from(["gradient", "zero", "nan", "none"]))
    def update_by_hand(self, kind):
        """An update at w, with gradients that are there, all 0, not numbers, or absent."""
        self.opt.zero_grad()
        if kind != "none":
            loss_of(self.model, self.t).backward()
        for w in self.sparse.weights.values():
            if kind in ("zero", "nan"):
                w.grad.fill_(0.0 if kind == "zero" else torch.nan)
        old, before = clones(self.sparse.masks), snapshot(self.model, self.opt)
        with ignoring_empty_layers():
            self.sparse.update()
        self.updated = self.sparse.step
        new = clones(self.sparse.masks)
        assert_survivors_untouched(old, new, before, snapshot(self.model, self.opt), self.row.renews)
        if self.idle and not self.emptied:
            assert bits(old.values()) == bits(new.values())
        assert all(p.isfinite().all() for p in self.model.parameters())

    @rule()
    def save_and_resume(self):
        """Fresh objects of another seed go on from the file, and the next step is the same for both."""
        saved = through_a_file([part.state_dict() for part in (self.model, self.opt, self.sparse)])
        self.seed += 1
        model = network(self.seed)
        sparse = self.fresh(self.name, model, **self.options, seed=self.seed)
        opt = WRAPS[self.wrap](BASES[self.base](model.parameters()))
        if self.seed % 2:  # both orders are good
            sparse.attach(opt)
        for part, state in zip((model, opt, sparse), saved, strict=True):
            part.load_state_dict(state)
        if not self.seed % 2:
            sparse.attach(opt)
        assert_same(self.model, model)
        due = self.is_due()
        with ignoring_empty_layers():
            for m, o in ((self.model, self.opt), (model, opt)):
                train_step(m, o, self.t, "closure")
        self.t += 1
        assert_same(self.model, model)
        assert sparse.step == self.sparse.step
        if due:
            self.updated = sparse.step
        self.model, self.opt, self.sparse = model, opt, sparse

    @rule()
    def go_on_with_a_deepcopy(self):
        self.model, self.opt, self.sparse = copy.deepcopy((self.model, self.opt, self.sparse))
        self.sparse.attach(self.opt)

    @rule(base=st.sampled_from(["momentum", "adam"]), wrap=st.sampled_from(["bare", "s2sam"]))
    def swap_the_optimizer(self, base, wrap):
        self.attach(base, wrap)

    @rule(name=st.sampled_from(WEIGHTS))
    @precondition(lambda self: not self.emptied)
    def empty_a_layer(self, name):
        """What a global ranking may do, here by force; the method's promise is void from then on."""
        self.sparse._set(name, torch.zeros_like(self.sparse.masks[name]))
        self.emptied = True
        self.sparse.attach(self.opt)

    @rule()
    @precondition(lambda self: METHODS[self.name].family == "iterative")
    def next_round(self):
        if self.sparse.step < self.sparse.total_steps:
            return self.steps(0, 2)
        old, before = clones(self.sparse.masks), bits(self.model.parameters())
        with ignoring_empty_layers():
            went_on = self.sparse.next_round()
        new = clones(self.sparse.masks)
        assert all(not (new[n] & ~old[n]).any() for n in old)  # what is pruned stays pruned
        if went_on:
            assert not self.opt.state
            assert self.sparse.step == self.sparse.rewind_step
            assert self.emptied or sum(int(m.sum()) for m in new.values()) < sum(int(m.sum()) for m in old.values())
        else:
            assert bits(old.values()) == bits(new.values())
            assert bits(self.model.parameters()) == before

    @rule()
    @precondition(lambda self: self.wrap == "s2sam")
    def refuse_while_perturbed(self):
        masks = bits(self.sparse.masks.values())
        with self.opt.perturbed():
            assert_seen_masked(clones(self.sparse.masks), dict(self.model.named_parameters()))
            if self.opt.is_perturbed:
                for act in (self.sparse.update, self.sparse.apply):
                    with pytest.raises(RuntimeError, match=r"restore\(\)"):
                        act()
        assert masks == bits(self.sparse.masks.values())

    @invariant()
    def pruned_is_0(self):
        if hasattr(self, "sparse"):
            assert_masked(self.model, self.opt)

    @invariant()
    def the_promise_is_kept(self):
        if hasattr(self, "sparse") and not self.emptied:
            assert_promise(self.name, self.sparse, self.updated)
            assert self.dense is None or self.sparse.masks[self.dense].all()

    @invariant()
    def masks_are_the_models(self):
        if hasattr(self, "sparse"):
            found = {n: m for n, _, m in masked_parameters(self.model)}
            assert found.keys() == self.sparse.masks.keys()
            assert all(found[n] is m for n, m in self.sparse.masks.items())
            assert [n for n in self.sparse.masks if n in self.sparse.shapes] == WEIGHTS


def assert_same(a, b):
    """Two models have the same masks and weights, bit for bit."""
    for name, t in a.state_dict().items():
        assert bits([t]) == bits([b.state_dict()[name]]), f"{name} differs"


@contextlib.contextmanager
def ignoring_empty_layers():
    """Warnings of empty layers and of scores that are not numbers are what is to be expected here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
