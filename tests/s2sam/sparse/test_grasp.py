"""GraSP against closed forms (quadratics), finite differences of the gradient's norm, and brute force."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from ranking_support import Weights, active, expected, in_two_processes, integer_layers, scores_of
from sparse_checks import batch, network
from torch import nn

from s2sam.sparse.static import FromData, GraSP


class Flipped(GraSP):
    """Removes the lowest instead of the highest -W (H g)."""

    def _scores(self, model, batches, loss_fn):
        return {name: -score for name, score in super()._scores(model, batches, loss_fn).items()}


class Absolute(GraSP):
    """Keeps the highest |W (H g)|."""

    def _scores(self, model, batches, loss_fn):
        return {name: score.abs() for name, score in super()._scores(model, batches, loss_fn).items()}


class Threshold(GraSP):
    """Removes what is above the threshold, the element at the threshold survives: as the paper's code."""

    def _keep(self, scores, counts):
        removal = torch.cat([-score.flatten() for score in scores.values()])
        bar = removal.sort(descending=True).values[removal.numel() - counts[0] - 1]
        for name, score in scores.items():
            self._set(name, -score <= bar)


class BatchByBatch(GraSP):
    """Takes the mean of H_c g_c over the batches, not H g."""

    def _scores(self, model, batches, loss_fn):
        parts = [GraSP._scores(self, model, [pair], loss_fn) for pair in batches]
        return {name: torch.stack([part[name] for part in parts]).mean(0) for name in parts[0]}


class NoTemperature(GraSP):
    """Forgets to divide the outputs."""

    def _scores(self, model, batches, loss_fn):
        self.temperature = 1.0
        return super()._scores(model, batches, loss_fn)


def quadratic(weights, matrix):
    """The loss 1/2 w' Q w, of the weights over the temperature; exact in small integers."""
    return weights @ matrix @ weights / 2


def assert_keeps_the_gradient_flow(method, weights, matrices, sparsity, distribution=None, temperature=4.0):
    """Masks are those of S = -w (Q Q w), the highest removed, with Q the mean of the batches' symmetric matrices.

    The loss at w/T has the Hessian Q/T^2 and the gradient Q w/T^2: at a power of two T all is exact.
    """
    model = Weights(*weights)
    sparse = method(model, sparsity, distribution, min_per_layer=0, temperature=temperature)
    sparse.prepare(model, [(None, q) for q in matrices], quadratic)
    w = np.concatenate([v.numpy().ravel() for v in weights])
    q = np.mean([m.numpy() for m in matrices], axis=0)
    removal = -w * (q @ (q @ w))
    flat = np.split(removal, np.cumsum([v.numel() for v in weights])[:-1])
    assert active(sparse.masks) == expected(sparse, [-part for part in flat])


@given(st.data(), integer_layers(), st.floats(0, 0.99), st.sampled_from([None, "uniform", "erk"]))
def test_the_removed_entries_are_those_of_highest_score(data, weights, sparsity, distribution):
    n, number = sum(w.numel() for w in weights), st.integers(-2, 2)
    matrices = []
    for _ in range(data.draw(st.sampled_from([1, 2]))):
        half = torch.zeros(n, n).double().apply_(lambda _: float(data.draw(number)))
        matrices.append(half + half.T)
    w, q = torch.cat([v.flatten() for v in weights]), sum(matrices)
    assume((w * (q @ q @ w)).any())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FromData, "_report_empty", lambda self: None)  # collapse has a test of its own
        assert_keeps_the_gradient_flow(GraSP, weights, matrices, sparsity, distribution)


WEIGHTS = [torch.tensor([[1.0, -2, 3]]).double(), torch.tensor([[2.0], [-1], [1]]).double()]
DIAGONALS = torch.tensor([[0.0, 3, 0, -4, 0, 1], [0, -6, 4, 2, 0, -4]]).double()
MATRICES = [torch.diag(d) + torch.ones(6, 6).double() for d in DIAGONALS]


@pytest.mark.parametrize("distribution", [None, "uniform"])
@pytest.mark.parametrize("sparsity", [0.0, 0.34, 0.5, 0.7])
@pytest.mark.parametrize("temperature", [1.0, 64.0])
def test_the_removed_entries_of_an_example(sparsity, distribution, temperature):
    assert_keeps_the_gradient_flow(GraSP, WEIGHTS, MATRICES, sparsity, distribution, temperature)


@pytest.mark.parametrize("mutant", [Flipped, Absolute, Threshold, BatchByBatch])
def test_the_check_catches(mutant):
    with pytest.raises(AssertionError):
        assert_keeps_the_gradient_flow(mutant, WEIGHTS, MATRICES, 0.5)


def half_norm(model, x, y, temperature):
    """1/2 ||g||^2 of the loss at a temperature, over all prunable weights."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    loss = nn.functional.cross_entropy(model(x) / temperature, y)
    return sum(float((g * g).sum()) for g in torch.autograd.grad(loss, weights)) / 2


def assert_score_is_the_change_of_the_flow(method, temperature=3.0):
    """S_i is the derivative of 1/2 ||g||^2 as w_i shrinks to 0: F'(0) of F(t) = 1/2 ||g(w - t w_i e_i)||^2."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    x, y = torch.randn(8, 4).double(), torch.arange(8) % 3
    start = half_norm(model, x, y, temperature)
    truth, slack = {}, {}
    for name, w in model.named_parameters():
        if w.ndim == 1:
            continue
        truth[name], slack[name] = torch.zeros_like(w.data), torch.zeros_like(w.data)
        for i in range(w.numel()):
            value, slopes = w.data.view(-1)[i].item(), []
            for h in (2e-3, 1e-3):
                ends = []
                for t in (h, -h):
                    w.data.view(-1)[i] = value * (1 - t)
                    ends.append(half_norm(model, x, y, temperature))
                slopes.append((ends[0] - ends[1]) / (2 * h))
            w.data.view(-1)[i] = value
            truth[name].view(-1)[i] = slopes[1]
            # A central difference errs by C h^2 + O(h^4): by a third of its change when h is halved. Rounding: F is a
            # sum of some 100 operations of relative error 1.1e-16, divided by h.
            slack[name].view(-1)[i] = abs(slopes[0] - slopes[1]) + 100 * 1.2e-16 * start / 1e-3
    kept = scores_of(method(model, 0.5, temperature=temperature), model, [(x, y)])
    for name, found in kept.items():
        assert (slack[name] < 0.02 * truth[name].abs().max()).all()  # the check can tell a factor of two
        assert ((-found - truth[name]).abs() <= slack[name]).all()


def test_scores_are_the_change_of_the_gradient_flow():
    assert_score_is_the_change_of_the_flow(GraSP)


@pytest.mark.parametrize("mutant", [Flipped, Absolute, NoTemperature])
def test_the_check_of_scores_catches(mutant):
    with pytest.raises(AssertionError):
        assert_score_is_the_change_of_the_flow(mutant)


def masks_of(sparsity=0.8, factor=1.0, batches=((0, 8),), model=None, **options):
    model = model or network()
    sparse = GraSP(model, sparsity, **options)
    data = [batch(t, n=n) for t, n in batches]
    sparse.prepare(model, data, lambda out, y: factor * nn.functional.cross_entropy(out, y))
    return active(sparse.masks)


def test_masks_do_not_depend_on_the_scale_of_the_loss_but_on_the_temperature():
    base = masks_of()
    assert masks_of(factor=2.0**10) == masks_of(factor=2.0**-10) == base  # powers of two: exact
    assert masks_of(temperature=1.0) != base


@pytest.mark.parametrize("distribution", [None, "uniform"])
def test_masks_are_nested_in_the_sparsity(distribution):
    kept = [masks_of(s, distribution=distribution, min_per_layer=1) for s in (0.0, 0.3, 0.31, 0.8, 0.95)]
    assert all(small < large for large, small in itertools.pairwise(kept))


def test_equal_batches_score_like_the_whole():
    """Without batch norm the loss of 16 is the mean of two losses of 8, and so are g and H."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    (x0, y0), (x1, y1) = batch(0, dtype=torch.float64), batch(1, dtype=torch.float64)
    sparse = GraSP(model, 0.5)
    parts = scores_of(sparse, model, iter([(x0, y0), (x1, y1)]))  # an iterator will do
    torch.manual_seed(1)
    fresh = nn.Sequential(nn.Flatten(), nn.Linear(72, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    whole = scores_of(GraSP(fresh, 0.5), fresh, [(torch.cat([x0, x1]), torch.cat([y0, y1]))])
    for name, score in whole.items():
        # Sums of some 1e3 terms in another order: 1e3 roundings of 1.1e-16, relative to the largest.
        torch.testing.assert_close(parts[name], score, rtol=0, atol=1e-12 * float(score.abs().max()))


def test_processes_agree_on_the_masks_of_all_their_data(monkeypatch):
    """H and g are averaged over processes each by itself: two with a batch each choose as one with both."""
    one = masks_of(batches=((0, 8), (1, 8)))
    both = [GraSP(network(), 0.8), GraSP(network(), 0.8)]
    both[0].rank, both[1].rank = 0, 1
    loss = nn.functional.cross_entropy
    jobs = [lambda s=s: s.prepare(s.model, [batch(s.rank)], loss) for s in both]
    in_two_processes(jobs, GraSP, monkeypatch)
    assert active(both[0].masks) == active(both[1].masks) == one


def test_a_loss_without_curvature_is_refused():
    """A linear loss has H = 0: every score is 0, and the masks stay as they were."""
    model = Weights(torch.ones(2, 3))
    sparse = GraSP(model, 0.5)
    with pytest.raises(ValueError, match="scores must not all be 0 or nan"):
        sparse.prepare(model, [(None, torch.ones(6))], lambda w, c: (w * c).sum())
    assert active(sparse.masks) == {(0, i) for i in range(6)}
    assert not sparse.prepared


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_out_of_range_is_refused(temperature):
    model = network()
    with pytest.raises(ValueError, match="temperature must be finite and > 0, got"):
        GraSP(model, 0.5, temperature=temperature)
    assert not any("mask" in name for name, _ in model.named_buffers())
