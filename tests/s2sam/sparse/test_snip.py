"""SNIP against its definition: scores by hand in exact arithmetic, the selection by brute force."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from ranking_support import Weights, active, expected, in_two_processes, integer_layers, scores_of
from sparse_checks import Net, batch, network
from torch import nn

from s2sam.sparse.select import join
from s2sam.sparse.static import SNIP


class AbsoluteMean(SNIP):
    """Averages |W g| over the batches instead of g."""

    def _mean(self, gradients):
        return super()._mean([found.abs() for found in gradients])


class Magnitude(SNIP):
    """Forgets the gradient."""

    def _scores(self, model, batches, loss_fn):
        return {name: w.detach().abs().double() for name, w in self.weights.items()}


class Threshold(SNIP):
    """Keeps what is at least the k-th score: more than k on ties."""

    def _keep(self, scores, counts):
        assert self.budget is None
        least = join(scores).sort(descending=True).values[counts[0] - 1]
        for name, score in scores.items():
            self._set(name, score >= least)


class EvalMode(SNIP):
    """Evaluates batch norm with its running statistics."""

    def _scores(self, model, batches, loss_fn):
        model.eval()
        return super()._scores(model, batches, loss_fn)


def slope(weights, direction):
    """The loss <w, c>, whose gradient is c."""
    return (weights * direction).sum()


def assert_keeps_the_most_sensitive(method, weights, gradients, sparsity, distribution=None, least=0):
    """Masks are those of the scores |W mean(g)|, with the gradients g given as matrices like the weights."""
    model = Weights(*weights)
    sparse = method(model, sparsity, distribution, min_per_layer=least)
    batches = [(None, torch.cat([g.flatten() for g in of_batch])) for of_batch in gradients]
    sparse.prepare(model, batches, slope)
    means = [np.mean([g.numpy() for g in of_layer], axis=0) for of_layer in zip(*gradients, strict=True)]
    scores = [np.abs(w.numpy() * g) for w, g in zip(weights, means, strict=True)]
    assert active(sparse.masks) == expected(sparse, scores, least)
    for w, (name, mask) in zip(weights, sparse.masks.items(), strict=True):
        assert torch.equal(sparse.weights[name], w * mask)


@given(st.data(), integer_layers(), st.floats(0, 0.99), st.sampled_from([None, "uniform", "erk"]))
def test_the_kept_entries_are_those_of_highest_sensitivity(data, weights, sparsity, distribution):
    number = st.integers(-2, 2)
    gradients = [[w.clone().apply_(lambda _: data.draw(number)) for w in weights] for _ in range(data.draw(st.just(2)))]
    means = [(a + b) / 2 for a, b in zip(*gradients, strict=True)]
    assume(any((w * g).any() for w, g in zip(weights, means, strict=True)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SNIP, "_report_empty", lambda self: None)  # collapse has a test of its own
        assert_keeps_the_most_sensitive(SNIP, weights, gradients, sparsity, distribution)


WEIGHTS = [torch.tensor([[1.0, -2, 3, 4]]).double(), torch.tensor([[2.0, -2], [1, 5]]).double()]
GRADIENTS = [
    [torch.tensor([[8.0, 2, -3, 1]]).double(), torch.tensor([[-1.0, 2], [1, 0]]).double()],
    [torch.tensor([[-7.0, 2, 1, 1]]).double(), torch.tensor([[-1.0, 0], [2, 0]]).double()],
]  # means times weights: 0.5 4 3 4 | 2 2 1.5 0


@pytest.mark.parametrize("distribution", [None, "uniform"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.7])
def test_the_kept_entries_of_an_example(sparsity, distribution):
    assert_keeps_the_most_sensitive(SNIP, WEIGHTS, GRADIENTS, sparsity, distribution, least=1)


@pytest.mark.parametrize("mutant", [AbsoluteMean, Magnitude, Threshold])
def test_the_check_catches(mutant):
    with pytest.raises(AssertionError):
        assert_keeps_the_most_sensitive(mutant, WEIGHTS, GRADIENTS, 0.5 if mutant is Threshold else 0.4)


def sensitivity_to_masks(model, x, y):
    """dL/dm at m = 1 by autograd, for masks m that multiply the weights, with the sign."""
    weights = {name: w for name, w in model.named_parameters() if w.ndim > 1}
    masks = {name: torch.ones_like(w, requires_grad=True) for name, w in weights.items()}
    masked = {name: masks[name] * w.detach() for name, w in weights.items()}
    loss = nn.functional.cross_entropy(torch.func.functional_call(model, masked, (x,)), y)
    return dict(zip(masks, torch.autograd.grad(loss, list(masks.values())), strict=True))


def assert_scores_are_sensitivities(method):
    """Scores are |dL/dm|, with batch norm in training mode, though the model comes in evaluation mode."""
    model = network(dtype=torch.float64).eval()
    model.bn1.running_var.mul_(9)
    x, y = batch(0, dtype=torch.float64)
    truth = sensitivity_to_masks(copy.deepcopy(model).train(), x, y)
    found = scores_of(method(model, 0.5), model, [(x, y)])
    assert found.keys() == truth.keys()
    for name, score in found.items():
        # One backward pass each, of the same sums with m = 1 besides: the two differ at most by rounding, of the order
        # of 1e3 operations of 1.1e-16 each.
        torch.testing.assert_close(score, truth[name].abs(), rtol=1e-10, atol=1e-14)


def test_scores_are_the_sensitivities_to_the_masks():
    assert_scores_are_sensitivities(SNIP)


@pytest.mark.parametrize("mutant", [EvalMode, Magnitude])
def test_the_check_of_scores_catches(mutant):
    with pytest.raises(AssertionError):
        assert_scores_are_sensitivities(mutant)


def test_signed_scores_of_a_convolution_before_batch_norm_sum_to_nothing():
    """Batch norm with no eps takes no notice of a filter's scale, so <W, g> = 0 in each layer that it follows."""
    model = network(dtype=torch.float64)
    for bn in (model.bn1, model.bn2, model.bn3):
        bn.eps = 1e-30  # lost when it is added to the variance
    x, y = batch(0, dtype=torch.float64)
    signed = sensitivity_to_masks(copy.deepcopy(model), x, y)
    found = scores_of(SNIP(model, 0.5), model, [(x, y)])
    for name in ("conv1.weight", "conv2.weight", "conv3.weight"):
        torch.testing.assert_close(found[name], signed[name].abs(), rtol=1e-10, atol=1e-14)  # as above
        assert abs(signed[name].sum()) <= 1e-10 * found[name].sum()  # rounding of 1e3 operations, relative to the terms
    assert abs(signed["fc1.weight"].sum()) > 1e-3 * found["fc1.weight"].sum()  # where nothing follows, it is not 0


@pytest.mark.parametrize("factor", [2.0**-20, 2.0**10])
def test_masks_do_not_depend_on_the_scale_of_the_loss(factor):
    masks = []
    for c in (1.0, factor):  # powers of two: exact
        model = network()
        sparse = SNIP(model, 0.8)
        sparse.prepare(model, [batch(0)], lambda out, y, c=c: c * nn.functional.cross_entropy(out, y))
        masks.append(active(sparse.masks))
    assert masks[0] == masks[1]


def test_masks_do_not_depend_on_signs():
    """tanh is odd: with the layers on its two sides negated, the function is the same, bit for bit."""
    model, flipped = network(), network()
    for p in (*flipped.fc1.parameters(), flipped.fc2.weight):
        p.data.neg_()
    sparse, other = SNIP(model, 0.8), SNIP(flipped, 0.8)
    sparse.prepare(model, [batch(0)], nn.functional.cross_entropy)
    other.prepare(flipped, [batch(0)], nn.functional.cross_entropy)
    assert active(sparse.masks) == active(other.masks)


@pytest.mark.parametrize("distribution", [None, "uniform"])
def test_masks_are_nested_in_the_sparsity(distribution):
    kept = []
    for sparsity in (0.0, 0.3, 0.31, 0.8, 0.95):
        model = network()
        sparse = SNIP(model, sparsity, distribution, min_per_layer=1)
        sparse.prepare(model, [batch(0)], nn.functional.cross_entropy)
        kept.append(active(sparse.masks))
    assert all(small < large for large, small in itertools.pairwise(kept))


def test_processes_agree_on_the_masks_of_all_their_data(monkeypatch):
    """The signed gradients are averaged over processes: two with a batch each choose as one with both."""
    together = network()
    one = SNIP(together, 0.8)
    one.prepare(together, [batch(0), batch(1)], nn.functional.cross_entropy)
    both = [SNIP(network(), 0.8), SNIP(network(), 0.8)]
    both[0].rank, both[1].rank = 0, 1
    loss = nn.functional.cross_entropy
    jobs = [lambda s=s: s.prepare(s.model, [batch(s.rank)], loss) for s in both]
    in_two_processes(jobs, SNIP, monkeypatch)
    assert active(both[0].masks) == active(both[1].masks) == active(one.masks)


def test_a_layer_of_zeros_goes_first_and_its_collapse_is_reported():
    weights = [torch.ones(2, 5), torch.zeros(1, 3), torch.ones(2, 5)]
    data = [(None, torch.ones(23))]
    model = Weights(*weights)
    sparse = SNIP(model, 0.2)
    with pytest.warns(RuntimeWarning, match=r"no weight is left in layers\.1\.weight; give min_per_layer=1"):
        sparse.prepare(model, data, slope)
    others = {(layer, i) for layer in (0, 2) for i in range(10)}
    assert active(sparse.masks) == others - {(2, 9)}  # 4 of 23 go
    model = Weights(*weights)
    sparse = SNIP(model, 0.2, min_per_layer=2)
    sparse.prepare(model, data, slope)
    assert active(sparse.masks) == others - {(2, 9), (2, 8), (2, 7)} | {(1, 0), (1, 1)}


def test_scores_that_are_not_numbers_rank_last():
    model = Weights(torch.ones(1, 4))
    sparse = SNIP(model, 0.5)
    with pytest.warns(RuntimeWarning, match="scores are nan"):
        sparse.prepare(model, [(None, torch.tensor([torch.nan, 1.0, 2.0, torch.nan]))], slope)
    assert active(sparse.masks) == {(0, 1), (0, 2)}


def test_weights_that_do_not_train_are_scored_all_the_same():
    model, twin = network(), network()
    model.conv1.requires_grad_(False)
    sparse, other = SNIP(model, 0.8), SNIP(twin, 0.8)
    sparse.prepare(model, [batch(0)], nn.functional.cross_entropy)
    other.prepare(twin, [batch(0)], nn.functional.cross_entropy)
    assert active(sparse.masks) == active(other.masks)
    assert not model.conv1.weight.requires_grad


def test_prepare_works_inside_no_grad_and_around_a_wrapper():
    class Wrapped(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            assert self.training
            return self.net(x)

    model, twin = network(), network()
    sparse, other = SNIP(model, 0.8), SNIP(twin, 0.8)
    wrapped = Wrapped(model).eval()
    with torch.no_grad():
        sparse.prepare(wrapped, [batch(0)], nn.functional.cross_entropy)
    other.prepare(twin, [batch(0)], nn.functional.cross_entropy)
    assert active(sparse.masks) == active(other.masks)
    assert not wrapped.training
    assert isinstance(model, Net)
    assert not model.training
