"""D2 and D3 on planted surfaces, one real cell, and the figures: what is planted is found, and nothing else."""

import math
from dataclasses import asdict, replace
from statistics import fmean

import numpy as np
import pytest
import torch
from evidence_rows import complete, trials

from validation import figures
from validation.cells import read, write
from validation.evidence import report, runs, surfaces
from validation.evidence.experiments import EXPERIMENTS
from validation.evidence.experiments.surface import DECIDES, KINDS, MEASURES, SPARSITIES
from validation.evidence.protocol import Scale
from validation.evidence.runs import MEASURED, Runs, cell
from validation.evidence.surfaces import VARIANTS, measured, shown
from validation.landscape import roughness
from validation.models import MODELS
from validation.standing import INCONCLUSIVE, REFUTED, SUPPORTED
from validation.training import Config
from validation.training.config import seed_for

SCALE = Scale.of(6, epochs=4)
SPARSE = SPARSITIES[1:]
WHERE_IT_DIVERGED = ("landscape", 0.9, "s2sam")
ERROR = 0.001  # standard deviation of a planted number
SMALL = Config(method="mest", sparsity=0.9, optimizer="s2sam", epochs=1, batch=16, train_size=128, validation=0.2)


def planted(numbers, label):
    """Return complete rows; `numbers` says what each landscape row holds, given its configuration."""

    def row(config, measure="training"):
        fields = {k: v for k, v in asdict(config).items() if k not in ("device", "data_dir")}
        row = {"experiment": measure, "validation_accuracy": 0.9, "test_accuracy": 0.9} | fields
        if measure == "training":
            return row
        jitter = np.random.default_rng(seed_for("jitter", repr(config))).normal() * ERROR
        level = np.random.default_rng(config.seed).normal() * 0.1  # a seed's own: pairs and slopes remove it
        given = {name: value + jitter + level for name, value in numbers(config).items()}
        rough = {
            kind: {v: [given.get(f"{kind} ({v})", 1.0 + jitter + level)] * 5 for v in VARIANTS} for kind in KINDS
        }
        side = np.linspace(-1, 1, 5)
        table = 0.1 + config.sparsity + np.add.outer(side**2, 2 * side**2)
        beside = {"top_eigenvalue": 1.0 + jitter, "loss": 0.1 + jitter, "surface": table.tolist()}
        return row | rough | beside

    return complete(EXPERIMENTS[label].comparisons(SCALE), SCALE, row)


def found(label, numbers):
    return EXPERIMENTS[label].judge(Runs(planted(numbers, label)), SCALE)


def growing(config):
    return {DECIDES: 1.0 + 0.5 * config.sparsity}


@pytest.mark.parametrize(
    ("numbers", "expected", "slope"),
    [
        (growing, SUPPORTED, 0.5),
        (lambda c: {DECIDES: 1.0}, INCONCLUSIVE, 0.0),
        (lambda c: {DECIDES: 1.0 - 0.5 * c.sparsity}, REFUTED, -0.5),
        (lambda c: {f"log-{DECIDES}": 1.0 + c.sparsity}, INCONCLUSIVE, 0.0),  # decides nothing
    ],
)
def test_d2_finds_a_slope_of_ra_and_no_other(numbers, expected, slope):
    finding = found("D2", numbers)
    assert finding.verdict == expected
    # a seed's slope is off by ERROR over sqrt(sum (s - mean)^2) = 0.82; their mean by that over sqrt(6); 4 of these
    spread = math.sqrt(sum((s - np.mean(SPARSITIES)) ** 2 for s in SPARSITIES))
    assert finding.effect.mean == pytest.approx(slope, abs=4 * ERROR / spread / math.sqrt(6))
    slopes = [line for line in finding.lines if line.family == "slopes"]
    assert [line.at["measure"] for line in slopes][:1] == [DECIDES]
    assert len(slopes) == len(KINDS) * len(VARIANTS) + 2
    assert sum(line.adjusted < 0.01 for line in slopes) == (numbers(SMALL) != {DECIDES: 1.0})  # the planted one alone


def smoother(*where, by=0.1):
    """S2-SAM's Ra lies lower at these sparsities."""
    return lambda c: {DECIDES: 1.0 - (by if c.optimizer == "s2sam" and c.sparsity in where else 0.0)}


def test_d3_needs_every_sparse_network_and_is_refuted_by_one():
    finding = found("D3", smoother(*SPARSE))
    assert finding.verdict == SUPPORTED
    assert finding.effect.mean == pytest.approx(0.1, abs=4 * ERROR * math.sqrt(2 / 6))
    assert finding.unit == "nats of loss"
    dense = next(x for x in finding.lines if x.at.get("less") == "s2sam" and not x.at["sparsity"])
    assert not dense.effect.low > 0  # it is shown, and decides nothing
    assert found("D3", smoother(*SPARSITIES[2:])).verdict == INCONCLUSIVE
    assert found("D3", smoother(*SPARSE, by=-0.1)).verdict == REFUTED
    mixed = found("D3", lambda c: {DECIDES: 1.0 + (0.1 if (c.optimizer, c.sparsity) == ("s2sam", 0.95) else 0.0)})
    assert mixed.verdict == REFUTED
    assert mixed.effect.mean == pytest.approx(-0.1, abs=4 * ERROR * math.sqrt(2 / 6))


def test_d3_shows_controls_that_do_as_well():
    finding = found("D3", lambda c: {DECIDES: 1.0 - (0.1 if c.optimizer in ("s2sam", "random") else 0.0)})
    assert finding.verdict == SUPPORTED
    controls = {line.name.split()[3]: line for line in finding.lines if line.family == "controls less s2sam"}
    assert controls["sam"].adjusted < 1e-3 < 0.05 < controls["random"].adjusted
    measures = {line.at["measure"] for line in finding.lines if line.family == "measures" and line.adjusted < 1e-3}
    assert measures == {DECIDES}


@pytest.mark.parametrize("mutant", [lambda row: -fmean(row["Ra"][VARIANTS[0]]), lambda row: row["top_eigenvalue"]])
def test_a_sign_turned_round_or_another_number_is_noticed(mutant, monkeypatch):
    runs = {label: Runs(planted(numbers, label)) for label, numbers in (("D2", growing), ("D3", smoother(*SPARSE)))}

    def check():
        verdicts = [EXPERIMENTS[label].judge(found, SCALE).verdict for label, found in runs.items()]
        assert SUPPORTED in verdicts

    check()
    monkeypatch.setitem(MEASURES, DECIDES, mutant)
    with pytest.raises(AssertionError):
        check()


def test_a_network_that_diverged_leaves_its_claim_open(tmp_path):
    rows = planted(smoother(*SPARSE), "D3")
    lost = next(row for row in rows if (row["experiment"], row["sparsity"], row["optimizer"]) == WHERE_IT_DIVERGED)
    lost |= {"Ra": dict.fromkeys(VARIANTS, [math.nan] * 5), "loss": math.nan, "top_eigenvalue": math.nan}
    lost["surface"] = [[math.nan] * 5] * 5
    write(tmp_path / "rows.jsonl", [row | {"cell": i, "cell_rows": 1} for i, row in enumerate(rows)])
    findings = report.judged(read(tmp_path / "rows.jsonl"), ["D3"])
    assert [f.verdict for f in findings] == [INCONCLUSIVE]
    assert all(place.exists() for place in report.write(findings, tmp_path))
    x, y = torch.zeros(10, 1, 8, 8), torch.arange(10)
    network = MODELS["mlp"](side=8)
    torch.nn.init.constant_(network.classifier.bias, math.nan)
    row = measured(network, x, y, {}, planes=1, points=3, seed=0)
    assert all(math.isnan(value) for value in (row["loss"], row["top_eigenvalue"], row["Ra"][VARIANTS[0]][0]))


def test_tuning_is_that_of_d4_and_judged_rows_are_surfaces():
    tuned = trials(EXPERIMENTS["D4"].comparisons(SCALE), SCALE)
    for label in ("D2", "D3"):
        comparisons = EXPERIMENTS[label].comparisons(SCALE)
        assert trials(comparisons, SCALE) <= tuned
        assert {c.measure for c in comparisons} == {"landscape"}
    rows = planted(growing, "D3")
    assert Scale.seen(Runs(rows)) == SCALE  # surfaces alone tell the scale
    assert [f.label for f in report.judged(rows)] == ["D2", "D3"]  # SGD's surfaces serve both
    training = [row | {"experiment": "training"} for row in rows]
    assert report.judged(training) == []  # and a training run is no surface


@pytest.fixture(scope="module")
def row():
    """The row of one real cell, small: few images, planes and points."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"IMAGES": 32, "PLANES": 2, "POINTS": 3}.items():
            patch.setattr(surfaces, name, value)
        (row,) = cell(SMALL, measure="landscape").rows()
    return row


def test_a_cell_trains_as_training_does_and_measures_what_it_left(row, tmp_path):
    (plain,) = cell(SMALL).rows()
    same = {"train_loss", "test_accuracy", "validation_accuracy", "nonzeros", "cost", "warned", "seed", "rho"}
    assert {k: row[k] for k in same} == {k: plain[k] for k in same}
    assert row["experiment"] == "landscape"
    assert MEASURED["landscape"] is Config
    write(tmp_path / "rows.jsonl", [row])
    (stored,) = read(tmp_path / "rows.jsonl")
    assert Runs([stored]).measured("landscape", replace(SMALL, device="cuda")) is stored
    assert len((tmp_path / "rows.jsonl").read_bytes()) < 6000
    ((run, _),) = runs.trained(SMALL)
    x, y = shown(run, 32)
    again = measured(run.model, x, y, run.sparse.masks, planes=2, points=3, seed=0)
    assert {k: row[k] for k in again} == again
    assert set(row["Ra"]) == set(row["log-Ra"]) == set(VARIANTS)
    assert len({tuple(row["Ra"][v]) for v in VARIANTS}) == 4  # sparse, with BatchNorm: no two are the same
    first = roughness(torch.tensor(row["surface"]).double())["Ra"]
    off = 5e-4 * max(map(max, row["surface"]))  # of four digits, at most; a mean deviation moves by twice that
    assert first == pytest.approx(row["Ra"][VARIANTS[0]][0], abs=2 * off)
    assert row["loss"] == pytest.approx(row["surface"][1][1], abs=off)
    assert row["top_eigenvalue"] > 0


def test_what_is_the_same_is_measured_once(monkeypatch):
    calls, before = [], surfaces.surfaces
    monkeypatch.setattr(surfaces, "surfaces", lambda *a, **k: calls.append(k["batchnorm"]) or before(*a, **k))
    x, y = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 10
    row = measured(MODELS["compact"](side=8), x, y, {}, planes=1, points=3, seed=0)
    assert calls == ["fixed", "batch"]  # dense: the support is all of space
    assert row["Ra"]["masked, batch"] == row["Ra"]["unmasked, batch"] != row["Ra"]["masked, fixed"]
    calls.clear()
    row = measured(MODELS["mlp"](side=8), x, y, {}, planes=1, points=3, seed=0)
    assert calls == ["fixed"]  # without BatchNorm there is nothing to take from the images
    assert len({tuple(values) for values in row["Ra"].values()}) == 1


def test_arms_of_a_seed_are_measured_on_the_same_images_along_the_same_gaussians():
    ((one, _),), ((other, _),) = (runs.trained(replace(SMALL, optimizer=arm)) for arm in ("sgd", "s2sam"))
    assert torch.equal(shown(one, 32)[0], shown(other, 32)[0])
    ((third, _),) = runs.trained(replace(SMALL, seed=1))
    assert not torch.equal(shown(one, 32)[0], shown(third, 32)[0])
    assert len(shown(one, 1000)[1]) == 128  # all there are


@pytest.mark.parametrize("label", ["D2", "D3"])
def test_a_figure_has_surfaces_on_one_scale_and_the_numbers_of_its_rows(label):
    finding = found(label, growing)
    with figures.mpl.rc_context(dict(figures.RC)):
        axes = figures.evidence_figure(finding).axes
    arms = [arm for arm in ("sgd", "s2sam") if any(x.at.get("arm") == arm for x in finding.lines)]
    maps = [a for a in axes if a.collections and a.get_box_aspect() == 1]
    assert len(maps) == len(SPARSITIES) * len(arms)
    assert len({(c.norm.vmin, c.norm.vmax) for a in maps for c in a.collections[:1]}) == 1
    means = [x.effect.mean for x in finding.lines if x.family == "levels" and x.at["arm"] == arms[-1]]
    lines = [list(map(float, c.lines[0].get_ydata())) for a in axes for c in a.containers if hasattr(c, "lines")]
    assert means in lines
    fonts = [
        t.get_fontsize() for a in axes for t in (*a.get_xticklabels(), *a.get_yticklabels(), a.title) if t.get_text()
    ]
    assert min(fonts) >= 7


def test_an_incomplete_experiment_is_left_out():
    rows = planted(growing, "D2")
    assert [f.label for f in report.judged(rows)] == ["D2"]
    assert report.judged([row for row in rows if row["experiment"] == "training" or row["sparsity"] < 0.98]) == []
