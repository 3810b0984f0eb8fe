"""RigL: selections of plain python, the schedule and invariants of Evci et al. 2020, and what a run must hold."""

import math

import pytest
import torch
from dynamic_support import (
    TRAININGS,
    Seen,
    assert_conserved,
    assert_exchange,
    assert_goes_on,
    assert_masks,
    assert_seed_decides,
    assert_trains,
    build,
    cases,
    floor,
    layers,
    scatter,
    sizes,
    smallest,
    step,
)
from hypothesis import example, given
from hypothesis import strategies as st
from sparse_checks import loss_of, network, train_step

from s2sam.sparse import dynamic
from s2sam.sparse.dynamic import RigL


def fraction(alpha, t, end):
    return alpha / 2 * (1 + math.cos(math.pi * t / end)) if t < end else 0.0


def grow(g, on, kept):
    """The |on| - |kept| candidates of largest |g|; of equals those just dropped come first, then the first."""
    candidates = (i for i in range(len(g)) if i not in kept)
    return set(sorted(candidates, key=lambda i: (-abs(g[i]), i not in on, i))[: len(on) - len(kept)])


def expected(before, f):
    masks = dict(before.on)
    for name in before.moving:
        on = before.on[name]
        kept = on - smallest(sizes(before.w[name]), on, min(floor(f * len(on)), len(on) - 1))
        masks[name] = kept | grow(before.g[name], on, kept)
    return masks


def assert_update(case, alpha, t, seed, kind=RigL):
    shapes, options = case
    sparse = scatter(kind(layers(*shapes), total_steps=1000, alpha=alpha, **options), seed)
    sparse.step = t
    before = Seen(sparse)
    sparse.update()
    f = fraction(alpha, t, 750)
    assert_masks(sparse, expected(before, f))
    assert_exchange(sparse, before)
    assert_conserved(sparse, before)
    assert_extremes(before, Seen(sparse), f)


def assert_extremes(before, after, f):
    """What left is no larger than what stayed; what came has no smaller a gradient than what did not."""
    for name, on in after.on.items():
        w, g = sizes(before.w[name]), sizes(before.g[name])
        gone, new = before.on[name] - on, on - before.on[name]
        dropped = smallest(w, before.on[name], min(floor(f * len(on)), len(on) - 1))
        if new:
            assert max(w[i] for i in gone) <= min(w[i] for i in before.on[name] - dropped)
            assert min(g[i] for i in new) >= max((g[i] for i in (before.all[name] - on)), default=0.0)


CASE = ([(9, 9), (4, 3, 3, 3)], {"sparsity": 0.5, "distribution": "erk", "dense_first": False, "seed": 3})


STEPS = st.sampled_from([0, 1, 375, 700, 749, 750, 999])


@given(cases(), st.sampled_from([0.0, 0.29, 0.3, 1.0]), STEPS, st.integers(0, 2**32))
@example(CASE, 0.3, 100, 0)
@example(CASE, 1.0, 0, 0)
@example(([(1, 1)], CASE[1]), 1.0, 0, 0)
@example(([(9, 9)], CASE[1] | {"sparsity": 0.05, "distribution": "uniform"}), 0.5, 0, 0)  # less room than is dropped
@example(([(9, 9)], CASE[1] | {"sparsity": 0.99}), 1.0, 0, 0)  # one weight left: it stays
def test_an_update_is_the_papers(case, alpha, t, seed):
    assert_update(case, alpha, t, seed)


def test_the_schedule_is_the_papers():
    sparse = RigL(layers((9, 9)), total_steps=1000)
    golden = {0: 0.3, 100: 0.287032, 375: 0.15, 700: 0.003278, 750: 0.0}
    for t, f in golden.items():
        assert abs(sparse.fraction(t) - f) < 5e-7  # half a unit of the last digit
    values = [sparse.fraction(t) for t in range(1001)]
    assert values == sorted(values, reverse=True)
    assert values[749] > 0
    assert set(values[750:]) == {0.0}
    assert RigL(layers((9, 9)), total_steps=10, end_fraction=0.0).fraction(0) == 0


@pytest.mark.parametrize("skip", [True, False])
def test_updates_are_at_multiples_of_the_interval_up_to_the_end(skip):
    """With skipping, the update after t steps takes a batch of its own: batch t + t/100 - 1, counted from 0."""
    model = layers((9, 9))
    sparse = RigL(model, 0.5, total_steps=1000, skip_step_on_update=skip)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    sparse.attach(opt)
    generator, changed, batches = torch.Generator().manual_seed(0), [], 0
    while sparse.step < 1000:
        old, t = sparse.masks["0.weight"].clone(), sparse.step
        model[0].weight.grad = torch.randn(9, 9, generator=generator)
        opt.step()
        now = sparse.masks["0.weight"]
        if not torch.equal(now, old):
            changed.append(batches)
            k = floor(fraction(0.3, sparse.step, 750) * sparse.budget["0.weight"])
            assert int((old & ~now).sum()) <= k
            assert sparse.step == t + (not skip)
        batches += 1
    # f(600) = 0.029 is one weight of 40, f(700) = 0.003 none.
    assert changed == [t + t // 100 - 1 if skip else t - 1 for t in range(100, 700, 100)]
    assert batches == (1007 if skip else 1000)


@pytest.mark.parametrize("zero", ["all", "absent"])
def test_without_gradients_nothing_moves(zero):
    sparse = scatter(RigL(layers((9, 9)), 0.5, total_steps=1000))
    sparse.model[0].weight.grad = torch.zeros(9, 9) if zero == "all" else None
    before = [t.clone() for t in (sparse.model[0].weight, sparse.masks["0.weight"])]
    sparse.update()
    assert torch.equal(before[0], sparse.model[0].weight)
    assert torch.equal(before[1], sparse.masks["0.weight"])


def test_a_gradient_that_is_not_a_number_is_grown_last():
    sparse = scatter(RigL(layers((9, 9)), 0.5, total_steps=1000))
    free = sorted(set(range(81)) - Seen(sparse).on["0.weight"])
    sparse.model[0].weight.grad.view(-1)[free[3:]] = math.nan
    with pytest.warns(RuntimeWarning, match=f"{len(free) - 3} of .* scores are nan"):
        sparse.update()
    assert not Seen(sparse).on["0.weight"] & set(free[3:])
    assert_conserved(sparse, Seen(sparse))


def test_the_paper_has_erk_and_three_quarters():
    sparse = RigL(network(), 0.9, total_steps=1000)
    assert sparse.budget == RigL(network(), 0.9, "erk", 1000).budget
    assert (sparse.end, sparse.interval, sparse.alpha, sparse.skip_step_on_update) == (750, 100, 0.3, True)
    for name, mask in sparse.masks.items():
        assert int(mask.sum()) == sparse.budget[name]


def assert_growth_follows_the_dense_gradient(kind, base, wrap, skip, batches=13):
    """The masks along a run are those by gradients that this test takes itself, where the run evaluates its own.

    The weights seen in the forward pass are 0 outside the masks; at them autograd gives the whole gradient.
    """
    make = lambda model, seed: kind(model, 0.8, total_steps=40, interval=3, skip_step_on_update=skip, seed=seed)  # noqa: E731
    model, opt, sparse = build(make, base, wrap)(0)
    exchanged = 0
    for t in range(batches):
        old, done = {name: w.detach().clone() for name, w in sparse.weights.items()}, sparse.step
        on = {name: {i for i, x in enumerate(m.flatten().tolist()) if x} for name, m in sparse.masks.items()}
        gradients = {}

        def record(gradients=gradients):
            gradients.update({name: w.grad.flatten().tolist() for name, w in sparse.weights.items()})

        train_step(model, opt, t, "closure", record)
        updated = sparse.step == done if skip else sparse.step % 3 == 0
        for name, w in sparse.weights.items():
            now = {i for i, x in enumerate(sparse.masks[name].flatten().tolist()) if x}
            if not updated or sparse.budget[name] == w.numel():
                assert now == on[name]
                continue
            if skip:  # else the weights that were ranked are those between step and update, which are gone
                values = old[name].flatten().tolist()
                k = floor(fraction(0.3, sparse.step, 30) * len(on[name]))
                kept = on[name] - smallest(sizes(values), on[name], k)
                assert now == kept | grow(gradients[name], on[name], kept), f"batch {t}, {name}"
                both = sparse.masks[name] & (old[name] != 0)
                assert torch.equal(w[both], old[name][both])
            grown = now - on[name]
            exchanged += len(grown)
            g = sizes(gradients[name])
            stayed_out = set(range(len(g))) - now - on[name]
            if grown:
                assert min(g[i] for i in grown) >= max(g[i] for i in stayed_out), f"batch {t}, {name}"
            assert all(w.flatten()[i] == 0 for i in grown)
    assert exchanged > 20


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize(("base", "wrap"), TRAININGS)
def test_growth_follows_the_dense_gradient(base, wrap, skip):
    assert_growth_follows_the_dense_gradient(RigL, base, wrap, skip)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize(("base", "wrap"), TRAININGS)
def test_training(base, wrap, skip):
    def make(model, seed):
        return RigL(model, 0.8, total_steps=12, interval=3, skip_step_on_update=skip, seed=seed)

    assert_trains(make, base, wrap, batches=13, changes=[3, 7] if skip else [2, 5])  # 9 is the end
    assert_goes_on(make, base, wrap, heads=[3, 4] if skip else [3])


def test_a_skipped_batch_leaves_the_kept_weights():
    make = lambda model, seed: RigL(model, 0.8, total_steps=40, interval=3, seed=seed)  # noqa: E731
    model, opt, sparse = build(make, "adam", "s2sam")(0)
    for t in range(3):
        step(model, opt, sparse, t)
    mask = {name: m.clone() for name, m in sparse.masks.items()}
    old = {name: w.detach().clone() for name, w in model.named_parameters()}
    gradients = {}
    train_step(
        model, opt, 3, "closure", lambda: gradients.update({n: w.grad.clone() for n, w in sparse.weights.items()})
    )
    assert sparse.step == 3
    for name, w in sparse.weights.items():  # S2-SAM's next direction is the gradient, where weights were and are kept
        assert torch.equal(opt.direction(w), gradients[name] * mask[name] * sparse.masks[name])
    for name, p in model.named_parameters():
        both = mask[name] & sparse.masks[name] if name in mask else torch.ones_like(p, dtype=torch.bool)
        assert torch.equal(p[both], old[name][both])
    step(model, opt, sparse, 4)
    assert sparse.step == 4
    assert all(not torch.equal(p, old[name]) for name, p in model.named_parameters() if "weight" in name)


def test_the_seed_decides():
    assert_seed_decides(lambda model, seed: RigL(model, 0.8, total_steps=20, interval=2, seed=seed))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_steps": None}, "total_steps must be given, got None; give"),
        ({"interval": -3}, "interval must be >= 1, got -3; give"),
        ({"alpha": -0.1}, r"alpha must be in \[0, 1\], got -0.1; give"),
        ({"end_fraction": 2.0}, r"end_fraction must be in \[0, 1\], got 2.0; 1 is"),
    ],
)
def test_a_refused_argument_leaves_the_model_alone(options, message):
    model = network()
    with pytest.raises(ValueError, match=message):
        RigL(model, **{"total_steps": 10} | options)
    assert not any("mask" in name for name, _ in model.named_buffers())


class ByMaskedGradient(RigL):
    """Grows by what is left of the gradient after masking: 0 wherever a weight could be grown."""

    def _update(self, gradients):
        super()._update({name: g * self.masks[name] for name, g in gradients.items()})


class MaskedBefore(RigL):
    """Takes the gradients after they were masked."""

    def _gradients(self):
        self._mask_gradients()
        return super()._gradients()


class RenewsAll(RigL):
    """Starts anew what was dropped and grown at once, as SET does."""

    def _set(self, name, mask):
        if self.optimizer is not None:
            w = self.weights[name].abs()
            k = floor(self.fraction(self.step) * int(self.masks[name].sum()))
            self._clear(name, dynamic.lowest(w, self.masks[name], k))
        super()._set(name, mask)


@pytest.mark.parametrize("mutant", [ByMaskedGradient, MaskedBefore, RenewsAll])
def test_mutants_are_caught(mutant):
    assert_update(CASE, 0.3, 0, 0)
    with pytest.raises(AssertionError):
        assert_update(CASE, 0.3, 0, 0, mutant)


@pytest.mark.parametrize("mutant", [ByMaskedGradient, MaskedBefore])
@pytest.mark.parametrize("skip", [True, False])
def test_masked_gradients_are_caught_in_training(mutant, skip):
    with pytest.raises(AssertionError):
        assert_growth_follows_the_dense_gradient(mutant, "momentum", "s2sam", skip)


def thresholds(active, drop_score, growth, k, *, regrow, min_keep=1):
    """Drops and grows by threshold: with ties the counts are off."""
    del regrow, min_keep
    if k < 1:
        return active
    kept = active & (drop_score > drop_score[active].sort().values[k - 1])
    best = growth[~kept].sort(descending=True).values
    return kept | (~kept & (growth > best[k]))


def test_thresholds_in_place_of_exact_counts_are_caught(monkeypatch):
    assert_update(CASE, 0.3, 0, 0)
    monkeypatch.setattr(dynamic, "drop_grow", thresholds)
    with pytest.raises(AssertionError):
        assert_update(CASE, 0.3, 0, 0)


def test_the_loss_sees_only_weights_in_the_masks():
    make = lambda model, seed: RigL(model, 0.8, total_steps=40, interval=3, seed=seed)  # noqa: E731
    model, opt, sparse = build(make, "nesterov", "s2sam")(0)
    for t in range(9):
        masks = {name: m.clone() for name, m in sparse.masks.items()}
        seen = train_step(model, opt, t)
        assert all((seen[name][~mask] == 0).all() for name, mask in masks.items())
    assert loss_of(model, 0).isfinite()
