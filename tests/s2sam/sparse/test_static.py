"""Random masks, and what `prepare` owes its caller: the model as it was, an early refusal, a state that resumes."""

import contextlib
import copy
import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from optim_support import bits
from ranking_support import active
from sparse_checks import (
    BASES,
    WRAPS,
    assert_masked,
    assert_restricted_run,
    assert_resumes,
    batch,
    network,
    through_a_file,
    train_step,
)
from torch import nn

from s2sam import S2SAM
from s2sam.sparse import static
from s2sam.sparse.distributions import ones
from s2sam.sparse.iterative import LRR
from s2sam.sparse.select import highest
from s2sam.sparse.static import SNIP, GraSP, RandomMask

cross_entropy = nn.functional.cross_entropy
FROM_DATA = pytest.mark.parametrize("method", [SNIP, GraSP])


# Random masks.


class FirstEntries(RandomMask):
    """Keeps the first entries: exact, but not random."""

    def _random(self, name):
        return super()._random(name).flatten().sort(descending=True).values.view(self.shapes[name])


class Bernoulli(RandomMask):
    """Keeps each entry with the probability of the density: random, but not exact, as in several published codes."""

    def _random(self, name):
        return (super()._random(name) < self.budget[name] / math.prod(self.shapes[name])).double()


def assert_all_subsets_are_as_likely(method):
    """Of 5 entries keep 2: each of the 10 pairs comes up 500 times in 5000 seeds, up to chance.

    Hoeffding: with the probability of 1e-6 at most (over all pairs) a count is off by sqrt(5000 log(20/1e-6)/2) = 205.
    """
    counts = dict.fromkeys(itertools.combinations(range(5), 2), 0)
    for seed in range(5000):
        sparse = method(nn.Linear(5, 1, bias=False), 0.6, "uniform", seed=seed)
        counts[tuple(sorted(i for _, i in active(sparse.masks)))] += 1
    assert all(abs(n - 500) <= 205 for n in counts.values())


def test_all_subsets_of_the_budget_are_as_likely():
    assert_all_subsets_are_as_likely(RandomMask)


@pytest.mark.parametrize("mutant", [FirstEntries, Bernoulli])
def test_the_check_of_likelihood_catches(mutant):
    with pytest.raises(AssertionError):
        assert_all_subsets_are_as_likely(mutant)


@pytest.mark.parametrize("distribution", ["erk", "er", "uniform"])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_random_masks_have_the_exact_budget(distribution, sparsity):
    model = network()
    before = {name: w.detach().clone() for name, w in model.named_parameters()}
    sparse = RandomMask(model, sparsity, distribution)
    assert {name: int(mask.sum()) for name, mask in sparse.masks.items()} == sparse.budget
    assert sparse.nonzeros == ones(sparsity, 816)
    for name, w in model.named_parameters():
        assert torch.equal(w, before[name] * sparse.masks.get(name, torch.ones(())))


def test_random_masks_come_from_the_seed_alone():
    masks = []
    for seed, noise in ((0, 1), (0, 2), (5, 1)):
        model = network()
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        masks.append(active(RandomMask(model, 0.7, seed=seed).masks))
        assert torch.equal(torch.get_rng_state(), state)
    assert masks[0] == masks[1] != masks[2]


def test_a_method_that_ranks_nothing_has_erk_of_its_own():
    assert RandomMask(network(), 0.5).budget == RandomMask(network(), 0.5, "erk").budget
    assert RandomMask(network(), 0.5).budget != RandomMask(network(), 0.5, "uniform").budget


# Training with masks that do not change.


def built(method, seed=0, wrap="bare", base="momentum", **options):
    """A network, its optimizer and the attached controller, prepared where there is something to prepare."""
    model = network(seed)
    opt = WRAPS[wrap](BASES[base](model.parameters()))
    sparse = method(model, 0.8, seed=seed, **options)
    sparse.prepare(model, [batch(100 + seed)], cross_entropy)
    sparse.attach(opt)
    return model, opt, sparse


@pytest.mark.parametrize("method", [RandomMask, SNIP, GraSP])
@pytest.mark.parametrize("wrap", ["bare", "s2sam"])
def test_training_is_that_of_the_masked_network(method, wrap):
    model = network()
    sparse = method(model, 0.8)
    sparse.prepare(model, [batch(99)], cross_entropy)
    kept = active(sparse.masks)
    assert_restricted_run(sparse, model, lambda p: WRAPS[wrap](BASES["momentum"](p)))
    assert active(sparse.masks) == kept


def go(model, opt, sparse, t):
    del sparse
    train_step(model, opt, t, "loop")


@pytest.mark.parametrize("method", [RandomMask, SNIP, GraSP])
@pytest.mark.parametrize("wrap", ["bare", "s2sam"])
def test_a_resumed_run_keeps_its_masks(method, wrap):
    """Also one that was built with another seed and prepared with other data, before the state dicts came."""
    assert_resumes(lambda seed: built(method, seed, wrap), go)


class Regenerated(RandomMask):
    """Draws its mask anew when a state is loaded."""

    def _load_extra(self, state):
        for name, k in self.budget.items():
            self._set(name, highest(self._random(name), torch.ones_like(self.masks[name]), k))


def test_the_check_of_resuming_catches_masks_drawn_anew():
    with pytest.raises(AssertionError):
        assert_resumes(lambda seed: built(Regenerated, seed), go)


@FROM_DATA
def test_a_resumed_run_is_not_prepared_again(method):
    model, opt, sparse = built(method)
    go(model, opt, sparse, 0)
    model_state, opt_state, state = (through_a_file(part.state_dict()) for part in (model, opt, sparse))
    other = network(1)
    fresh, fresh_opt = method(other, 0.8), BASES["momentum"](other.parameters())
    fresh.attach(fresh_opt)
    other.load_state_dict(model_state)
    fresh_opt.load_state_dict(opt_state)
    fresh.load_state_dict(state)
    assert fresh.prepared
    go(model, opt, sparse, 1)
    go(other, fresh_opt, fresh, 1)
    assert bits(model.parameters()) == bits(other.parameters())
    with pytest.raises(RuntimeError, match="prepare must be called once, got a second call"):
        fresh.prepare(other, [batch(0)], cross_entropy)


# Before `prepare`.


@FROM_DATA
@pytest.mark.parametrize(
    ("wrap", "form"),
    [("bare", "loop"), ("bare", "closure"), ("s2sam", "loop"), ("s2sam", "closure"), ("sam", "closure")],
)
def test_a_step_before_prepare_is_refused(method, wrap, form):
    model = network()
    sparse = method(model, 0.8)
    opt = WRAPS[wrap](BASES["momentum"](model.parameters()))
    sparse.attach(opt)  # before `prepare`, as one likes
    before = bits(model.parameters())
    with pytest.raises(RuntimeError, match=rf"{method.__name__} has no masks at its first step; call prepare\(\)"):
        train_step(model, opt, 0, form)
    assert bits(model.parameters()) == before
    assert sparse.step == 0
    sparse.prepare(model, [batch(0)], cross_entropy)
    train_step(model, opt, 0, form)
    assert sparse.step == 1
    assert sparse.nonzeros == ones(0.8, 816)
    assert_masked(model, opt)


@FROM_DATA
def test_prepare_between_steps_clears_the_slots(method):
    """An optimizer that has steps behind it when it is attached: its momentum and its direction are masked too."""
    model = network()
    opt = S2SAM(BASES["adam"](model.parameters()))
    train_step(model, opt, 0)
    sparse = method(model, 0.8)
    sparse.attach(opt)
    sparse.prepare(model, [batch(0)], cross_entropy)
    assert_masked(model, opt)


@FROM_DATA
def test_prepare_is_refused_while_the_weights_are_perturbed(method):
    model = network()
    opt = S2SAM(BASES["sgd"](model.parameters()))
    train_step(model, opt, 0)
    sparse = method(model, 0.8)
    sparse.attach(opt)
    opt.perturb()
    with pytest.raises(RuntimeError, match="perturbed"):
        sparse.prepare(model, [batch(0)], cross_entropy)
    opt.restore()
    assert active(sparse.masks) == {(i, j) for i, w in enumerate(sparse.weights.values()) for j in range(w.numel())}


# What `prepare` leaves behind.


def raising(out, y):
    del out, y
    raise KeyError("the loss function's own error")


def assert_left_as_it_was(method, loss_fn=cross_entropy):
    """Modes, buffers, gradients, flags: the same objects with the same bits, but for what the masks set to 0."""
    model = network().train()
    model.bn2.eval()
    cross_entropy(model(batch(5)[0]), batch(5)[1]).backward()
    model.fc1.requires_grad_(False)
    model.fc2.bias.grad = None
    sparse = method(model, 0.8)
    buffers = {n: b for n, b in model.named_buffers() if not n.endswith("_mask")}
    saved, modes = bits(buffers.values()), [m.training for m in model.modules()]
    parameters = {n: (p.grad, p.requires_grad, *copy.deepcopy((p.data, p.grad))) for n, p in model.named_parameters()}
    with contextlib.suppress(KeyError):
        sparse.prepare(model, [batch(0), batch(1)], loss_fn)
    assert sparse.prepared == (loss_fn is not raising)
    assert sparse.nonzeros == (ones(0.8, 816) if sparse.prepared else 816)
    assert [m.training for m in model.modules()] == modes
    found = dict(model.named_buffers())
    assert all(found[name] is b for name, b in buffers.items())
    assert bits(buffers.values()) == saved
    for name, p in model.named_parameters():
        gradient, flag, value, of_gradient = parameters[name]
        mask = sparse.masks.get(name, torch.ones(()))
        assert p.grad is gradient
        assert p.requires_grad == flag
        assert torch.equal(p, value * mask)
        assert gradient is None or torch.equal(gradient, of_gradient * mask)


def backward_inside(out, y):
    """A loss function that leaves gradients behind."""
    loss = cross_entropy(out, y)
    loss.backward(retain_graph=True)
    return loss


@FROM_DATA
@pytest.mark.parametrize("loss_fn", [cross_entropy, raising, backward_inside])
def test_prepare_leaves_the_model_as_it_was(method, loss_fn):
    assert_left_as_it_was(method, loss_fn)


def sharing(tensors):
    """Copies all but some of the network's tensors."""

    def mutant(pair):
        return copy.deepcopy(pair, {id(t): t for t in tensors(pair[1])})

    return mutant


def trained(model):
    return (p for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("mutant", "loss_fn"),
    [
        (lambda pair: pair, cross_entropy),
        (lambda pair: pair, raising),
        (copy.copy, cross_entropy),
        (sharing(nn.Module.buffers), cross_entropy),
        (sharing(nn.Module.parameters), cross_entropy),
        (sharing(trained), backward_inside),
    ],
)
def test_the_check_of_what_is_left_catches(mutant, loss_fn, monkeypatch):
    monkeypatch.setattr(static, "copy", SimpleNamespace(deepcopy=mutant))
    with pytest.raises(AssertionError):
        assert_left_as_it_was(SNIP, loss_fn)


@FROM_DATA
def test_prepare_accepts_a_data_parallel_model_and_does_not_disturb_it(method):
    plain, model = network(), network()
    sparse, other = method(plain, 0.8), method(model, 0.8)
    sparse.prepare(plain, [batch(0), batch(1)], cross_entropy)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(model)
        other.prepare(parallel, [batch(0), batch(1)], cross_entropy)
        for net, controller in ((plain, sparse), (parallel, other)):
            opt = BASES["momentum"](net.parameters())
            controller.attach(opt)
            for t in range(2):
                train_step(net, opt, t)
    finally:
        torch.distributed.destroy_process_group()
    assert active(sparse.masks) == active(other.masks)
    assert bits(plain.parameters()) == bits(model.parameters())


@FROM_DATA
def test_prepare_without_batches_is_refused(method):
    model = network()
    sparse = method(model, 0.8)
    with pytest.raises(ValueError, match="batches must hold a pair"):
        sparse.prepare(model, [], cross_entropy)
    assert not sparse.prepared


@FROM_DATA
@pytest.mark.parametrize("factor", [0.0, float("nan")])
def test_scores_that_say_nothing_are_refused(method, factor):
    model = network()
    sparse = method(model, 0.8)
    with pytest.raises(ValueError, match="scores must not all be 0 or nan"):
        sparse.prepare(model, [batch(0)], lambda out, y: factor * cross_entropy(out, y))
    with pytest.raises(ValueError, match="scores must not all be 0 or nan"):
        sparse.prepare(model, [batch(0)], lambda out, y: cross_entropy(out.detach(), y))
    assert sparse.nonzeros == 816


# Options of all methods that rank.


@pytest.mark.parametrize("method", [SNIP, GraSP, LRR])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_per_layer": -1}, "min_per_layer must be >= 0, got -1"),
        ({"min_per_layer": 17}, "min_per_layer must fit into the 82 weights that remain, got 85 in all"),
        ({"min_per_layer": 5, "distribution": "uniform", "sparsity": 0.85}, "must fit into the 4 weights .* got 5 in"),
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\)"),
        ({"dense": ["fc1"]}, "dense and compensate need a distribution by name"),
    ],
)
def test_a_refused_option_leaves_the_model_without_masks(method, options, message):
    model = network()
    with pytest.raises(ValueError, match=message):
        method(model, **options)
    assert not any("mask" in name for name, _ in model.named_buffers())


def test_a_layer_smaller_than_the_minimum_is_kept_whole():
    model = network()
    sparse = SNIP(model, 0.5, min_per_layer=50)
    sparse.prepare(model, [batch(0)], cross_entropy)
    kept = {name: int(mask.sum()) for name, mask in sparse.masks.items()}
    assert kept["fc2.weight"] == 24
    assert min(kept.values()) == 24
    assert sum(kept.values()) == 408
