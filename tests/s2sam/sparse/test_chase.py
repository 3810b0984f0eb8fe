"""Chase: its schedules, every update against a retelling in numpy, and what holds along a training."""

import math

import numpy as np
import pytest
import torch
from sparse_checks import (
    BASES,
    WRAPS,
    assert_masked,
    assert_resumes,
    assert_survivors_untouched,
    clones,
    snapshot,
    train_step,
)
from torch import nn

from s2sam.sparse import chase
from s2sam.sparse.chase import Chase
from s2sam.sparse.shrink import shrink

TRAININGS = [("momentum", "bare"), ("adam", "bare"), ("momentum", "s2sam"), ("adam", "s2sam"), ("momentum", "sam")]
OPTIONS = {"sparsity": 0.7, "total_steps": 32, "interval": 4, "delta0": 0.1, "channel_sparsity": 0.4}
READERS = {"conv1": ("conv2", 1), "conv2": ("conv3", 1), "conv3": ("fc", 4), "fc": ("out", 1)}
PASSED = {"conv1": ["bn1", "deep"], "conv2": ["bn2"], "conv3": [], "fc": []}


class Chain(nn.Module):
    """Four layers whose channels may go (biases on the first and third, a depthwise convolution behind the first, the
    third read by a linear layer, four columns a channel), for 2 x 6 x 6 images.
    """

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv1, self.bn1 = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.deep = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.conv2, self.bn2 = nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv3, self.pool = nn.Conv2d(8, 7, 3), nn.MaxPool2d(2)
        self.fc, self.out = nn.Linear(28, 9), nn.Linear(9, 3)

    def forward(self, x):
        x = torch.relu(self.deep(torch.relu(self.bn1(self.conv1(x)))))
        x = torch.relu(self.conv3(torch.relu(self.bn2(self.conv2(x)))))
        return self.out(torch.tanh(self.fc(self.pool(x).flatten(1))))


def trained(base="momentum", wrap="bare", seed=0, **options):
    model = Chain(seed)
    opt = WRAPS[wrap](BASES[base](model.parameters()))
    sparse = Chase(model, **OPTIONS | options)
    sparse.attach(opt)
    return model, opt, sparse


def step(model, opt, sparse, t):
    train_step(model, opt, t, "closure")


# The schedules


def test_shares_of_the_paper():
    sparse = Chase(Chain(), total_steps=160_000)
    assert (sparse.interval, sparse.channel_interval, sparse.end) == (2000, 2000, 130_000)
    # S_c (1 - (1 - x)^3) with S_c = 1/2: 1 - .729, 1 - .125, 1 - .001.
    found = [sparse.channel_fraction(round(x * sparse.end)) for x in (0, 0.1, 0.5, 0.9, 1, 1.2)]
    assert found == pytest.approx([0, 0.1355, 0.4375, 0.4995, 0.5, 0.5], rel=1e-14)
    assert sparse.delta0 == 0.05
    bounds = [0.05, 0.05 * (2 + math.sqrt(2)) / 4, 0.025, 0, 0]
    found = [sparse.soft_bound(round(x * sparse.end)) for x in (0, 0.25, 0.5, 1, 1.1)]
    assert found == pytest.approx(bounds, rel=1e-14)
    assert 0.1 + found[1] == pytest.approx(0.142678, abs=5e-7)
    shares = [0.5, 0.005 + 0.495 * (2 + math.sqrt(2)) / 4, 0.2525, 0.005]
    assert [sparse.exchange(t) for t in (0, 40_000, 80_000, 160_000)] == pytest.approx(shares, rel=1e-14)


def test_removals_fall_between_exchanges_and_end():
    sparse = Chase(Chain(), total_steps=160, interval=10, channel_interval=30)
    assert [t for t in range(200) if sparse._removes(t)] == [25, 55, 85, 115]  # (t + 5) % 30 == 0, t < 130
    assert [t for t in range(200) if sparse._exchanges(t)] == [*range(10, 160, 10)]
    assert [t for t in range(200) if sparse._due(t)] == sorted([25, 55, 85, 115, *range(10, 160, 10)])


def test_first_mask_has_the_exact_budget():
    sparse = Chase(Chain(), 0.7, "uniform", 50)
    assert {n: int(sparse.masks[n].sum()) for n in sparse.shapes} == sparse.budget
    assert all(mask.all() for mask in sparse.alive.values())
    assert Chase(Chain(), 0.7, None, 50).budget == Chase(Chain(), 0.7, "erk", 50).budget != sparse.budget
    others = Chase(Chain(), 0.7, "uniform", 50, seed=1).masks
    assert not torch.equal(sparse.masks["conv2.weight"], others["conv2.weight"])


# A retelling of the updates


class Twin:
    """Chase in numpy: sets of (layer, flat index), a greedy loop over channels, `sorted` with the stated keys."""

    def __init__(self, sparse):
        self.names, self.budget = [*sparse.shapes], sum(sparse.budget.values())
        self.channels = {n: sparse.shapes[f"{n}.weight"][0] for n in READERS}
        self.alive = {n: set(range(c)) for n, c in self.channels.items()}

    def room(self, shapes):
        """Which entries of each parameter belong to no channel that is gone."""
        free = {k: np.ones(shape, dtype=bool) for k, shape in shapes.items()}
        for name, (reader, per) in READERS.items():
            for j in set(range(self.channels[name])) - self.alive[name]:
                for owner in (name, *PASSED[name]):
                    for k in (f"{owner}.weight", f"{owner}.bias"):
                        if k in free:
                            free[k][j] = False
                free[f"{reader}.weight"][:, j * per : (j + 1) * per] = False
        return free

    def remove(self, w, sparse):
        scores = {}
        for n in READERS:
            for j in self.alive[n]:
                filter_ = w[f"{n}.weight"][j].astype(np.float64).ravel()
                scores[n, j] = sum(abs(x) for x in filter_) / len(filter_)
        total = sum(self.channels.values())
        n_going = math.floor(len(scores) - total * (1 - sparse.channel_fraction(sparse.step)) + 1e-6)
        layers = [*READERS]
        # Ascending; of equals the last layer and index first, as every cut of this package.
        for n, j in sorted(scores, key=lambda e: (scores[e], -layers.index(e[0]), -e[1])):
            share = (1 - sparse.channel_sparsity) * sparse.least
            if n_going > 0 and len(self.alive[n]) > max(1, math.floor(self.channels[n] * share + 1e-6)):
                self.alive[n].remove(j)
                n_going -= 1

    def exchange(self, w, g, on, sparse):
        entries = {(i, j): (w[k].flat[j], g[k].flat[j]) for i, k in enumerate(self.names) for j in range(w[k].size)}
        active = [e for e in entries if on[self.names[e[0]]].flat[e[1]]]
        size = {e: abs(v[0]) for e, v in entries.items()}
        order = sorted(active, key=lambda e: (-size[e], e))
        first = {}
        for e in order:
            first.setdefault(e[0], e)
        n, t = len(entries), sparse.step
        drop = len(active) - self.budget
        if t >= sparse.end:
            drop = max(drop, math.floor(sparse.exchange(t) * len(active) + 1e-6))
        dropped = [e for e in reversed(order) if e not in first.values()][: max(0, drop)]
        kept = set(active) - set(dropped)
        free = self.room({k: v.shape for k, v in w.items()})
        candidates = [e for e in entries if e not in kept and free[self.names[e[0]]].flat[e[1]]]
        candidates.sort(key=lambda e: (-abs(entries[e][1]), e))
        grown = candidates[: max(0, self.budget + math.floor(sparse.soft_bound(t) * n + 1e-6) - len(kept))]
        masks = {k: np.zeros(w[k].shape, dtype=bool) for k in self.names}
        for i, j in (*kept, *grown):
            masks[self.names[i]].flat[j] = True
        fresh = {k: np.zeros(w[k].shape, dtype=bool) for k in self.names}
        for i, j in grown:
            fresh[self.names[i]].flat[j] = True
        return masks, fresh


def check_updates(base="momentum", wrap="bare", steps=32, kind=Chase, **options):
    """Every update of a training is the twin's: channels, masks, and weights bit for bit."""
    model = Chain()
    opt, sparse = WRAPS[wrap](BASES[base](model.parameters())), kind(model, **OPTIONS | options)
    twin, events, update = Twin(sparse), [], sparse._update

    def compared(gradients):
        w = {k: p.detach().numpy().copy() for k, p in model.named_parameters()}
        on = {k: m.numpy().copy() for k, m in sparse.masks.items()}
        t, fresh = sparse.step, {}
        update(gradients)
        sparse.apply()
        removes = t < sparse.end and (t + sparse.interval // 2) % sparse.channel_interval == 0
        if removes:
            twin.remove(w, sparse)
            on = {k: m & twin.room({k: m.shape for k, m in on.items()})[k] for k, m in on.items()}
        if t % sparse.interval == 0:
            masks, fresh = twin.exchange(w, {k: v.numpy() for k, v in gradients.items()}, on, sparse)
            on |= masks
        assert {n: set(a.nonzero().flatten().tolist()) for n, a in sparse.alive.items()} == twin.alive
        assert [k for k, m in sparse.masks.items() if not np.array_equal(m.numpy(), on[k])] == []
        for k, p in model.named_parameters():
            expected = np.where(on.get(k, True) & ~fresh.get(k, np.zeros(p.shape, dtype=bool)), w[k], 0)
            assert np.array_equal(p.detach().numpy(), expected), k
        events.append((t, removes, sum(len(a) for a in twin.alive.values()), sparse.nonzeros))

    sparse._update = compared
    sparse.attach(opt)
    for t in range(steps):
        step(model, opt, sparse, t)
    return events, sparse


@pytest.mark.parametrize(("base", "wrap"), TRAININGS)
def test_updates_are_those_of_the_twin(base, wrap):
    events, sparse = check_updates(base, wrap)
    assert [t for t, removes, _, _ in events if removes] == [2, 6, 10, 14, 18, 22]
    assert [t for t, removes, _, _ in events if not removes] == [4, 8, 12, 16, 20, 24, 28]
    assert events[-1][2] == 30 - math.floor(30 * sparse.channel_fraction(22) + 1e-6) < 30


def test_updates_at_other_settings_are_those_of_the_twin():
    both, _ = check_updates(interval=5, channel_interval=1, least=1.0)  # removals at every step, exchanges' among them
    assert sum(removes for _, removes, _, _ in both) == 25
    with pytest.warns(RuntimeWarning, match="alive channels hold"):
        check_updates(channel_sparsity=0.9, least=0.0)
    check_updates(channel_sparsity=0.0, delta0=1.0, sparsity=0.4)
    check_updates(end_fraction=0.25, sparsity=0.9)
    with pytest.warns(RuntimeWarning, match="alive channels hold"):
        check_updates(end_fraction=1.0, sparsity=0.0, delta0=0.0)


class Small(Chase):
    """Counts removed columns out of the mean."""

    def _remove_channels(self):
        scores = {n: self.weights[f"{n}.weight"] for n in self.alive}
        kept = {n: w.clone() for n, w in scores.items()}
        with torch.no_grad():
            for n, w in scores.items():
                mask = self.masks[f"{n}.weight"].flatten(1).sum(1).clamp(min=1)
                w.mul_((w[0].numel() / mask).view(-1, *[1] * (w.ndim - 1)))
            super()._remove_channels()
            for n, w in scores.items():
                w.copy_(kept[n])


class Returning(Chase):
    """Lets entries just dropped keep their weight."""

    def _clear(self, name, where):
        if not self.in_exchange:
            super()._clear(name, where)

    in_exchange = False

    def _exchange(self, gradients):
        self.in_exchange = True
        super()._exchange(gradients)
        self.in_exchange = False


class Dead(Chase):
    """Grows in channels that are gone."""

    def _exchange(self, gradients):
        alive, self.alive = self.alive, {n: torch.ones_like(a) for n, a in self.alive.items()}
        super()._exchange(gradients)
        self.alive = alive


@pytest.mark.parametrize("kind", [Small, Returning])
def test_the_twin_tells_mutants(kind):
    with pytest.raises(AssertionError):
        check_updates(kind=kind)


def test_the_twin_tells_another_rounding_and_order(monkeypatch):
    for name, mutant in (("count", math.ceil), ("lowest", chase.highest)):
        with monkeypatch.context() as patch:
            patch.setattr(chase, name, mutant)
            with pytest.raises(AssertionError):
                check_updates()


# What holds along a training


@pytest.mark.parametrize(("base", "wrap"), TRAININGS)
def test_counts_bounds_and_zeros(base, wrap):
    model, opt, sparse = trained(base, wrap)
    assert_masked(model, opt)
    n, budget = sum(math.prod(s) for s in sparse.shapes.values()), sum(sparse.budget.values())
    assert budget == n - math.floor(0.7 * n + 1e-6)
    for t in range(32):
        old, alive = clones(sparse.masks), clones(sparse.alive)
        step(model, opt, sparse, t)
        assert_masked(model, opt)
        if not sparse._due(t + 1):
            assert all(torch.equal(mask, old[k]) for k, mask in sparse.masks.items())
        for name, mask in sparse.alive.items():
            assert not (mask & ~alive[name]).any()  # never comes back
            assert mask.sum() >= max(1, math.floor(len(mask) * 0.6 * 0.5))
            gone, (reader, per) = ~mask, READERS[name]
            for owner in (name, *PASSED[name]):
                for p in model.get_submodule(owner).parameters():
                    assert (p[gone] == 0).all()
            assert (model.get_submodule(reader).weight[:, gone.repeat_interleave(per)] == 0).all()
        if sparse._exchanges(t + 1):
            allowed = math.floor(sparse.soft_bound(t + 1) * n + 1e-6)
            assert sparse.nonzeros == budget + allowed
    assert sparse.nonzeros == budget
    assert sum(int(mask.sum()) for mask in sparse.alive.values()) < 30


@pytest.mark.parametrize("wrap", ["bare", "s2sam"])
def test_an_update_leaves_survivors(wrap):
    model, opt, sparse = trained("momentum", wrap)
    for t in range(3):
        step(model, opt, sparse, t)
    for at in (4, 6, 28):
        sparse.step = at
        model.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(8, 2, 6, 6)), torch.arange(8) % 3).backward()
        before, old = snapshot(model, opt), clones(sparse.masks)
        sparse.update()
        new = sparse.masks
        assert_survivors_untouched(old, new, before, snapshot(model, opt), renews=True)
        assert any(not torch.equal(old[k], new[k]) for k in new)
        assert_masked(model, opt)


def test_an_update_by_hand_between_the_two_does_both():
    model, _, sparse = trained()
    sparse.step = 13
    nn.functional.cross_entropy(model(torch.randn(8, 2, 6, 6)), torch.arange(8) % 3).backward()
    sparse.update()
    gone = 30 - sum(int(mask.sum()) for mask in sparse.alive.values())
    assert gone == math.floor(30 * sparse.channel_fraction(13) + 1e-6) > 0
    assert sparse.nonzeros > sum(sparse.budget.values())


def check_growth_without_gradients(kind):
    sparse = kind(Chain(), **OPTIONS | {"channel_sparsity": 0.2})
    sparse.step = 22
    sparse.update()  # removes channels, no gradient is there yet
    sparse.step = 4
    sparse.update()
    n, budget = sum(math.prod(s) for s in sparse.shapes.values()), sum(sparse.budget.values())
    assert sparse.nonzeros == budget + math.floor(sparse.soft_bound(4) * n + 1e-6)
    assert sparse.masks["conv1.weight"][sparse.alive["conv1"]].all()  # of equals the first
    for name, (reader, per) in READERS.items():
        gone = ~sparse.alive[name]
        assert not sparse.masks[f"{name}.weight"][gone].any()
        assert not sparse.masks[f"{reader}.weight"][:, gone.repeat_interleave(per)].any()


def test_growth_stays_in_alive_channels():
    check_growth_without_gradients(Chase)
    with pytest.raises(AssertionError):
        check_growth_without_gradients(Dead)


def test_too_few_alive_channels_are_reported():
    model, opt, sparse = trained(sparsity=0.2, channel_sparsity=0.9, least=0.0, interval=8)

    def train():
        for t in range(32):
            step(model, opt, sparse, t)

    with pytest.warns(RuntimeWarning, match=r"^alive channels hold \d+ of 1\d+ weights; lower channel_sparsity$"):
        train()
    assert sparse.nonzeros < sum(sparse.budget.values())
    assert all(mask.any() for mask in sparse.alive.values())


@pytest.mark.parametrize("wrap", ["bare", "s2sam"])
def test_the_small_network_is_the_same(wrap):
    model, opt, sparse = trained(wrap=wrap)
    for t in range(32):
        step(model, opt, sparse, t)
    alive = {name: int(mask.sum()) for name, mask in sparse.alive.items()}
    small = shrink(sparse.finalize()).double()
    # Single weights go too, so that a channel which is alive may have lost its last reader.
    assert all(len(small.get_submodule(name).weight) <= alive[name] for name in alive)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters()) / 2
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    for training in (False, True):
        a, b = model.double().train(training)(x), small.train(training)(x)
        assert (a - b).abs().max() <= 1e-12 * a.abs().max()  # float64, sums of 72 terms in another order, 6 layers


@pytest.mark.parametrize(("base", "wrap"), [("momentum", "bare"), ("adam", "s2sam")])
def test_a_broken_off_training_goes_on(base, wrap):
    def build(seed):
        return trained(base, wrap, seed)

    assert_resumes(build, step, head=11, tail=21)

    def forgetful(parts):  # without the controller's state, steps and draws are others
        return [*(part.state_dict() for part in parts[:2]), Chase(Chain(), **OPTIONS).state_dict()]

    with pytest.raises(AssertionError):
        assert_resumes(build, step, head=11, tail=21, save=forgetful)


REFUSED = {
    r"^total_steps must be given, got None; give the optimizer steps of the training$": {"total_steps": None},
    r"^delta0 must be in \[0, 1\], got -0.1; give a share$": {"delta0": -0.1},
    r"^least must be in \[0, 1\], got 2; give a share$": {"least": 2},
    r"^channel_sparsity must be in \[0, 1\), got 1; give the share to remove$": {"channel_sparsity": 1},
    r"^end_fraction must be in \(0, 1\], got 0; 1 is the whole training$": {"end_fraction": 0},
    r"^intervals must be >= 1, got 0, None; give optimizer steps$": {"interval": 0},
    r"^intervals must be >= 1, got 4, -1; give optimizer steps$": {"channel_interval": -1},
    r"^model must have channels that Chase may remove, got Chain without; take a method": {"layers": ["conv1", "out"]},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    model = Chain()
    with pytest.raises(ValueError, match=message):
        Chase(model, **OPTIONS | REFUSED[message])
    assert not any(name.endswith("_mask") for name, _ in model.named_buffers())
