"""MEST: selections of plain python, the two schedules of Yuan et al. 2021, and what a run must hold."""

import math

import pytest
import torch
from dynamic_support import (
    TRAININGS,
    Seen,
    assert_exchange,
    assert_goes_on,
    assert_masks,
    assert_seed_decides,
    assert_trains,
    build,
    cases,
    floor,
    largest,
    layers,
    scatter,
    sizes,
)
from hypothesis import example, given
from hypothesis import strategies as st
from sparse_checks import network, train_step

from s2sam.sparse import dynamic
from s2sam.sparse.dynamic import MEST


def bounds(n, total, mu, soft):
    """How many of n weights an update prunes to, and grows to; `total` is the number at the sparsity S."""
    zeros = n - total
    if soft:
        return total, min(n, n - floor(zeros - mu * n))
    return max(1, n - floor(zeros + mu * n)), total


def expected(before, budget, mu, soft, lam):
    masks, renewed = dict(before.on), {}
    for name in before.moving:
        low, high = bounds(len(before.w[name]), budget[name], mu, soft)
        score = [abs(w) + lam * abs(g) for w, g in zip(before.w[name], before.g[name], strict=True)]
        kept = largest(score, before.on[name], low)
        grown = largest(before.draws[name], before.all[name] - kept, high - low)
        masks[name], renewed[name] = kept | grown, grown & before.on[name]
    return masks, renewed


def assert_update(case, soft, lam, t, seed, kind=MEST):
    shapes, options = case
    sparse = scatter(kind(layers(*shapes), total_steps=160, soft=soft, lam=lam, **options), seed)
    sparse.step = t
    first = 0.05 if soft else (1 - options["sparsity"]) / 5
    mu = first if t < 90 else first / 2 if t < 120 else 0.0
    before = Seen(sparse)
    masks, renewed = expected(before, sparse.budget, mu, soft, lam)
    sparse.update()
    assert_masks(sparse, masks)
    assert_exchange(sparse, before, renewed)


CASE = ([(9, 9), (4, 3, 3, 3)], {"sparsity": 0.5, "distribution": "uniform", "dense_first": False, "seed": 3})


STEPS = st.sampled_from([0, 89, 90, 119, 120, 159])


@given(cases(), st.booleans(), st.sampled_from([0.0, 1.0, 2.0]), STEPS, st.integers(0, 2**32))
@example(CASE, False, 0.0, 0, 0)
@example(CASE, True, 1.0, 0, 0)
@example(CASE, True, 0.0, 120, 0)
@example(([(9, 9)], CASE[1] | {"sparsity": 0.03}), True, 0.0, 0, 0)  # grows until the layer is dense
@example(([(9, 9)], CASE[1] | {"sparsity": 0.99}), False, 0.0, 0, 0)  # one weight left
@example(([(1, 1)], CASE[1]), False, 0.0, 0, 0)
def test_an_update_is_the_papers(case, soft, lam, t, seed):
    assert_update(case, soft, lam, t, seed)


def test_a_sparsity_that_is_not_whole_is_the_layers_own():
    """At S = 0.9 a layer of 9,216 keeps 922; the counts are those of S +- mu, one more only where S n is not whole."""
    hard, soft = (MEST(layers((96, 96)), 0.9, total_steps=160, soft=soft) for soft in (False, True))
    assert hard.budget == soft.budget == {"0.weight": 922}
    assert (hard.nonzeros, soft.nonzeros) == (922, 9216 - math.floor(0.85 * 9216))
    assert bounds(9216, 922, 0.02, False) == (9216 - math.floor(0.92 * 9216), 922)


@pytest.mark.parametrize("soft", [False, True])
def test_the_first_mask_is_by_magnitude_and_updated_at_once(soft):
    model, plain = network(3), network(3)
    sparse = MEST(model, 0.5, total_steps=160, soft=soft)
    for name, w in plain.named_parameters():
        if name not in sparse.weights:
            continue
        flat, n, total = w.flatten().tolist(), w.numel(), sparse.budget[name]
        low, high = bounds(n, total, 0.05 if soft else 0.1, soft)
        kept = largest(sizes(flat), range(n), low)
        after = sparse.weights[name].flatten().tolist()
        assert {i for i in range(n) if after[i] != 0} == kept
        assert all(after[i] == flat[i] for i in kept)
        assert int(sparse.masks[name].sum()) == high


def counts(soft, steps, interval=None, mutation=None, sparsity=0.9):
    """How many weights of a layer of 100 x 100 there are during each step of a training, and after it."""
    model = layers((100, 100))
    sparse = MEST(model, sparsity, "uniform", steps, soft=soft, interval=interval, mutation=mutation)
    opt = torch.optim.SGD(model.parameters(), lr=0.0)
    sparse.attach(opt)
    found, masks = [sparse.nonzeros], [sparse.masks["0.weight"].clone()]
    for _ in range(steps):
        model[0].weight.grad = torch.ones(100, 100)
        opt.step()
        found.append(sparse.nonzeros)
        masks.append(sparse.masks["0.weight"].clone())
    changed = [t for t in range(1, steps + 1) if not torch.equal(masks[t], masks[t - 1])]
    return found, changed


def test_the_soft_bound_comes_down_in_stages():
    found, changed = counts(True, 160)
    assert found == [1500] * 90 + [1250] * 30 + [1000] * 41
    assert changed == list(range(5, 121, 5))  # 1/32 of the training is the interval, and at 120 the last update is


@pytest.mark.parametrize("sparsity", [0.9, 0.95])
def test_the_hard_bound_is_never_exceeded(sparsity):
    found, changed = counts(False, 160, sparsity=sparsity)
    assert set(found) == {round((1 - sparsity) * 10_000)}
    assert changed == list(range(5, 116, 5))  # an update without mutation changes nothing
    sparse = MEST(layers((100, 100)), sparsity, total_steps=160)
    golden = {0.9: [0.02, 0.01, 0.0], 0.95: [0.01, 0.005, 0.0]}[sparsity]
    assert list(sparse.mutation) == [0, 90 / 160, 120 / 160]
    assert all(abs(a - b) < 1e-15 for a, b in zip(sparse.mutation.values(), golden, strict=True))


@given(st.integers(1, 60), st.integers(1, 70), st.floats(0, 1), st.booleans())
@example(1, 7, 0.75, True)
@example(50, 7, 0.75, True)  # the last stage begins at step 37.5, between updates
@example(10, 3, 0.7, True)  # 0.7 * 10 is 7
def test_both_end_at_the_sparsity_whatever_the_interval(steps, interval, last, soft):
    mutation = {0.0: 0.05, last: 0.0}
    found, changed = counts(soft, steps, interval, mutation)
    end = math.ceil(last * steps - 1e-6)
    assert found[end:] == [1000] * (steps + 1 - end)
    assert found[:end] == [1500 if soft else 1000] * end
    assert set(changed) <= {t for t in range(1, end) if t % interval == 0} | ({end} if soft else set())


def test_at_no_mutation_nothing_moves():
    found, changed = counts(False, 20, 2, {0.0: 0.0})
    assert set(found) == {1000}
    assert changed == []


def test_a_weight_that_is_not_a_number_goes_first():
    sparse = scatter(MEST(layers((9, 9)), 0.5, total_steps=160))
    i = min(Seen(sparse).on["0.weight"])
    sparse.model[0].weight.data.view(-1)[i] = math.nan
    before = Seen(sparse)
    with pytest.warns(RuntimeWarning, match="1 of .* scores are nan"):
        sparse.update()
    assert_masks(sparse, expected(before, sparse.budget, 0.1, False, 0.0)[0])
    assert sparse.model[0].weight.isfinite().all()


def assert_the_gradient_counts(kind, base, wrap):
    """With a huge lam the weights that stay are those of largest |gradient|, which this test takes itself.

    Scores are |w| + lam |g| with |w| < 2, so the order of |g| holds up to 2/lam and three roundings of half an ulp.
    """
    make = lambda model, seed: kind(model, 0.8, total_steps=40, interval=3, lam=1e9, seed=seed)  # noqa: E731
    model, opt, sparse = build(make, base, wrap)(0)
    updates = 0
    for t in range(10):
        on = {name: {i for i, x in enumerate(m.flatten().tolist()) if x} for name, m in sparse.masks.items()}
        gradients = {}

        def record(gradients=gradients):
            gradients.update({name: w.grad.abs().flatten().tolist() for name, w in sparse.weights.items()})

        train_step(model, opt, t, "closure", record)
        if sparse.step % 3:
            continue
        for name, w in sparse.weights.items():
            g = gradients[name]
            low, _ = bounds(w.numel(), sparse.budget[name], 0.04, False)
            if low == len(on[name]) or sparse.budget[name] == w.numel():
                continue
            kept = {i for i, x in enumerate(w.flatten().tolist()) if x != 0}
            assert len(kept) == low
            assert kept <= on[name]
            assert w.abs().max() < 2
            lost, held = max(g[i] for i in on[name] - kept), min(g[i] for i in kept)
            assert held >= lost * (1 - 3 * 2.0**-24) - 2e-9, f"batch {t}, {name}"
            updates += held > 1e-6
    assert updates > 5


@pytest.mark.parametrize(("base", "wrap"), TRAININGS)
def test_the_gradient_counts(base, wrap):
    assert_the_gradient_counts(MEST, base, wrap)


def test_magnitudes_alone_need_no_gradient():
    assert not MEST(layers((9, 9)), total_steps=10).needs_gradient
    assert MEST(layers((9, 9)), total_steps=10, lam=0.1).needs_gradient


def test_the_distribution_is_uniform():
    sparse = MEST(network(), 0.9, total_steps=320)
    assert sparse.budget == MEST(network(), 0.9, "uniform", 320).budget != MEST(network(), 0.9, "erk", 320).budget
    assert sparse.interval == 10
    assert MEST(network(), 0.9, total_steps=3).interval == 1


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("base", "wrap"), TRAININGS)
def test_training(base, wrap, soft):
    def make(model, seed):
        return MEST(model, 0.8, total_steps=12, interval=3, soft=soft, lam=0.1, seed=seed)

    model = network()
    budget = make(model, 0).budget
    sizes_ = {name: dict(model.named_parameters())[name].numel() for name in budget}
    more = [sum(bounds(sizes_[name], k, mu, True)[1] for name, k in budget.items()) for mu in (0.05, 0.025, 0.0)]
    # Stages begin at steps 0, 6.75 and 9: after step 9 the mutation is 0.
    nonzeros = [more[0]] * 8 + [more[2]] * 3 if soft else None
    assert_trains(make, base, wrap, batches=11, changes=[2, 5, 8] if soft else [2, 5], nonzeros=nonzeros)
    assert_goes_on(make, base, wrap, heads=[2, 4])


def test_the_seed_decides():
    assert_seed_decides(lambda model, seed: MEST(model, 0.8, total_steps=20, interval=2, seed=seed))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_steps": None}, "total_steps must be given, got None; give"),
        ({"interval": 0}, "interval must be >= 1, got 0; give"),
        ({"lam": -1.0}, "lam must be finite and >= 0, got -1.0; 0 ranks"),
        (
            {"mutation": {0.0: 0.1}},
            r"mutation must be in \[0, 1\] from fraction 0 on, 0 at last, got \{0.0: 0.1",
        ),
        ({"mutation": {0.5: 0.0}}, "mutation must be"),
        ({"mutation": {0.0: 1.1, 0.5: 0.0}}, "mutation must be"),
        ({"mutation": {0.0: 0.1, 1.5: 0.0}}, r"end_fraction must be in \[0, 1\], got 1.5"),
        ({"sparsity": -0.5}, r"sparsity must be in \[0, 1\), got -0.5; give"),
    ],
)
def test_a_refused_argument_leaves_the_model_alone(options, message):
    model = network()
    with pytest.raises(ValueError, match=message):
        MEST(model, **{"total_steps": 10} | options)
    assert not any("mask" in name for name, _ in model.named_buffers())


class ZeroedGradients(MEST):
    """Looks at gradients when they have been zeroed, as the authors' code does."""

    def _update(self, gradients):
        super()._update({name: torch.zeros_like(g) for name, g in gradients.items()})


class SignedGradients(MEST):
    """Adds the gradient with its sign."""

    def _update(self, gradients):
        super()._update({name: g.clamp(min=0) for name, g in gradients.items()})


class KeepsValues(MEST):
    """Weights dropped and grown at once stay as they were."""

    def _clear(self, name, where):
        super()._clear(name, where & ~self.masks[name])


@pytest.mark.parametrize(("mutant", "lam"), [(ZeroedGradients, 2.0), (SignedGradients, 2.0), (KeepsValues, 0.0)])
def test_mutants_are_caught(mutant, lam):
    assert_update(CASE, False, lam, 0, 0)
    with pytest.raises(AssertionError):
        assert_update(CASE, False, lam, 0, 0, mutant)


@pytest.mark.parametrize("mutant", [ZeroedGradients, SignedGradients])
def test_a_dead_gradient_term_is_caught_in_training(mutant):
    with pytest.raises(AssertionError):
        assert_the_gradient_counts(mutant, "momentum", "s2sam")


def by_threshold(score, among, k):
    """Keeps what is above a threshold: with ties the count is off."""
    values = score[among].sort(descending=True).values
    return among & (score > values[k]) if k < len(values) else among.clone()


def test_a_threshold_in_place_of_exact_counts_is_caught(monkeypatch):
    assert_update(CASE, False, 0.0, 0, 0)
    monkeypatch.setattr(dynamic, "highest", by_threshold)
    with pytest.raises(AssertionError):
        assert_update(CASE, False, 0.0, 0, 0)
