"""The measurement of directions along a network's training: its oracle, its steps, its draws, its rows."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from s2sam import S2SAM
from s2sam.sparse import RandomMask
from validation import alignment as stored
from validation import figures
from validation.cells import EXPERIMENTS, Cell, read
from validation.datasets import load
from validation.directions import Sampling
from validation.experiments import alignment
from validation.experiments.alignment import MaskedLoss, batches, chosen, flat, moments
from validation.models import CompactCNN

N, RHO = 60, 0.05
CLOSE = 1e-4  # relative: float32 gradients of some 60 images in another order of sums, u = 6e-8, at most 10^3 terms


def trained(momentum=0.9, replacement=False):
    """Return the oracle, the optimizer and the sampling of a small sparse run, as the experiment makes them."""
    torch.manual_seed(3)
    data = load("digits")
    model = CompactCNN(width=4)
    sparse = RandomMask(model, 0.5, "erk", 40, dense_first=True, seed=1)
    opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.05, momentum=momentum, weight_decay=1e-3), rho=RHO)
    sparse.attach(opt)
    masks = sparse.masks
    keep = [masks.get(name, torch.ones_like(p)).reshape(-1).float() for name, p in model.named_parameters()]
    loss = MaskedLoss(model, data.x_train[:N], data.y_train[:N], torch.cat(keep))
    return loss, opt, Sampling(N, 10, replacement)


def test_the_oracle_is_the_network_image_by_image():
    loss, _, _ = trained()
    w, names = flat(loss.model), dict(loss.model.named_parameters())
    each = []
    for x, y in zip(loss.x, loss.y, strict=True):
        gradient = torch.autograd.grad(cross_entropy(loss.model(x[None]), y[None]), list(names.values()))
        each.append(torch.cat([g.reshape(-1) for g in gradients_masked(gradient, loss)]).double())
    each = torch.stack(each)
    full = each.mean(0)
    assert float((loss.full(w) - full).norm()) < CLOSE * float(full.norm())
    index = torch.tensor([3, 3, 50])  # with a sample twice, as drawn with replacement
    batch = each[index].mean(0)
    assert float((loss.batch(w, index) - batch).norm()) < CLOSE * float(batch.norm())
    variance = float(((each - full) ** 2).sum(1).mean())
    assert loss.variance(w) == pytest.approx(variance, rel=CLOSE)
    assert loss.loss(w) == pytest.approx(cross_entropy(loss.model(loss.x), loss.y).item(), rel=CLOSE)
    assert not loss.full(w)[loss.keep == 0].any()


def gradients_masked(gradients, loss):
    sizes = [g.numel() for g in gradients]
    return [g.reshape(-1) * keep for g, keep in zip(gradients, loss.keep.split(sizes), strict=True)]


def stale_is_the_gradient_at_y(oracle, found):
    for _, m in found:
        expected = oracle.batch(m.y.float(), m.used)
        assert float((m.stale - expected).norm()) < CLOSE * float(expected.norm())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("replacement", [False, True])
def test_a_moment_is_what_the_optimizer_did(momentum, replacement):
    loss, opt, sampling = trained(momentum, replacement)
    found = list(moments(loss, opt, sampling, steps=40, at={1, 2, 6, 7}, seed=0))
    assert [t for t, _ in found] == [1, 2, 6, 7]
    stale_is_the_gradient_at_y(loss, found)
    by = dict(found)
    assert torch.equal(by[2].before, by[1].w)
    assert torch.equal(by[7].used, by[6].batch)
    for before, after in ((1, 2), (6, 7)):  # y - w = rho n(g): of length rho, along the direction then held
        moved = (by[after].y - by[before].w).double()
        g = by[before].stale
        assert float((moved - RHO * g / g.norm()).norm()) < CLOSE * RHO * 10  # differences of weights of size 1
    if not replacement:  # epochs of 6 batches: steps 0 ... 5, 6 ... 11
        assert [m.joint for _, m in found] == [True, True, False, True]
        assert not set(by[7].batch.tolist()) & set(by[7].used.tolist())
    else:
        assert not any(m.joint for _, m in found)


def test_another_gradient_in_the_place_of_the_stale_one_is_seen(monkeypatch):
    loss, opt, sampling = trained()
    monkeypatch.setattr(S2SAM, "direction", lambda self, p: torch.ones_like(p))
    found = list(moments(loss, opt, sampling, steps=40, at={2, 3}, seed=0))
    with pytest.raises(AssertionError):
        stale_is_the_gradient_at_y(loss, found)


def test_what_is_measured_leaves_the_run_as_it_is():
    ends = []
    for at in ({8}, {1, 3, 8}):
        loss, opt, sampling = trained()
        for _, m in moments(loss, opt, sampling, steps=40, at=at, seed=0):
            loss.variance(m.w)
            loss.full(m.y)
            end = m
        ends.append(end)
    assert torch.equal(ends[0].w, ends[1].w)
    assert torch.equal(ends[0].stale, ends[1].stale)


def test_epochs_hold_every_sample_once_and_what_is_left_is_dropped():
    source = batches(Sampling(11, 3, False), 0)
    drawn = [next(source) for _ in range(6)]
    assert [epoch for epoch, _ in drawn] == [0, 0, 0, 1, 1, 1]
    for k in (0, 3):
        seen = torch.cat([part for _, part in drawn[k : k + 3]]).tolist()
        assert len(set(seen)) == 9
    other = [next(source)[1].tolist() for source in [batches(Sampling(11, 3, True), 0)] for _ in range(40)]
    assert any(len(set(part)) < 3 for part in other)  # a sample comes twice; of 40 draws none with probability 1e-6


def test_measured_steps_lie_in_their_stage():
    for seed in range(20):
        found = chosen(200, 2, seed)
        assert all(4 <= t < 12 < 20 for t in found["early"][:1])
        assert all(4 <= t < 20 for t in found["early"])
        assert all(90 <= t < 110 for t in found["middle"])
        assert all(180 <= t < 196 for t in found["late"])
        assert [len(steps) for steps in found.values()] == [2, 2, 2]
    assert {t for seed in range(200) for t in chosen(200, 1, seed)["late"]} == set(range(180, 196))
    assert chosen(10, 3, 0)["early"] == [1]


SMALL = {
    "dataset": "digits", "images": 120, "width": 4, "batch": 20, "sparsity": 0.8, "alpha": 0.5, "momentum": 0.9,
    "rho": 0.05, "steps": 20, "replacement": False, "measure": 1,
}  # fmt: skip


def test_rows_are_functions_of_the_seed_and_seeds_are_independent_runs():
    rows = list(EXPERIMENTS["network_alignment"](seeds=2, seed=0, **SMALL))
    torch.manual_seed(99)  # nothing depends on the global generator, and it is left alone
    state = torch.get_rng_state()
    again = list(EXPERIMENTS["network_alignment"](seeds=2, seed=0, **SMALL))
    assert torch.equal(torch.get_rng_state(), state)
    assert rows == again
    assert [r["stage"] for r in rows] == ["early", "middle", "late"]
    (late,) = [r for r in EXPERIMENTS["network_alignment"](seeds=1, seed=1, **SMALL) if r["stage"] == "late"]
    assert late["values"]["stale_full"] == rows[2]["values"]["stale_full"][1:]
    assert rows[0]["values"]["stale_full"][0] != rows[0]["values"]["stale_full"][1]
    for r in rows:
        assert all(len(v) == 2 for v in r["values"].values())
        assert all(
            -1.00001 <= x <= 1.00001 for k in ("stale_full", "batch_full", "stale_batch") for x in r["values"][k]
        )


def test_the_stored_grid_is_the_protocols():
    cells = [dict(c.options) for c in alignment.whole()]
    main = [c for c in cells if c["dataset"] == "digits" and c["momentum"] == 0.9 and not c["replacement"]]
    assert len(cells) == 6 * (6 + 4 + 1 + 3)
    assert {(c["batch"], c["sparsity"]) for c in main} == {
        (b, s) for b in alignment.BATCHES for s in alignment.SPARSITIES
    }
    assert {c["seeds"] for c in main if c["sparsity"] in (0.0, 0.9, 0.98)} == {10}
    assert {c["seeds"] for c in cells if c not in main} == {5}


def row(batch=32, sparsity=0.0, stage="middle", momentum=0.9, replacement=False, family="digits", **values):
    """Return a row of two seeds, as stored; the cosines not given fall from SAM's direction to the stale one."""
    fixed = {"fresh_batch": [0.8, 0.6], "used_batch": [0.7, 0.5], "before_batch": [0.5, 0.4], "stale_batch": [0.3, 0.2]}
    fixed |= {"batch_full": [0.8, 0.6], "stale_full": [0.5, 0.4], "log10_r": [0.0, 2.0]}
    fixed |= {name: [0.6, 0.8] for name in ("noise_full", "noise_stale_full", "noise_stale_batch")}
    at = {"batch": batch, "sparsity": sparsity, "momentum": momentum, "replacement": replacement, "dataset": family}
    return {"family": family, "stage": stage, "at": at, "seeds": 2, "values": fixed | values}


def test_a_line_is_the_mean_over_seeds_with_its_interval():
    heads, (line,) = stored.table([row()])
    # two seeds 0.2 apart: half length 12.706 * 0.2/2 = 1.27; 0.1 apart: 0.64
    expected = [
        "digits",
        "0 %",
        "32",
        "middle",
        "10",
        "0.70±1.27",
        "0.70",
        "0.45±0.64",
        "0.70",
        "",
        "0.25±0.64",
        "0.70",
    ]
    assert line == [*expected, "0.70±1.27", "2"]
    assert len(heads) == len(line)


def test_lines_go_by_task_sparsity_batch_and_time():
    rows = [row(64, 0.9, "late"), row(64, 0.9, "early"), row(16, 0.9), row(512), row(16, family="a")]
    lines = stored.table(rows)[1]
    assert [tuple(line[1:4]) for line in lines[1:]] == [
        ("0 %", "512", "middle"), ("90 %", "16", "middle"), ("90 %", "64", "early"), ("90 %", "64", "late")
    ]  # fmt: skip
    assert lines[0][0] == "a"
    assert stored.chosen(rows, stage="early", batch=64) == [rows[1]]
    assert stored.chosen(rows, dataset="digits", sparsity=0.0) == [rows[3]]


def test_the_share_is_a_quotient_of_means_whose_interval_knows_the_pairs():
    exact = stored.share(row(batch_full=[0.8, 0.7], stale_full=[0.4, 0.35]))  # one half for each seed: no doubt
    assert exact.mean == pytest.approx(0.5)
    assert exact.half == pytest.approx(0.0, abs=1e-12)
    # u - q v with q = 0.5: +0.1, -0.1 -> half length 12.706 * 0.1, over the mean 0.75 of SAM's cosine
    paired = stored.share(row(batch_full=[0.8, 0.7], stale_full=[0.5, 0.25]))
    assert paired.half == pytest.approx(12.7062 * 0.1 / 0.75, rel=1e-4)
    assert stored.share(row(batch_full=[0.2, -0.1])).half == float("inf")


def test_what_is_lost_adds_up():
    lost = stored.losses(row())
    assert [m.mean for m in lost] == pytest.approx([0.3, 0.1, 0.15, 0.2])
    assert sum(m.mean for m in lost) == pytest.approx(1 - 0.25)


def test_the_figure_has_a_mark_for_every_mean_of_its_panels():
    rows = [row(b, s, stage) for b in (16, 64) for s in (0.0, 0.9, 0.98) for stage in alignment.STAGES]
    aside = [row(16, 0.0, momentum=0.0), row(16, 0.0, replacement=True), row(16, 0.0, family="fashion-mnist")]
    figure = figures.alignment.alignment(rows + aside)
    for panel in figure.axes[:5]:
        means = [line for line in panel.lines if line.get_marker() in ("s", "D", "^")]
        assert [len(line.get_xdata()) for line in means] == [2, 2, 2]
        assert sorted(y for line in means for y in line.get_ydata()) == pytest.approx(
            [0.25] * 2 + [0.45] * 2 + [0.7] * 2
        )
    collapsed = [line for line in figure.axes[5].lines if line.get_marker() in ("s", "D", "^", "x")]
    assert [len(line.get_xdata()) for line in collapsed] == [*[len(rows) + 2] * 3, 1]  # one row is without momentum
    assert len(figures.alignment.alignment(rows[:3]).axes) == 6  # panels without rows stay empty


def test_the_command_measures_once_draws_prints_and_packs(tmp_path, monkeypatch, capsys):
    cell = Cell.of("network_alignment", seeds=2, seed=0, **SMALL)
    monkeypatch.setattr(stored, "whole", lambda: [cell])
    monkeypatch.setattr(stored, "afterwards", list)
    monkeypatch.setattr(stored, "stored", lambda: tmp_path / "packed" / "alignment.jsonl.gz")
    (tmp_path / "packed").mkdir()
    monkeypatch.setattr("sys.argv", ["alignment", str(tmp_path / "out"), "--pack"])
    stored.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1/1 digits, 80 % zeros, batch 20"
    assert [line.split(" | ")[3] for line in lines[1:]] == ["stage", "early", "middle", "late"]
    assert read(stored.stored()) == read(tmp_path / "out" / "rows.jsonl")
    assert (tmp_path / "packed" / "alignment.svg").exists()
    stored.main()
    assert capsys.readouterr().out.splitlines() == lines[1:]  # the finished cell is not run again


def test_the_committed_rows_are_the_protocols_and_redraw(tmp_path):
    rows = read(stored.stored())
    grid = {tuple(sorted(dict(c.options).items())): dict(c.options) for c in alignment.whole() + stored.afterwards()}
    found = [tuple(sorted({**r["at"], "seeds": r["seeds"], "seed": r["seed"]}.items())) for r in rows]
    assert sorted(map(str, found)) == sorted(str(options) for options in grid for _ in alignment.STAGES)
    for r in rows:
        assert all(len(values) == r["seeds"] for values in r["values"].values())
    drawn = figures.draw_alignment(rows, tmp_path / "alignment.svg")
    assert "<svg" in drawn.read_text()
    assert "<svg" in (stored.stored().parent / "alignment.svg").read_text()
