"""Runs in a stack are the same runs: rows, weights, masks and directions of each alone, but for rounding."""

import itertools
from dataclasses import replace

import pytest
import torch

from s2sam.sparse import LRR
from validation import datasets, models
from validation.datasets import Images
from validation.training import CONTROLS, OPTIMIZERS, Config
from validation.training.loop import Training
from validation.training.methods import FRACTION
from validation.training.side_by_side import METHODS, SideBySide, side_by_side

N = 48


def wide(folder=None):
    """Images in float64, where two orders of a sum differ by 1e-16 and chaos has no time to show."""
    x = torch.randn(N + 20, 1, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    y = torch.arange(N + 20) % 4
    x = x + y.view(-1, 1, 1, 1)
    return Images("wide", x[:N], y[:N], x[N:], y[N:], 4)


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setitem(datasets.DATASETS, "wide", wide)
    for name in ("mlp", "compact"):
        build = models.MODELS[name]
        monkeypatch.setitem(models.MODELS, name, lambda build=build, **options: build(**options).double())


def configs(**given):
    base = Config(**{"dataset": "wide", "model": "compact", "batch": 16, "epochs": 3, "sparsity": 0.6} | given)
    return [replace(base, seed=0), replace(base, seed=1, rho=0.1), replace(base, seed=2, lr=0.05)]


def alone(config):
    training = Training(config, wide())
    training.prepare()
    training.train(lambda: None, None)
    return training


# 9 steps: roundings of 1e-16 relative, sums of 1e3 terms, grown by (1 + lr L) each step with lr L < 10: far below 1e-8;
# any mistake (a norm over all networks, a stale mask, an lr too many) shows at 1e-3
CLOSE = 1e-8


def apart(runs, others):
    """Return the largest difference of weights, statistics, slots and rows; masks must be equal."""
    worst = 0.0
    for run, other in zip(runs, others, strict=True):
        for name, mask in other.sparse.masks.items():
            assert torch.equal(run.sparse.masks[name], mask), name
        states = run.model.state_dict(), other.model.state_dict()
        worst = max(
            worst, *(float((a - b).abs().max()) for a, b in zip(*(s.values() for s in map(plain, states)), strict=True))
        )
        for p, q in zip(run.model.parameters(), other.model.parameters(), strict=True):
            own, its = run.optimizer.state[p], other.optimizer.state[q]
            worst = max(worst, *(float((own[key] - its[key]).abs().max()) for key in its))
        for row, its_row in zip(run.rows, other.rows, strict=True):
            assert row.keys() == its_row.keys()
            for key, value in its_row.items():
                if isinstance(value, float) and key != "seconds":
                    worst = max(worst, abs(row[key] - value) / max(1.0, abs(value)))
                elif key != "seconds":
                    assert row[key] == value, key
    return worst


def plain(state):
    return {name: value.double() for name, value in state.items() if not name.endswith("_mask")}


PAIRS = [(m, "s2sam") for m in METHODS] + [(m, o) for m in ("mest", "lt-40") for o in (*OPTIMIZERS, *CONTROLS)]


@pytest.mark.parametrize(("method", "optimizer"), list(dict.fromkeys(PAIRS)))
def test_runs_in_a_stack_are_those_of_each_alone(method, optimizer):
    mine = configs(method=method, optimizer=optimizer, sparsity=0.0 if method == "dense" else 0.6)
    stack = SideBySide(mine, wide())
    stack.train()
    assert apart(stack.runs, [alone(c) for c in mine]) < CLOSE


def test_fully_connected_networks_too_and_other_settings():
    mine = configs(model="mlp", method="set", schedule="steps", label_noise=0.25, validation=0.25, weight_decay=0.01)
    stack = SideBySide(mine, wide())
    stack.train()
    assert apart(stack.runs, [alone(c) for c in mine]) < CLOSE


def test_the_comparison_sees_one_norm_for_all_networks(monkeypatch):
    """The mutant: the length of the whole stack in the place of each network's."""
    from validation.training import side_by_side as module

    def joint(direction, rho, *, batched):
        del batched
        flat = torch.cat([g.flatten() for g in direction])
        length = flat.norm().clamp(min=1e-300)
        return [g / length * rho.view(-1, *[1] * (g.ndim - 1)) for g in direction]

    monkeypatch.setattr(module, "ascent", joint)
    mine = configs(method="random")
    stack = SideBySide(mine, wide())
    stack.train()
    assert apart(stack.runs, [alone(c) for c in mine]) > 1e-4


@pytest.mark.parametrize("optimizer", ["sgd", "s2sam"])
@pytest.mark.parametrize("method", FRACTION)
def test_sparsities_on_the_way_are_the_runs_to_each_alone(method, optimizer):
    mine = configs(method=method, optimizer=optimizer, sparsity=0.75)
    runs = SideBySide(mine, wide()).train([0.0, 0.6, 0.7])
    wanted = [replace(c, sparsity=s) for s in (0.0, 0.6, 0.7, 0.75) for c in mine]
    assert [run.config for run in runs] == wanted
    assert apart(runs, [alone(c) for c in wanted]) < CLOSE


@pytest.mark.parametrize("early", [True, False])
def test_rows_tell_a_run_that_parts_elsewhere(early, monkeypatch):
    """The mutants: one cut more, or one less, is left to the run that parts."""
    own = LRR._guard_weights

    def other(self):
        own(self)
        self.rounds += -1 if early else 1

    monkeypatch.setattr(LRR, "_guard_weights", other)
    mine = configs(method="lrr", sparsity=0.75)
    runs = SideBySide(mine, wide()).train([0.6])
    rows = [run.rows[-1] for run in runs[:3]]
    assert any(row["kept"] != row["promised"] or row["round"] != 5 for row in rows)


def test_what_cannot_be_stacked_is_told():
    can = {m: side_by_side(Config(method=m)) for m in ("mest", "rigl", "lt", "chex", "chase", "dense")}
    assert can == {"mest": True, "rigl": False, "lt": True, "chex": False, "chase": False, "dense": True}
    assert not side_by_side(Config(method="dense", model="resnet32"))
    for method, model in itertools.product(METHODS, ("mlp", "compact")):
        training = Training(Config(dataset="wide", method=method, model=model, batch=16, epochs=1), wide())
        assert not training.sparse.needs_gradient
        assert not training.sparse.skip_step_on_update
