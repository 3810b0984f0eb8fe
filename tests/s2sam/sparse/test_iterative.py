"""Iterative pruning: the schedule in integers, the cut by brute force, each round against a training from scratch."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optim_support import bits
from ranking_support import Weights, active, best
from sparse_checks import BASES, WRAPS, assert_masked, assert_resumes, loss_of, network, through_a_file, train_step
from torch import nn

from s2sam import S2SAM
from s2sam.sparse.distributions import count, ones
from s2sam.sparse.iterative import LRR, LotteryTicket
from s2sam.sparse.select import highest, join

METHODS = pytest.mark.parametrize("method", [LotteryTicket, LRR])
T = 4  # steps of a round in these tests


# The schedule.


@pytest.mark.parametrize(
    ("fraction", "rounds", "without_landing"), [(0.2, 11, 0.914), (0.3, 7, 0.918), (0.4, 5, 0.922), (0.9, 1, 0.9)]
)
def test_rounds_to_nine_tenths(fraction, rounds, without_landing):
    """The least R with (1 - p)^R <= 1 - S, after which the last cut would be too large."""
    assert LotteryTicket(nn.Linear(1000, 1000, bias=False), 0.9, fraction=fraction).rounds == rounds
    assert math.ceil(math.log(0.1) / math.log(1 - fraction) - 1e-12) == rounds
    assert 1 - (1 - fraction) ** rounds == pytest.approx(without_landing, abs=5e-4)  # printed with three digits


def counts_of(n, sparsity, fraction):
    """How many weights are left after each cut, by the definition."""
    left, target = [n], ones(sparsity, n)
    while left[-1] > target:
        left.append(max(left[-1] - count(fraction * left[-1]), target))
        assert left[-1] < left[-2]
    return left


def follow(sparse):
    """Cut to the end without training between; return the number left each time."""
    left = [sparse.nonzeros]
    sparse.step = 1
    while sparse.next_round():
        left.append(sparse.nonzeros)
        sparse.step = 1
    return left


@given(st.integers(1, 400), st.floats(0, 0.99), st.floats(0.05, 1.0))
def test_every_cut_leaves_the_exact_number_and_the_last_lands(n, sparsity, fraction):
    model = nn.Linear(n, 1, bias=False)
    try:
        truth = counts_of(n, sparsity, fraction)
    except AssertionError:  # a fraction of less than one weight
        with pytest.raises(ValueError, match="fraction must cut at least one weight a round"):
            LRR(model, sparsity, fraction=fraction)
        return
    sparse = LRR(model, sparsity, fraction=fraction)
    assert sparse.rounds == len(truth) - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LRR, "_report_empty", lambda self: None)  # sparsity 0.99 of few weights leaves none
        assert follow(sparse) == truth
    assert sparse.round == sparse.rounds
    assert truth[-1] == ones(sparsity, n)
    for r, left in enumerate(truth[:-1]):  # each rounding adds less than one weight, which decays: 1/p in all
        assert (1 - fraction) ** r * n - 1e-3 <= left < (1 - fraction) ** r * n + 1 / fraction


def test_every_layer_lands_on_its_budget():
    model = network()
    sparse = LRR(model, 0.8, "erk", fraction=0.3)
    sizes = {name: math.prod(shape) for name, shape in sparse.shapes.items()}
    paths = {name: counts_of(n, 1 - sparse.budget[name] / n, 0.3) for name, n in sizes.items()}
    assert sparse.rounds == max(map(len, paths.values())) - 1
    assert len({len(path) for path in paths.values()}) > 1  # some layers arrive before others
    for r in range(1, sparse.rounds + 1):
        sparse.step = 1
        assert sparse.next_round()
        left = {name: int(mask.sum()) for name, mask in sparse.masks.items()}
        assert left == {name: path[min(r, len(path) - 1)] for name, path in paths.items()}
    assert left == sparse.budget
    sparse.step = 1
    assert not sparse.next_round()


@METHODS
def test_no_sparsity_is_one_training(method):
    model, sparse = started(method, sparsity=0.0, total_steps=T)[::2]
    assert sparse.rounds == 0
    before = bits(model.state_dict().values())
    sparse.step = T
    assert not sparse.next_round()
    assert bits(model.state_dict().values()) == before
    assert (sparse.round, sparse.step) == (0, T)


@METHODS
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.0}, r"fraction must be in \(0, 1\], got 0.0"),
        ({"fraction": 1.1}, r"fraction must be in \(0, 1\], got 1.1"),
        ({"fraction": float("nan")}, r"fraction must be in \(0, 1\], got nan"),
        ({"fraction": 1e-3}, r"fraction must cut at least one weight a round, got 0.001 of \[816\]; raise it"),
        ({"fraction": 0.05, "sparsity": 0.99}, r"fraction must cut at least one weight a round, got 0.05 of \[19\]"),
        ({"rewind_step": -1}, r"rewind_step must be in \[0, total_steps\), got -1 of None"),
        ({"rewind_step": 4, "total_steps": 4}, r"rewind_step must be in \[0, total_steps\), got 4 of 4"),
    ],
)
def test_a_refused_option_leaves_the_model_without_masks(method, options, message):
    model = network()
    with pytest.raises(ValueError, match=message):
        method(model, **options)
    assert not any("mask" in name for name, _ in model.named_buffers())


# The cut.


class KeepsTheSmallest(LRR):
    def _keep(self, scores, counts):
        super()._keep({name: -score for name, score in scores.items()}, counts)


class ByThreshold(LRR):
    """Keeps what is above the cut's threshold: on ties fewer."""

    def _keep(self, scores, counts):
        flat = join(scores)[join(self.masks)]
        bar = flat.sort(descending=True).values[counts[0]]
        for name, score in scores.items():
            self._set(name, self.masks[name] & (score > bar))


class Reviving(LRR):
    """Ranks all weights instead of those left: one that was cut can return in the place of one that is left."""

    def _keep(self, scores, counts):
        for name in self.shapes:
            self._set(name, torch.ones_like(self.masks[name]))
        super()._keep(scores, counts)


def assert_cuts_the_smallest(method, layers, updates, sparsity, fraction, distribution=None, least=0):
    """After each of a few changes of the weights (added numbers), the cut keeps the largest of those left."""
    model = Weights(*layers)
    sparse = method(model, sparsity, distribution, fraction=fraction, min_per_layer=least)
    kept = active(sparse.masks)
    for update in updates:
        for w, d in zip(sparse.weights.values(), update, strict=True):
            w.data.add_(d)
        sparse.apply()
        sparse.step, size = 1, [w.abs().flatten().tolist() for w in sparse.weights.values()]
        goals = [ones(sparsity, sum(map(len, size)))] if sparse.budget is None else list(sparse.budget.values())
        groups = [kept] if sparse.budget is None else [{e for e in kept if e[0] == i} for i in range(len(size))]
        left = [max(len(g) - count(fraction * len(g)), goal) for g, goal in zip(groups, goals, strict=True)]
        more = sparse.next_round()
        assert more == any(n < len(g) for n, g in zip(left, groups, strict=True))
        chosen = [best(size, g, n, least) for g, n in zip(groups, left, strict=True)]
        kept = set().union(*chosen)
        assert active(sparse.masks) == kept


FIRST, SECOND = [[1.0, -2, 3, -3, 2], [1, 1, 2, -2, 0]], [[-1.0, 1], [2, 3], [0, 0]]
LAYERS = [torch.tensor(FIRST).double(), torch.tensor(SECOND).double()]
UPDATES = [
    [torch.zeros(2, 5).double(), torch.zeros(3, 2).double()],
    [torch.tensor([[-3.0, 0, 0, 1, 0], [1, 0, 0, 0, 4]]).double(), torch.tensor([[1.0, 0], [-2, 0], [5, 1]]).double()],
    [torch.full((2, 5), 3.0).double(), torch.full((3, 2), -1.0).double()],
]


@pytest.mark.parametrize("distribution", [None, "uniform", {"layers.0.weight": 0.5, "layers.1.weight": 0.9}])
@pytest.mark.parametrize("least", [0, 2])
def test_the_smallest_of_those_left_are_cut(distribution, least):
    assert_cuts_the_smallest(LRR, LAYERS, UPDATES, 0.6, 0.4, distribution, least)


@given(st.data(), st.sampled_from([None, "uniform"]), st.floats(0.1, 0.9), st.floats(0.5, 1.0), st.integers(0, 1))
def test_the_smallest_of_any_weights_are_cut(data, distribution, sparsity, fraction, least):
    """Small integers, so that ties are the rule."""

    def numbers(shape):
        return torch.zeros(shape).double().apply_(lambda _: float(data.draw(st.integers(-3, 3))))

    layers = [numbers((2, 5)), numbers((5, 2)), numbers((3, 4))]
    updates = [[numbers(w.shape) for w in layers] for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LRR, "_report_empty", lambda self: None)
        assert_cuts_the_smallest(LRR, layers, updates, sparsity, fraction, distribution, least)


@pytest.mark.parametrize("mutant", [KeepsTheSmallest, ByThreshold])
def test_the_check_of_the_cut_catches(mutant):
    with pytest.raises(AssertionError):
        assert_cuts_the_smallest(mutant, LAYERS, UPDATES, 0.6, 0.4)


def assert_zeros_that_are_left_stay(method):
    """Two of the weights left have become 0, as those cut are; still the cut is among those left."""
    updates = [[torch.tensor([[0.0, 0, 0, 0]])], [torch.tensor([[0.0, 0, -3, -4]])]]
    assert_cuts_the_smallest(method, [torch.tensor([[1.0, 2, 3, 4]])], updates, 0.5, 0.34)


def test_weights_cut_stay_cut():
    assert_zeros_that_are_left_stay(LRR)
    with pytest.raises(AssertionError):
        assert_zeros_that_are_left_stay(Reviving)


def test_a_layer_that_is_cut_away_is_reported():
    layers = [torch.ones(2, 4), torch.full((2, 2), 0.1)]
    sparse = LRR(Weights(*layers), 0.5, fraction=0.4)
    sparse.step = 1
    with pytest.warns(RuntimeWarning, match=r"no weight is left in layers\.1\.weight; give min_per_layer=1"):
        assert sparse.next_round()
    sparse = LRR(Weights(*layers), 0.5, fraction=0.4, min_per_layer=1)
    follow(sparse)
    assert active(sparse.masks) == {(0, i) for i in range(5)} | {(1, 0)}


# Rounds of training.


def started(method, seed=0, wrap="bare", base="momentum", sparsity=0.7, **options):
    """A network, its optimizer and the attached controller, before the first step."""
    model = network(seed)
    opt = WRAPS[wrap](BASES[base](model.parameters()))
    sparse = method(model, sparsity, fraction=0.3, **options)
    sparse.attach(opt)
    return model, opt, sparse


def unmasked(model):
    """All of a model's state but the masks, copied."""
    return {n: t.clone() for n, t in model.state_dict().items() if not n.endswith("_mask")}


def masked_by(state, masks):
    """A model's state with the masks applied."""
    return {n: t * masks[n] if n in masks else t for n, t in state.items()}


def train(model, opt, sparse, steps, wrap="bare"):
    """Steps on the batches of the controller's own step numbers."""
    for _ in range(steps):
        train_step(model, opt, sparse.step, "closure" if wrap == "sam" else "loop")


def assert_equal_states(found, wanted):
    assert found.keys() == wanted.keys()
    for name, t in wanted.items():
        assert torch.equal(found[name], t), name


def assert_goes_through_its_rounds(method, wrap="bare", base="momentum", rewind_step=0, distribution=None, values=True):
    """Masks nested; each round starts from m_r W_k (values) or m_r W_T, with an empty state, and is a fresh training.

    Fresh means: from the second round on, each follows bit for bit a plain copy of the network with an optimizer of its
    own, whose gradients and weights are masked by hand.
    """
    options = {"distribution": distribution, "total_steps": T, "rewind_step": rewind_step}
    model, opt, sparse = started(method, 0, wrap, base, **options)
    train(model, opt, sparse, rewind_step, wrap)
    saved = unmasked(model)
    train(model, opt, sparse, T - rewind_step, wrap)
    kept, rounds = active(sparse.masks), 0
    while True:
        last = unmasked(model)
        if not sparse.next_round():
            break
        rounds += 1
        assert active(sparse.masks) < kept
        kept = active(sparse.masks)
        assert (sparse.round, sparse.step) == (rounds, rewind_step)
        assert_equal_states(unmasked(model), masked_by(saved if values else last, sparse.masks))
        assert not opt.state
        twin = copy.deepcopy(model)
        fresh = WRAPS[wrap](BASES[base](twin.parameters()))
        masks = {n: m.clone() for n, m in sparse.masks.items()}
        for step in range(rewind_step, T):
            train_by_hand(twin, fresh, step, masks)
        train(model, opt, sparse, T - rewind_step, wrap)
        assert_masked(model, opt)
        assert_equal_states(unmasked(model), unmasked(twin))
    assert rounds == sparse.rounds == sparse.round
    assert sparse.nonzeros == ones(0.7, 816)
    assert_equal_states(unmasked(model), last)


def train_by_hand(model, opt, t, masks):
    """A step that masks gradients, weights and state itself."""
    named = dict(model.named_parameters())

    def evaluate():
        opt.zero_grad()
        loss_of(model, t).backward()
        for name, mask in masks.items():
            named[name].grad.mul_(mask)

    if isinstance(opt, S2SAM):
        with opt.perturbed():
            evaluate()
        opt.step()
    elif isinstance(opt, torch.optim.Optimizer):
        evaluate()
        opt.step()
    for name, mask in masks.items():
        named[name].data.mul_(mask)


@pytest.mark.parametrize("rewind_step", [0, 2])
@pytest.mark.parametrize("wrap", ["bare", "s2sam"])
@pytest.mark.parametrize("base", ["momentum", "adam"])
@pytest.mark.parametrize("distribution", [None, "erk"])
def test_lottery_tickets_go_back_to_the_saved_weights(wrap, base, rewind_step, distribution):
    assert_goes_through_its_rounds(LotteryTicket, wrap, base, rewind_step, distribution)


@pytest.mark.parametrize("rewind_step", [0, 2])
@pytest.mark.parametrize("wrap", ["bare", "s2sam"])
def test_learning_rate_rewinding_keeps_the_weights(wrap, rewind_step):
    assert_goes_through_its_rounds(LRR, wrap, "momentum", rewind_step, values=False)


class CarriesMomentum(LotteryTicket):
    def next_round(self):
        state = {p: dict(slots) for p, slots in self.optimizer.state.items()}
        more = super().next_round()
        self.optimizer.state.update(state)
        self.apply()
        return more


class SavesTooLate(LotteryTicket):
    def _save(self):
        if self.round == 0 and self.step == self.rewind_step + 1:
            self.start = unmasked(self.model)

    def _take_gradients(self):
        return super(LotteryTicket, self)._take_gradients()


class LeavesBuffers(LotteryTicket):
    """Takes the weights back but not the statistics of batch norm."""

    def next_round(self):
        buffers = {n: b.clone() for n, b in self.model.named_buffers() if not n.endswith("_mask")}
        more = super().next_round()
        self.model.load_state_dict(buffers, strict=False)
        return more


class SharesMemory(LotteryTicket):
    """Saves views of the weights, which training then changes."""

    def _save(self):
        if self.round == 0 and self.step == self.rewind_step:
            self.start = {n: t for n, t in self.model.state_dict().items() if not n.endswith("_mask")}


@pytest.mark.parametrize("mutant", [CarriesMomentum, SavesTooLate, LeavesBuffers, SharesMemory, LRR])
def test_the_check_of_rounds_catches(mutant):
    with pytest.raises(AssertionError):
        assert_goes_through_its_rounds(mutant)


def test_sam_goes_through_its_rounds():
    """Its closure is evaluated at two points, and the weights saved are those of neither evaluation but of w."""
    model, opt, sparse = started(LotteryTicket, wrap="sam", total_steps=T, rewind_step=2)
    train(model, opt, sparse, 2, "sam")
    saved = unmasked(model)
    train(model, opt, sparse, 2, "sam")
    assert sparse.next_round()
    assert_equal_states(unmasked(model), masked_by(saved, sparse.masks))


# When a round may begin.


@METHODS
def test_a_round_that_is_not_complete_is_not_followed_by_another(method):
    model, opt, sparse = started(method, total_steps=T)
    train(model, opt, sparse, T - 1)
    before = bits(model.state_dict().values())
    with pytest.raises(RuntimeError, match="a round must be complete before the next, got step 3 of 4; train on"):
        sparse.next_round()
    assert bits(model.state_dict().values()) == before
    train(model, opt, sparse, 2)  # one step more than a round is no harm
    assert sparse.next_round()


@METHODS
def test_without_total_steps_the_caller_knows_when_a_round_is_complete(method):
    model, opt, sparse = started(method, rewind_step=2)
    train(model, opt, sparse, 2)
    with pytest.raises(RuntimeError, match="got step 2 of 3"):
        sparse.next_round()
    train(model, opt, sparse, 1)
    assert sparse.next_round()


@METHODS
def test_no_round_begins_while_the_weights_are_perturbed(method):
    model, opt, sparse = started(method, wrap="s2sam", total_steps=T)
    train(model, opt, sparse, T)
    opt.perturb()
    with pytest.raises(RuntimeError, match="perturbed"):
        sparse.next_round()
    opt.restore()
    assert sparse.next_round()


@METHODS
def test_a_new_round_may_have_a_new_optimizer(method):
    """Attached in the place of the former, or after a `detach`; nothing is saved anew by that."""
    model, opt, sparse = started(method, total_steps=T)
    start = unmasked(model)
    train(model, opt, sparse, T)
    sparse.detach()
    assert sparse.next_round()
    opt = BASES["adam"](model.parameters())
    sparse.attach(opt)
    train(model, opt, sparse, T)
    last = unmasked(model)
    assert sparse.next_round()
    assert_equal_states(unmasked(model), masked_by(start if method is LotteryTicket else last, sparse.masks))


# The weights that a round of lottery tickets begins with.


def test_weights_loaded_before_attach_are_those_that_tickets_go_back_to():
    model, other = network(), network(7)
    sparse = LotteryTicket(model, 0.7, total_steps=T)
    model.load_state_dict(other.state_dict(), strict=False)
    opt = BASES["momentum"](model.parameters())
    sparse.attach(opt)
    train(model, opt, sparse, T)
    assert sparse.next_round()
    assert_equal_states(unmasked(model), masked_by(unmasked(other), sparse.masks))


def test_weights_loaded_after_attach_are_refused_until_it_is_called_again():
    model, opt, sparse = started(LotteryTicket, total_steps=T)
    model.load_state_dict(network(7).state_dict(), strict=False)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with pytest.raises(RuntimeError, match=r"weights must be the saved ones, got others; call attach\(\) again"):
        train(model, opt, sparse, 1)
    assert_equal_states(dict(model.named_parameters()), before)
    sparse.attach(opt)
    train(model, opt, sparse, T)
    assert sparse.next_round()
    assert_equal_states(dict(model.named_parameters()), masked_by(before, sparse.masks))


def test_weights_loaded_after_attach_are_as_good_as_any_with_late_rewinding():
    model, opt, sparse = started(LotteryTicket, total_steps=T, rewind_step=1)
    model.load_state_dict(network(7).state_dict(), strict=False)
    train(model, opt, sparse, 1)
    saved = unmasked(model)
    train(model, opt, sparse, T - 1)
    assert sparse.next_round()
    assert_equal_states(unmasked(model), masked_by(saved, sparse.masks))


# Resuming.


def go(model, opt, sparse, t, wrap="bare"):
    """A step; before it, when a round is complete, the next one begins."""
    del t
    if sparse.step == T:
        sparse.next_round()
    train(model, opt, sparse, 1, wrap)


@METHODS
@pytest.mark.parametrize("wrap", ["bare", "s2sam", "sam"])
@pytest.mark.parametrize("rewind_step", [0, 2])
@pytest.mark.parametrize("head", [0, 1, 2, 3, 4, 5])
def test_a_resumed_run_follows_the_one_that_was_not_broken_off(method, wrap, rewind_step, head):
    """Broken off before the first step, before and after saving, at the end of a round and in the next one."""
    assert_resumes(
        lambda seed: started(method, seed, wrap, total_steps=T, rewind_step=rewind_step),
        lambda model, opt, sparse, t: go(model, opt, sparse, t, wrap),
        head=head,
        tail=9,
    )


class ForgetsWhatItSaved(LotteryTicket):
    def _load_extra(self, state):
        self.round = state["round"]


class DrawsMasksAnew(LotteryTicket):
    def _load_extra(self, state):
        super()._load_extra(state)
        for name, mask in self.masks.items():
            self._set(name, highest(self._random(name), torch.ones_like(mask), int(mask.sum())))


@pytest.mark.parametrize("mutant", [ForgetsWhatItSaved, DrawsMasksAnew])
def test_the_check_of_resuming_catches(mutant):
    with pytest.raises(AssertionError):
        assert_resumes(lambda seed: started(mutant, seed, total_steps=T), go, head=5, tail=9)


def test_the_state_is_plain_and_independent_of_the_run():
    model, opt, sparse = started(LotteryTicket, total_steps=T, rewind_step=1)
    train(model, opt, sparse, 1)
    saved = unmasked(model)
    state = sparse.state_dict()
    train(model, opt, sparse, T - 1)
    assert_equal_states(state["start"], saved)
    assert sparse.next_round()
    state = through_a_file(sparse.state_dict())
    assert_equal_states(state["start"], saved)
    other = LotteryTicket(network(1), 0.7, fraction=0.3, total_steps=T, rewind_step=1)
    other.load_state_dict(state)
    assert (other.round, other.step) == (1, 1)
    other.attach(BASES["momentum"](other.model.parameters()))  # at the step of saving, but in another round
    assert_equal_states(other.state_dict()["start"], saved)
