"""CHEX: its formulas, every update against a retelling in numpy, and what holds along a training."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optim_support import bits
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

from s2sam.sparse import chex
from s2sam.sparse.chex import CHEX, leverage, residuals, sample, select
from s2sam.sparse.shrink import shrink

TRAININGS = [("momentum", "bare"), ("adam", "bare"), ("momentum", "s2sam"), ("adam", "s2sam"), ("momentum", "sam")]
OPTIONS = {"sparsity": 0.6, "delta0": 0.4, "interval": 3, "t_max": 16, "total_steps": 20}


class Chain(nn.Module):
    """Three convolutions whose channels may go (the first has biases, fewer entries than filters and a depthwise
    convolution behind it; the last is read by a linear layer, four columns a channel), for 2 x 6 x 6 images.
    """

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv1, self.bn1 = nn.Conv2d(2, 8, 1), nn.BatchNorm2d(8)
        self.deep, self.bnd = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10)
        self.conv3, self.bn3 = nn.Conv2d(10, 7, 3, bias=False), nn.BatchNorm2d(7)
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(28, 3)
        with torch.no_grad():
            for bn in (self.bn1, self.bn2, self.bn3):
                bn.weight.uniform_(0.2, 1.0)

    def forward(self, x):
        x = torch.relu(self.bnd(self.deep(torch.relu(self.bn1(self.conv1(x))))))
        x = torch.relu(self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(x))))))
        return self.fc(self.pool(x).flatten(1))


def trained(base="momentum", wrap="bare", seed=0, **options):
    model = Chain(seed)
    opt = WRAPS[wrap](BASES[base](model.parameters()))
    sparse = CHEX(model, **OPTIONS | options)
    sparse.attach(opt)
    return model, opt, sparse


def step(model, opt, sparse, t):
    train_step(model, opt, t, "closure")


# The formulas


def test_shares_of_the_paper():
    sparse = CHEX(Chain(), 0.7, total_steps=250)
    assert (sparse.delta0, sparse.interval, sparse.t_max) == (0.3, 2, 180)
    # (1 + cos(pi x))/2 at x = 0, 1/4, 1/2, 3/4, 1 is 1, (2 + sqrt 2)/4, 1/2, (2 - sqrt 2)/4, 0.
    shares = [0.3, 0.3 * (2 + math.sqrt(2)) / 4, 0.15, 0.3 * (2 - math.sqrt(2)) / 4, 0.0]
    assert [sparse.regrowth(t) for t in (0, 45, 90, 135, 180)] == pytest.approx(shares, rel=1e-14)
    assert sparse.regrowth(181) == sparse.regrowth(250) == 0.0
    assert [t for t in range(251) if sparse._due(t)] == [*range(2, 181, 2)]
    odd = CHEX(Chain(), 0.7, interval=7, t_max=17)
    assert [t for t in range(30) if odd._due(t)] == [7, 14, 17]  # the last one brings delta to 0


def filters(c, d, seed, spread=1.0):
    """Random filters (c, d) with singular values that decrease by a fixed ratio, so that none are close."""
    rng = np.random.default_rng(seed)
    u, _ = np.linalg.qr(rng.standard_normal((c, min(c, d))))
    v, _ = np.linalg.qr(rng.standard_normal((d, min(c, d))))
    return torch.from_numpy(spread * (u * 0.7 ** np.arange(min(c, d))) @ v.T)


SHAPES = st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(0, 1000))


@given(SHAPES, st.integers(0, 8))
def test_leverage_is_the_share_in_the_leading_directions(shape, k):
    x = filters(*shape)
    c, rank = len(x), min(shape[:2])
    psi = leverage(x, k).numpy()
    # By eigenvectors of the Gram matrix; singular values above 0.7^7 apart by 30 % keep its errors below 1e-10.
    values, vectors = np.linalg.eigh((x @ x.T).numpy())
    leading = vectors[:, np.argsort(-values)[: min(k, rank)]]
    assert np.allclose(psi, (leading**2).sum(1), rtol=0, atol=1e-9)
    assert psi.sum() == pytest.approx(min(k, rank), abs=1e-12)
    assert psi.min() >= 0
    assert psi.max() <= 1 + 1e-12
    if k >= c == rank:
        assert np.allclose(psi, 1, rtol=0, atol=1e-12)
    q, _ = np.linalg.qr(np.random.default_rng(shape[2]).standard_normal((x.shape[1],) * 2))
    for same in (x @ torch.from_numpy(q).T, 1e-6 * x, -1e6 * x):
        assert np.allclose(leverage(same, k).numpy(), psi, rtol=0, atol=1e-9)


@given(SHAPES, st.integers(1, 255))
def test_residuals_are_least_squares_distances(shape, kept):
    x = filters(*shape)
    mask = torch.tensor([bool(kept >> j & 1) for j in range(len(x))])
    if not mask.any():
        mask[0] = True
    r = residuals(x, mask).numpy()
    basis = x[mask].numpy().T
    for j in range(len(x)):
        target = x[j].numpy()
        nearest = basis @ np.linalg.lstsq(basis, target, rcond=1e-14)[0]
        assert r[j] == pytest.approx(np.linalg.norm(target - nearest), abs=1e-10)
        assert not mask[j] or r[j] <= 1e-12
    assert np.allclose(residuals(10 * x, mask).numpy(), 10 * r, rtol=0, atol=1e-10)


def test_selection_breaks_ties_by_norm_and_then_by_index():
    # Rank 2 and k = 4: equal directions share their leverage by squared norm, the zero filters have none.
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    everyone = torch.ones(6, dtype=torch.bool)
    chosen = [select(x, everyone, k).nonzero().squeeze(1).tolist() for k in range(7)]
    # At k = 1 the direction of the larger singular value, 2 > sqrt(3), is the third filter's alone.
    assert chosen == [[], [2], [1, 2], [1, 2, 3], [1, 2, 3, 5], [0, 1, 2, 3, 5], [0, 1, 2, 3, 4, 5]]
    tied = torch.tensor([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 2.0]])
    assert select(tied, everyone[:3], 3).all()
    assert leverage(tied, 3).tolist() == pytest.approx([1, 1, 1])
    assert select(torch.cat([tied, tied]) * torch.tensor([1, 1, 1, -1, -1, 1.0])[:, None], everyone, 3).tolist() == [
        *(False, True, True),
        *(False, True, False),
    ]
    assert select(tied, torch.tensor([True, False, True]), 1).tolist() == [False, False, True]


def test_filters_that_are_not_numbers_go_first():
    x = torch.tensor([[torch.nan, 1.0], [1.0, 0.0], [0.0, torch.inf]])
    assert leverage(x, 1).isfinite().all()
    assert residuals(x, torch.tensor([False, True, False])).isfinite().all()


def test_samples_follow_the_softmax_without_replacement():
    """Pairs drawn one after the other have probability p_i p_j/(1 - p_i) in this order."""
    score = torch.tensor([0.0, 1.0, 5.0, 2.0, 0.5], dtype=torch.float64)
    among, generator, n = torch.tensor([True, True, False, True, True]), torch.Generator().manual_seed(0), 4000
    p = np.where(among.numpy(), np.exp(score.numpy()), 0)
    p /= p.sum()
    pairs = [(i, j) for i in range(5) for j in range(i) if among[i] and among[j]]
    expected = {(i, j): p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j]) for i, j in pairs}
    found = dict.fromkeys(pairs, 0)
    for _ in range(n):
        drawn = sample(score, among, 2, generator).nonzero().squeeze(1).tolist()
        found[drawn[1], drawn[0]] += 1
    assert sum(expected.values()) == pytest.approx(1)
    for pair, share in expected.items():  # 6 counts within 4 standard deviations: fails once in 2500 seeds
        assert abs(found[pair] - n * share) <= 4 * math.sqrt(n * share * (1 - share))
    assert sample(score + 1e5, among, 9, generator).tolist() == among.tolist()
    assert not sample(score, among, 0, generator).any()


# A retelling of the update


class Twin:
    """CHEX in numpy on the same draws: loops over channels, `sorted`, values remembered entry by entry."""

    def __init__(self, sparse, dense):
        self.names, self.memory = [*sparse.alive], {k: v.numpy().copy() for k, v in dense.items()}
        self.readers = {"conv1": ("conv2", 1), "conv2": ("conv3", 1), "conv3": ("fc", 4)}
        self.norms = {"conv1": ["bn1", "bnd"], "conv2": ["bn2"], "conv3": ["bn3"]}
        self.alive = {}
        for name in self.names:
            l1 = np.abs(self.memory[f"{name}.weight"].astype(np.float64)).sum((1, 2, 3))
            going = math.floor((sparse.sparsity - sparse.delta0) * len(l1) + 1e-6)
            order = sorted(range(len(l1)), key=lambda j, l1=l1: (-l1[j], j))
            self.alive[name] = set(order[: max(1, len(l1) - going)])

    def gone(self, state):
        """Entries that belong to a channel that is gone, by tensor."""
        masks = {k: np.zeros(v.shape, dtype=bool) for k, v in state.items()}
        for name in self.names:
            owners = [name, *self.norms[name], *(["deep"] if name == "conv1" else [])]
            reader, per = self.readers[name]
            for j in set(range(len(state[f"{name}.weight"]))) - self.alive[name]:
                for k, mask in masks.items():
                    if k.rpartition(".")[0] in owners and mask.ndim:
                        mask[j] = True
                masks[f"{reader}.weight"][:, j * per : (j + 1) * per] = True
        return masks

    def counts(self, scales, sparsity):
        entries = [(layer, j) for layer, name in enumerate(self.names) for j in range(len(scales[name]))]
        scale = {(i, j): scales[self.names[i]][j] if j in self.alive[self.names[i]] else -1 for i, j in entries}
        order = sorted(entries, key=lambda e: (-scale[e], e))
        first = {layer: next(e for e in order if e[0] == layer) for layer in range(len(self.names))}
        going = [e for e in reversed(order) if e not in first.values()]
        going = going[: math.floor(max(0.0, sparsity) * len(order) + 1e-6)]
        return {n: sum(e[0] == i and e not in going for e in entries) for i, n in enumerate(self.names)}

    def update(self, state, sparsity, delta, generator):
        gone = self.gone(state)
        for k, mask in gone.items():
            self.memory[k] = np.where(mask, self.memory[k], state[k])
        scales = {n: np.abs(state[f"{self.norms[n][0]}.weight"]) for n in self.names}
        stay, left = self.counts(scales, sparsity), self.counts(scales, sparsity - delta)
        now = {}
        for name in self.names:
            x = state[f"{name}.weight"].reshape(len(scales[name]), -1).T.astype(np.float64)
            _, sigma, vt = np.linalg.svd(x, full_matrices=False)
            k = min(stay[name], int((sigma > sigma.max() * max(x.shape) * 2.0**-52).sum()))
            psi = [round(float(sum(vt[i, j] ** 2 for i in range(k))), 9) for j in range(x.shape[1])]
            kept = sorted(self.alive[name], key=lambda j, p=psi, x=x: (-p[j], -np.linalg.norm(x[:, j]), j))[
                : stay[name]
            ]
            full = self.memory[f"{name}.weight"].reshape(x.shape[1], -1).T.astype(np.float64)
            basis = full[:, sorted(kept)]
            r = np.linalg.norm(full - basis @ np.linalg.pinv(basis) @ full, axis=0)
            u = torch.rand(x.shape[1], generator=generator, dtype=torch.float64).numpy()
            others = [j for j in range(x.shape[1]) if j not in kept]
            drawn = sorted(others, key=lambda j, r=r, u=u: -(r[j] - math.log(-math.log(u[j]))))
            now[name] = set(kept) | set(drawn[: max(0, left[name] - stay[name])])
        self.alive = now
        gone = self.gone(state)
        return {k: np.where(gone[k] & ("running" not in k), 0, self.memory[k]) for k in state}


def arrays(model):
    return {k: t.numpy().copy() for k, t in model.state_dict().items() if not k.endswith(("_mask", "_tracked"))}


def check_updates(base="momentum", wrap="bare", steps=20, **options):
    """Every update of a training is the twin's: the same channels, the same bits."""
    model = Chain()
    dense = {k: t for k, t in model.state_dict().items() if not k.endswith("_tracked")}
    dense = {k: t.clone() for k, t in dense.items()}
    opt, sparse = WRAPS[wrap](BASES[base](model.parameters())), CHEX(model, **OPTIONS | options)
    twin, seen, update = Twin(sparse, dense), [], sparse._update
    assert {n: set(m.nonzero().flatten().tolist()) for n, m in sparse.alive.items()} == twin.alive

    def compared(gradients):
        generator = torch.Generator()
        generator.set_state(sparse.generator.get_state())
        before = arrays(model)
        update(gradients)
        sparse.apply()
        expected = twin.update(before, sparse.sparsity, sparse.regrowth(sparse.step), generator)
        assert {n: set(m.nonzero().flatten().tolist()) for n, m in sparse.alive.items()} == twin.alive
        after = arrays(model)
        assert [k for k in after if not np.array_equal(after[k], expected[k])] == []
        seen.append(sum(len(a) for a in twin.alive.values()))

    sparse._update = compared
    sparse.attach(opt)
    for t in range(steps):
        step(model, opt, sparse, t)
    assert len(seen) == 6
    return seen


@pytest.mark.parametrize(("base", "wrap"), TRAININGS)
def test_updates_are_those_of_the_twin(base, wrap):
    assert check_updates(base, wrap)[-1] == 25 - 15


def test_updates_that_keep_a_last_channel():
    check_updates(sparsity=0.95, delta0=0.2)
    check_updates(sparsity=0.3, delta0=0.5)  # more may be regrown than are gone


MUTANTS = {
    "norms": ("leverage", lambda filters, k: filters.double().norm(dim=1)),
    "the nearest return": ("residuals", lambda filters, kept: -50 * residuals(filters, kept)),
    "ranks the other way": ("lowest", lambda score, among, k: chex.highest(score, among, k)),
    "counts one more": ("count", lambda x: math.floor(x) + 1),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_twin_tells_mutants(monkeypatch, name):
    monkeypatch.setattr(chex, *MUTANTS[name])
    with pytest.raises(AssertionError):
        check_updates()


def test_the_twin_tells_values_that_do_not_return(monkeypatch):
    monkeypatch.setattr(chex.torch, "where", lambda mask, t, old: t.clone())
    with pytest.raises(AssertionError):
        check_updates()


# What holds along a training


@pytest.mark.parametrize(("base", "wrap"), TRAININGS)
def test_removed_channels_are_zero_everywhere_and_counts_are_exact(base, wrap):
    model, opt, sparse = trained(base, wrap)
    assert_masked(model, opt)
    done, counts = 0, []
    for t in range(20):
        before, old = snapshot(model, opt), clones(sparse.masks)
        step(model, opt, sparse, t)
        assert_masked(model, opt)
        assert {n.rpartition(".")[2] for n in sparse.masks} == {"weight", "bias"}
        if not sparse._due(t + 1):
            assert all(torch.equal(m, old[n]) for n, m in sparse.masks.items())
        else:
            done = t + 1
        share = 0.6 - sparse.regrowth(done)
        going = math.floor(share * 25 + 1e-6) if done else 8 * 2 // 10 + 10 * 2 // 10 + 7 * 2 // 10
        counts.append(sum(int(m.sum()) for m in sparse.alive.values()))
        assert counts[-1] == 25 - going
        assert before.keys() <= snapshot(model, opt).keys()
    assert counts[0] > counts[-1] == counts[15] == 25 - 15


@pytest.mark.parametrize("wrap", ["bare", "s2sam"])
def test_an_update_leaves_survivors_and_gives_back_what_was(wrap):
    model, opt, sparse = trained("momentum", wrap)
    dense = clones(dict(model.named_parameters()))
    for t in range(2):
        step(model, opt, sparse, t)
    sparse.step = 3
    returned = 0
    for _ in range(6):
        before, old = snapshot(model, opt), clones(sparse.masks)
        memory = clones(sparse._values)
        sparse.update()
        after, new = snapshot(model, opt), sparse.masks
        assert_survivors_untouched(old, new, before, after)
        assert_masked(model, opt)
        for name, mask in new.items():
            grown = mask & ~old[name]
            returned += int(grown.sum())
            for slot in ("momentum_buffer", "ascent") if wrap == "s2sam" else ("momentum_buffer",):
                assert (after[name, slot][grown] == 0).all()
            assert torch.equal(after[name, "weight"][grown], memory[name][grown])
    assert returned > 100
    assert not torch.equal(dense["fc.weight"], model.fc.weight)


def test_removed_filters_do_not_matter():
    model, opt, sparse = trained()
    for t in range(20):
        step(model, opt, sparse, t)
    x = torch.randn(4, 2, 6, 6)
    expected = model.eval()(x)
    with torch.no_grad():
        for name, alive in sparse.alive.items():
            model.get_submodule(name).weight[~alive] = 7.0
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize("wrap", ["bare", "s2sam"])
def test_the_small_network_is_the_same(wrap):
    model, opt, sparse = trained(wrap=wrap)
    for t in range(20):
        step(model, opt, sparse, t)
    alive = {name: int(mask.sum()) for name, mask in sparse.alive.items()}
    small = shrink(sparse.finalize()).double()
    assert {name: small.get_submodule(name).out_channels for name in alive} == alive
    assert small.deep.groups == alive["conv1"]
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    for training in (False, True):
        a, b = model.double().train(training)(x), small.train(training)(x)
        assert (a - b).abs().max() <= 1e-12 * a.abs().max()  # float64, sums of 90 terms in another order, 4 layers


@pytest.mark.parametrize(("base", "wrap"), [("momentum", "bare"), ("adam", "s2sam")])
def test_a_broken_off_training_goes_on(base, wrap):
    def build(seed):
        return trained(base, wrap, seed)

    assert_resumes(build, step, head=5, tail=13)

    def forgetful(parts):  # without the controller's state, steps and draws are others
        return [*(part.state_dict() for part in parts[:2]), CHEX(Chain(), **OPTIONS).state_dict()]

    with pytest.raises(AssertionError):
        assert_resumes(build, step, head=5, tail=13, save=forgetful)


def test_seeds_draw_other_channels_and_the_same_seed_the_same():
    paths = []
    for seed in (0, 0, 1):
        model, opt, sparse = trained(**{"seed": 0}) if seed == 0 else reseeded(seed)
        for t in range(10):
            step(model, opt, sparse, t)
        paths.append(bits(sparse.alive.values()))
    assert paths[0] == paths[1] != paths[2]


def reseeded(seed):
    model = Chain()
    opt, sparse = BASES["momentum"](model.parameters()), CHEX(model, seed=seed, **OPTIONS)
    sparse.attach(opt)
    return model, opt, sparse


def test_only_convolutions_all_of_whose_weights_are_chosen_take_part():
    names = ["conv1", "deep", "conv2", "conv3"]
    assert [*CHEX(Chain(), layers=names, total_steps=50).alive] == ["conv1", "conv2"]
    assert [*CHEX(Chain(), layers=["conv1", "conv2", "conv3"], total_steps=50).alive] == ["conv2"]
    untouched = CHEX(Chain(), layers=names, total_steps=50)
    assert "fc.weight" not in untouched.masks
    assert not any(name.startswith("bn3") for name in untouched.masks)


REFUSED = {
    r"^distribution must be None, got 'erk'; CHEX ranks the channels of all layers$": {"distribution": "erk"},
    r"^delta0 must be in \[0, 1\], got 1.5; give the share to regrow at first$": {"delta0": 1.5},
    r"^total_steps must be given, got None; or give interval and t_max$": {"total_steps": None, "t_max": None},
    r"^interval must be >= 1 and t_max in \[1, total_steps\], got interval 0, t_max 16; leave": {"interval": 0},
    r"^interval must be >= 1 and t_max in \[1, total_steps\], got interval 3, t_max 21; leave": {"t_max": 21},
    r"^sparsity must be in \[0, 1\), got 1.0; give the fraction of weights to remove$": {"sparsity": 1.0},
    r"^model must have channels that CHEX may remove, got Chain without; take a method": {"layers": ["conv1", "fc"]},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    model = Chain()
    with pytest.raises(ValueError, match=message):
        CHEX(model, **OPTIONS | REFUSED[message])
    assert not any(name.endswith("_mask") for name, _ in model.named_buffers())


def test_a_convolution_without_a_scale_is_refused():
    for norm in (nn.Identity(), nn.BatchNorm2d(3, affine=False)):
        net = nn.Sequential(nn.Conv2d(2, 3, 1), norm, nn.ReLU(), nn.Conv2d(3, 2, 1), nn.Flatten())
        with pytest.raises(ValueError, match=r"^model must have a BatchNorm with scale .*, got none after 0; leave"):
            CHEX(net, total_steps=50)
