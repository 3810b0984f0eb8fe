"""D8 on planted errors and on a small network: what is planted is found, all arms see the same images."""

import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from evidence_rows import complete, trials

from validation import figures
from validation.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from validation.datasets import digits, load
from validation.evidence import report
from validation.evidence.corrupted import errors
from validation.evidence.experiments import EXPERIMENTS, corruption
from validation.evidence.protocol import BASES, TUNING, Scale, sparse
from validation.evidence.runs import Runs, cell
from validation.standing import INCONCLUSIVE, REFUTED, SUPPORTED
from validation.training.config import seed_for

SCALE = Scale.of(6, epochs=4)
D8 = EXPERIMENTS["D8"]


def planted(gain, clean=0.0, noise=0.001):
    """Return complete rows in which S2-SAM gains gain(kind, sparsity) on corrupted images and `clean` on clean ones."""

    def row(config, measure):
        rng = np.random.default_rng(seed_for("jitter", config.optimizer, str(config.sparsity), config.seed, measure))
        level = np.random.default_rng(config.seed).normal() * 0.03  # a seed's own: pairs remove it
        ours = config.optimizer == "s2sam"
        fields = {k: v for k, v in asdict(config).items() if k not in ("device", "data_dir")}
        fields |= {"experiment": measure, "validation_accuracy": 0.9, "test_accuracy": 0.9 + level + clean * ours}
        if measure == "corruption":
            fields["errors"] = {
                kind: [0.1 * s - level - gain(kind, config.sparsity) * ours + rng.normal() * noise for s in SEVERITIES]
                for kind in CORRUPTIONS
            }
        return fields

    return complete(D8.comparisons(SCALE), SCALE, row)


def found(*arguments, **options):
    return D8.judge(Runs(planted(*arguments, **options)), SCALE)


def lines(finding, family):
    return [line for line in finding.lines if line.family == family]


@pytest.mark.parametrize(("points", "expected"), [(1.0, SUPPORTED), (0.0, INCONCLUSIVE), (-1.0, REFUTED)])
def test_a_gain_on_corrupted_images_is_found_and_no_other(points, expected):
    finding = found(lambda kind, sparsity: points / 100 if sparsity else 0.0)
    assert finding.verdict == expected
    # a run's mean over 65 numbers is off by 0.1/sqrt(65) points, a gain by sqrt(2) that, its mean of 18 pairs by less
    assert finding.effect.mean == pytest.approx(points, abs=4 * 0.1 * (2 / 65 / 18) ** 0.5)
    assert lines(finding, "dense")[0].effect.mean == pytest.approx(0, abs=4 * 0.1 * (2 / 65 / 6) ** 0.5)
    means = {line.name: line.effect.mean for line in lines(finding, "controls")}
    assert {round(v, 1) for k, v in means.items() if k.startswith("s2sam")} == {points}
    assert {abs(round(v, 1)) for k, v in means.items() if not k.startswith("s2sam")} == {0.0}
    # errors of SGD are 30 % in the mean: one point of them is 1/30 of mCE, and a seed's level 10 % of that
    assert lines(finding, "mCE")[0].effect.mean == pytest.approx(points / 30 * 100, abs=0.4)


def test_a_dense_gain_decides_nothing():
    assert found(lambda kind, sparsity: 0.0 if sparsity else 0.05).verdict == INCONCLUSIVE


def test_a_gain_in_one_kind_is_told_from_the_others():
    finding = found(lambda kind, sparsity: 0.02 * (kind == "fog"))
    helped = [line.at["kind"] for line in lines(finding, "kinds") if line.effect.mean > 1 and line.adjusted < 0.05]
    assert helped == ["fog"]
    assert len(lines(finding, "kinds")) == 13


@pytest.mark.parametrize("clean", [0.0, 0.01])
def test_robustness_is_what_lies_above_the_gain_on_clean_images(clean):
    finding = found(lambda kind, sparsity: 0.01, clean)
    assert lines(finding, "clean images")[0].effect.mean == pytest.approx(100 * clean, abs=1e-9)
    # as above: the noise of corrupted accuracies alone
    above = pytest.approx(1 - 100 * clean, abs=4 * 0.1 * (2 / 65 / 18) ** 0.5)
    assert lines(finding, "above clean")[0].effect.mean == above


def test_arms_left_unpaired_would_not_find_it():
    """The same numbers with SGD's seeds in another order: the seed's level, 3 points, hides a gain of 1."""
    rows = planted(lambda kind, sparsity: 0.01)
    judged = [row for row in rows if row["experiment"] == "corruption" and row["optimizer"] == "sgd"]
    others = {(row["sparsity"], (row["seed"] + 1) % 6): row["errors"] for row in judged}
    mixed = [row | {"errors": others[row["sparsity"], row["seed"]]} if row in judged else row for row in rows]
    assert D8.judge(Runs(mixed), SCALE).verdict == INCONCLUSIVE


def test_a_kind_without_errors_has_no_quotient_and_is_left_out():
    rows = planted(lambda kind, sparsity: 0.01)
    for row in (row for row in rows if "errors" in row):
        row["errors"]["fog"] = [0.0] * 5
    assert np.isfinite(lines(D8.judge(Runs(rows), SCALE), "mCE")[0].effect.mean)
    for row in (row for row in rows if "errors" in row):
        row["errors"] = {kind: [0.0] * 5 for kind in CORRUPTIONS}
    assert lines(D8.judge(Runs(rows), SCALE), "mCE")[0].effect.mean == 0


def test_it_is_judged_when_it_is_complete_only():
    rows = planted(lambda kind, sparsity: 0.01)
    assert [f.label for f in report.judged(rows)] == ["D8"]
    assert not report.judged(rows[:-1])


def test_it_shares_its_trials_with_d4():
    assert trials(D8.comparisons(SCALE), SCALE) <= trials(EXPERIMENTS["D4"].comparisons(SCALE), SCALE)


def test_the_figure_shows_every_kind_and_arm():
    finding = found(lambda kind, sparsity: 0.01)
    with figures.mpl.rc_context(dict(figures.RC)):
        left, right = figures.evidence_figure(finding).axes
    shown = [[float(x) for x in c.lines[0].get_xdata()] for c in left.containers]
    levels = [line.at["error"] for line in lines(finding, "kinds")]
    assert shown == [[level[arm]["mean"] for level in levels] for arm in corruption.ARMS]
    gains = [float(x) for x in right.containers[0].lines[0].get_xdata()]
    # a gain is the one error less the other, means of the same 90 numbers near 30, summed in another order in float64
    assert gains == pytest.approx([e["sgd"]["mean"] - e["s2sam"]["mean"] for e in levels], abs=90 * 100 * 2**-52)


class Reader(torch.nn.Module):
    """A network that names a wrong class for every image that is not among those it has seen."""

    def __init__(self, seen, labels):
        super().__init__()
        self.seen, self.labels = seen, labels

    def forward(self, x):
        near = torch.cdist(x.flatten(1).double(), self.seen.flatten(1).double())
        logits = torch.zeros(len(x), 11, dtype=torch.float64)
        known = near.min(1)
        places = torch.where(known.values < 1e-3, self.labels[known.indices], torch.tensor(10))
        return logits.scatter(1, places[:, None], 1.0)


def check_images(measure):
    """What the network is shown are corrupted pixels, standardised as the images it was trained on."""
    images, labels = digits()[0][:40], digits()[1][:40]
    data = load("digits")
    low, high = float(data.x_train.min()), float(data.x_train.max())
    shown = corrupted(images, "fog", 3, seed=5) * (high - low) + low
    found = measure(Reader(shown, labels), images * (high - low) + low, labels, scale=(low, high), seed=5)
    assert found["fog"][2] == 0.0
    assert all(e == 1.0 for kind, values in found.items() for s, e in enumerate(values) if (kind, s) != ("fog", 2))


def test_corruptions_are_made_of_pixels_and_standardised_again():
    check_images(errors)


@pytest.mark.parametrize(
    "change", [{"scale": (0.0, 1.0)}, {"scale": (-1.0, 2.0)}, {"seed": 6}], ids=["standardised", "another", "seed"]
)
def test_images_on_another_scale_or_of_another_seed_are_noticed(change):
    with pytest.raises(AssertionError):
        check_images(lambda *arguments, **options: errors(*arguments, **options | change))


def test_training_images_use_the_whole_range_of_pixels():
    x = load("digits").x_train
    pixels = (x - x.min()) / (x.max() - x.min()) * 16
    # float32 of values up to 16, after four operations: 16 * 4 * 2^-24; the pixels are the integers 0 to 16
    assert float((pixels - pixels.round()).abs().max()) <= 16 * 4 * 2**-23
    assert sorted(set(pixels.round().flatten().int().tolist())) == list(range(17))


def test_a_cell_is_the_training_cell_and_its_errors():
    base = replace(sparse(BASES["digits"], 0.8), model="mlp", epochs=1, batch=512, optimizer="s2sam", seed=TUNING)
    (one,), (again,), (trained,) = (cell(base, measure=m).rows() for m in ("corruption", "corruption", "training"))
    assert one["errors"] == again["errors"]
    assert one["errors"].keys() == CORRUPTIONS.keys()
    assert all(len(values) == 5 and all(0 <= e <= 1 for e in values) for values in one["errors"].values())
    differ = {name for name in trained if name in one and trained[name] != one[name]}
    assert differ <= {"cell", "experiment", "seconds"}
    assert "history" not in one
    assert Runs([one]).measured("corruption", base) is one
    assert one["warned"] == trained["warned"]


def test_the_list_of_experiments_registers_what_they_measure():
    text = "from validation.evidence.experiments import EXPERIMENTS; from validation.evidence.runs import MEASURED; "
    command = [sys.executable, "-c", text + "assert {'corruption', 'translation'} <= MEASURED.keys()"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_worker_finds_the_experiment_where_it_is_registered():
    from validation.executors import work

    base = replace(BASES["digits"], model="mlp", epochs=1, batch=512)
    (row,) = work("validation.evidence.corrupted", cell(base, measure="corruption"))
    assert row["experiment"] == "corruption"
