"""SET: selections of plain python, invariants of Mocanu et al. 2018, and what a step and a resumed run must hold."""

import itertools
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
    cases,
    floor,
    largest,
    layers,
    scatter,
    sizes,
    smallest,
)
from hypothesis import example, given
from hypothesis import strategies as st
from sparse_checks import network

from s2sam.sparse import dynamic
from s2sam.sparse.dynamic import SET

ALPHAS = st.sampled_from([0.0, 0.29, 0.3, 0.5, 1.0])


def expected(before, alpha):
    """Masks after an update, and what was dropped and grown at once."""
    masks, renewed = dict(before.on), {}
    for name in before.moving:
        w, on = before.w[name], before.on[name]
        negative = {i for i in on if w[i] < 0}
        kept = set(on)
        for pool in (negative, on - negative):
            kept -= smallest(sizes(w), pool, floor(alpha * len(pool)))
        grown = largest(before.draws[name], before.all[name] - kept, len(on) - len(kept))
        masks[name], renewed[name] = kept | grown, grown & on
    return masks, renewed


def assert_update(case, alpha, seed, kind=SET):
    shapes, options = case
    sparse = scatter(kind(layers(*shapes), total_steps=10, alpha=alpha, **options), seed)
    before = Seen(sparse)
    masks, renewed = expected(before, alpha)
    sparse.update()
    assert_masks(sparse, masks)
    assert_exchange(sparse, before, renewed)
    assert_conserved(sparse, before)


CASE = ([(9, 9), (4, 3, 3, 3)], {"sparsity": 0.5, "distribution": "er", "dense_first": False, "seed": 3})


@given(cases(), ALPHAS, st.integers(0, 2**32))
@example(CASE, 0.3, 0)
@example(CASE, 1.0, 0)
@example(([(1, 1)], CASE[1]), 1.0, 0)
@example(([(9, 9)], CASE[1] | {"sparsity": 0.05, "distribution": "uniform"}), 0.5, 0)  # less room than is dropped
@example(([(9, 9)], CASE[1] | {"sparsity": 0.99}), 1.0, 0)  # one weight left
def test_an_update_is_the_papers(case, alpha, seed):
    assert_update(case, alpha, seed)


def test_the_extremes_of_each_sign_go_first():
    sparse = SET(layers((1, 8)), 0.25, "uniform", 10, alpha=0.5)
    sparse._set("0.weight", torch.tensor([[True] * 6 + [False] * 2]))
    w = torch.tensor([[-3.0, -1.0, 0.5, 2.0, 0.0, 9.0, 0.0, 0.0]])
    sparse.model[0].weight.data.copy_(w)
    sparse.update()
    after = sparse.model[0].weight.flatten().tolist()
    assert after[0] == -3.0  # of two negatives the larger stays
    assert (after[3], after[5]) == (2.0, 9.0)  # of 0.5, 2, 0 and 9, where 0 counts as positive, two stay
    assert after.count(0.0) == 5
    assert sparse.nonzeros == 6


@pytest.mark.parametrize("sign", [1, -1])
def test_one_sign_only(sign):
    sparse = scatter(SET(layers((9, 9)), 0.5, "uniform", 10))
    w = sparse.model[0].weight
    w.data.abs_().add_(0.5 * sparse.masks["0.weight"]).mul_(sign)
    before = Seen(sparse)
    masks, renewed = expected(before, 0.3)
    sparse.update()
    assert_masks(sparse, masks)
    assert_exchange(sparse, before, renewed)


def test_a_weight_that_is_not_a_number_goes_first():
    sparse = scatter(SET(layers((9, 9)), 0.5, "uniform", 10))
    i = min(Seen(sparse).on["0.weight"])
    sparse.model[0].weight.data.view(-1)[i] = math.nan
    before = Seen(sparse)
    with pytest.warns(RuntimeWarning, match="1 of .* scores are nan"):
        sparse.update()
    assert_masks(sparse, expected(before, 0.3)[0])
    assert sparse.model[0].weight.isfinite().all()


def test_growth_is_uniform_over_all_free_places():
    """Of 20 places 10 are kept with 2 dropped, so each of 12 free ones is grown with probability 1/6, in 3,000 updates.

    Hoeffding: the frequency of one is off by more than 0.055 with probability 2 exp(-2 3000 0.055^2) < 3e-8.
    """
    hits = torch.zeros(20)
    sparse = SET(layers((4, 5)), 0.5, "uniform", 10, alpha=0.2)
    start = torch.arange(20).view(4, 5) < 10
    w = torch.where(start, torch.arange(20.0).view(4, 5) + 1, 0.0)
    for _ in range(3000):
        sparse._set("0.weight", start)
        sparse.model[0].weight.data.copy_(w)
        sparse.update()
        hits += (sparse.masks["0.weight"] & (sparse.model[0].weight == 0)).flatten()
    assert (hits[2:10] == 0).all()
    assert ((hits[[0, 1, *range(10, 20)]] / 3000 - 1 / 6).abs() < 0.055).all()


def test_grown_weights_may_be_normal():
    """Of 20,000 grown weights the mean is within 6 standard errors of 0, so is the mean square of its 0.01.

    The standard errors are 0.1/sqrt(n) and 0.01 sqrt(2/n).
    """
    sparse = SET(layers((200, 200)), 0.5, "uniform", 10, alpha=1.0, init_std=0.1)
    sparse.model[0].weight.data.fill_(7.0)
    sparse.apply()
    sparse.update()
    w, n = sparse.model[0].weight[sparse.masks["0.weight"]].double(), 20_000
    assert len(w) == n
    assert (w != 0).all()
    assert (w != 7).all()
    assert abs(w.mean()) < 6 * 0.1 / math.sqrt(n)
    assert abs((w**2).mean() - 0.01) < 6 * 0.01 * math.sqrt(2 / n)
    assert (sparse.model[0].weight[~sparse.masks["0.weight"]] == 0).all()


def test_the_first_mask_is_random_and_exact():
    sparse = SET(network(), 0.9, total_steps=10)
    paper = SET(network(), 0.9, "er", 10)
    assert sparse.budget == paper.budget != SET(network(), 0.9, "erk", 10).budget
    for name, mask in sparse.masks.items():
        assert int(mask.sum()) == sparse.budget[name]
        assert torch.equal(mask, paper.masks[name])


@pytest.mark.parametrize(("base", "wrap"), TRAININGS)
def test_training(base, wrap):
    def make(model, seed):
        return SET(model, 0.8, total_steps=9, interval=3, seed=seed)

    assert_trains(make, base, wrap, batches=10, changes=[2, 5])  # not at the end of the training
    assert_goes_on(make, base, wrap, heads=[2, 3])


def test_the_seed_decides():
    assert_seed_decides(lambda model, seed: SET(model, 0.8, total_steps=9, interval=3, init_std=0.1, seed=seed))


def test_normal_growth_goes_on_bit_for_bit():
    def make(model, seed):
        return SET(model, 0.8, total_steps=99, interval=3, init_std=0.1, seed=seed)

    assert_goes_on(make, "adam", "s2sam", heads=[4])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_steps": None}, "total_steps must be given, got None; give"),
        ({"total_steps": 0}, "total_steps must be >= 1, got 0; give"),
        ({"interval": 0}, "interval must be >= 1, got 0; give"),
        ({"alpha": 1.5}, r"alpha must be in \[0, 1\], got 1.5; give"),
        ({"alpha": math.nan}, r"alpha must be in \[0, 1\], got nan; give"),
        ({"init_std": -1.0}, "init_std must be finite and >= 0, got -1.0; 0 grows"),
        ({"end_fraction": 1.1}, r"end_fraction must be in \[0, 1\], got 1.1; 1 is"),
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\), got 1.0; give"),
        ({"distribution": {}}, "distribution must give a density"),
    ],
)
def test_a_refused_argument_leaves_the_model_alone(options, message):
    model = network()
    with pytest.raises(ValueError, match=message) as refusal:
        SET(model, **{"total_steps": 10} | options)
    assert "\n" not in str(refusal.value)
    assert not any("mask" in name for name, _ in model.named_buffers())


class KeepsSlots(SET):
    """Weights dropped and grown at once keep value and momentum."""

    def _clear(self, name, where):
        super()._clear(name, where & ~self.masks[name])


class MostNegative(SET):
    """Keeps the k - 1 most negative weights, as a popular port does."""

    def _update(self, gradients):
        lowest = dynamic.lowest
        flip = itertools.cycle([True, False])
        try:
            most = lambda s, pool, k: pool & ~lowest(-s, pool, max(k - 1, 0))  # noqa: E731
            dynamic.lowest = lambda s, pool, k: (most if next(flip) else lowest)(s, pool, k)
            super()._update(gradients)
        finally:
            dynamic.lowest = lowest


def by_threshold(score, among, k):
    """What a cut by `<= threshold` drops: ties go together, and the count is off."""
    values = score[among].sort().values
    return among & (score <= values[k - 1]) if k > 0 else torch.zeros_like(among)


@pytest.mark.parametrize("mutant", [KeepsSlots, MostNegative])
def test_mutants_are_caught(mutant):
    assert_update(CASE, 0.3, 0)
    with pytest.raises(AssertionError):
        assert_update(CASE, 0.3, 0, mutant)


def test_a_threshold_in_place_of_exact_counts_is_caught(monkeypatch):
    assert_update(CASE, 0.3, 0)
    monkeypatch.setattr(dynamic, "lowest", by_threshold)
    with pytest.raises(AssertionError):
        assert_update(CASE, 0.3, 0)
