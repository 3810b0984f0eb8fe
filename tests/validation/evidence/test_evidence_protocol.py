"""Protocol and experiments on planted accuracies: what is planted is found, what is not is not, nothing leaks."""

import inspect
import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from evidence_rows import at, best_of, complete, finals, score, trials

from validation import figures
from validation.corruptions import CORRUPTIONS
from validation.evidence import report
from validation.evidence.experiments import EXPERIMENTS as ALL
from validation.evidence.experiments.price import LITTLE
from validation.evidence.experiments.surface import KINDS
from validation.evidence.protocol import ARMS, BASES, NOISY, TRIALS, TUNING, Comparison, Scale, planned, sparse
from validation.evidence.runs import IMAGES, Runs, weight
from validation.evidence.statistics import effect
from validation.evidence.surfaces import VARIANTS
from validation.evidence.tuning import Trials, search
from validation.evidence.verdict import Line, conjunction, verdict
from validation.standing import INCONCLUSIVE, REFUTED, SUPPORTED
from validation.training import Config
from validation.training.config import seed_for
from validation.training.data import carved

EXPERIMENTS = {label: e for label, e in ALL.items() if e.of == "images"}
SCALE = Scale.of(6, epochs=4)
BEST = {arm: best_of(tried, 2, 2) for arm, tried in TRIALS.items()}  # planted
BESIDE = {  # what other experiments measure
    "landscape": lambda measured: flat(1 - measured["test_accuracy"]),
    "corruption": lambda measured: {"errors": {kind: [1 - measured["test_accuracy"]] * 5 for kind in CORRUPTIONS}},
}


def flat(level):
    """What a landscape cell measures where all of it is one number."""
    numbers = {variant: [level] * 5 for variant in VARIANTS}
    return dict.fromkeys(KINDS, numbers) | {"top_eigenvalue": level, "loss": level, "surface": [[level] * 3] * 3}


def planted(accuracy, labels=tuple(EXPERIMENTS), scale=SCALE, noise=0.001):
    """Return the rows that the experiments ask for, with an accuracy planted for each configuration."""

    def row(config, measure="training"):
        name = repr(config).replace("augment='none', ", "")  # a field that came later draws no other noise
        jitter = np.random.default_rng(seed_for("jitter", name)).normal() * noise
        level = np.random.default_rng(config.seed).normal() * 0.05  # a seed's own, ten times any gain: pairs remove it
        fields = {k: v for k, v in asdict(config).items() if k not in ("device", "data_dir")}
        measured = {"test_accuracy": accuracy(config) + level + jitter}
        measured["validation_accuracy"] = 0.9 + score(config, BEST[config.optimizer])
        return {"experiment": measure} | fields | measured | BESIDE.get(measure, lambda _: {})(measured)

    comparisons = [c for label in labels for c in EXPERIMENTS[label].comparisons(scale)]
    return complete(comparisons, scale, row)


def found(label, accuracy, **options):
    runs = Runs(planted(accuracy, (label,), **options))
    return EXPERIMENTS[label].judge(runs, options.get("scale", SCALE))


def at_best(config):
    """Whether the run is one at its arm's best trial."""
    return at(BEST[config.optimizer], config)


def growing(config):
    return 0.8 + (0.01 * config.sparsity if config.optimizer == "s2sam" else 0.0)


def level(config):
    return 0.8 + (0.01 if config.optimizer == "s2sam" else 0.0)


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [(growing, SUPPORTED), (level, INCONCLUSIVE), (lambda c: 1.6 - growing(c), REFUTED)],
)
def test_d4_finds_a_trend_that_is_there_and_no_other(accuracy, expected):
    finding = found("D4", accuracy)
    assert finding.verdict == expected
    planted_slope = {SUPPORTED: 1.0, INCONCLUSIVE: 0.0, REFUTED: -1.0}[expected]  # points from 0 to 100 %
    # a gain is off by sqrt(2) 0.1 points; its slope by that over sqrt(sum (s - mean)^2) = 0.99; of six seeds, 4 errors
    assert finding.effect.mean == pytest.approx(planted_slope, abs=4 * 0.1 * math.sqrt(2) / 0.99 / math.sqrt(6))
    gains = {line.at["sparsity"]: line for line in finding.lines if line.at.get("arm") == "s2sam"}
    assert [gains[s].reference for s in (0.0, 0.9, 0.98)] == [0.41, 0.87, 2.0]
    assert gains[0.99].reference is None
    assert {line.at.get("arm") for line in finding.lines} == {*ARMS[1:], None}


def test_d5_needs_every_method_and_is_refuted_by_one():
    def one_hurt(config):
        return level(config) - (0.02 if (config.method, config.optimizer) == ("set", "s2sam") else 0.0)

    def one_idle(config):
        return level(config) - (0.01 if (config.method, config.optimizer) == ("set", "s2sam") else 0.0)

    assert found("D5", level).verdict == SUPPORTED
    refuted = found("D5", one_hurt)
    assert refuted.verdict == REFUTED
    assert refuted.effect.mean == pytest.approx(-1, abs=0.2)
    assert found("D5", one_idle).verdict == INCONCLUSIVE
    assert len(refuted.lines) == 11 + 33


def test_d6_is_about_a_margin_and_counts_evaluations():
    def behind(points):
        return lambda config: 0.8 + (0.0 if config.optimizer != "s2sam" else -points / 100)

    assert found("D6", behind(0.1)).verdict == SUPPORTED
    assert found("D6", behind(LITTLE)).verdict == INCONCLUSIVE
    assert found("D6", behind(1.0)).verdict == REFUTED
    configs = finals(EXPERIMENTS["D6"].comparisons(SCALE), SCALE)
    cost = {(c.optimizer, c.epochs): c.epochs * (2 if c.optimizer == "sam" else 1) for c in configs}
    once = dict.fromkeys([(arm, 4) for arm in ("sgd", "s2sam", "random", "unmasked")], 4)
    assert cost == once | {("sam", 4): 8, ("sam", 2): 4}  # sam-half: equal evaluations


def test_d7_reads_the_rounds_both_ways_and_decides_by_exact_landing():
    fraction = {"lt": 0.2, "lt-30": 0.3, "lt-40": 0.4}

    def more(config):
        return 0.8 + (0.1 * fraction.get(config.method, 0) if config.optimizer == "s2sam" else 0.0)

    def only_as_stated(config):
        return 0.8 if config.sparsity == 0.9 else more(config)

    assert found("D7", more).verdict == SUPPORTED
    other = found("D7", only_as_stated)
    assert other.verdict == INCONCLUSIVE
    assert {line.family: round(line.effect.mean) for line in other.lines} == {"exact": 0, "as stated": 4}


def test_the_map_finds_its_slopes_and_its_regimes():
    def noisy(config):
        return 0.6 + (0.05 * config.label_noise if config.optimizer == "s2sam" else 0.0)

    finding = found("R", noisy)
    assert finding.verdict == SUPPORTED
    assert finding.effect.mean == pytest.approx(5, abs=0.5)
    slopes = [line for line in finding.lines if line.family == "slopes"]
    assert slopes[0].adjusted < 1e-3 < slopes[1].adjusted
    helped = {(x.at["noise"] > 0) for x in finding.lines if x.family == "regimes" and x.adjusted < 0.05}
    assert helped == {True}
    controls = [round(line.effect.mean) for line in finding.lines if line.family == "controls"]
    assert controls == [2, 2, 0, 0]  # 0.05 of 0.4, in points: over random directions and SAM, and these over SGD
    steps = {weight("trained", c.base) for c in EXPERIMENTS["R"].comparisons(Scale.of(3)) if not c.base.sparsity}
    assert max(steps) / min(steps) < 2.3  # about 340 steps, with 20, 68 or 170 evaluations between them


def test_trials_are_as_many_for_every_arm_and_the_validation_part_alone_chooses():
    for each, number in ((TRIALS, 9), (NOISY, 14)):
        assert {len(tried.first) + len(tried.then) + len(tried.near) for tried in each.values()} == {number}
        assert each.keys() == TRIALS.keys()
        ends = {(min(rates), max(rates)) for rates in ([t["lr"] for t in tried.first] for tried in each.values())}
        assert len(ends) == 1  # no arm has a range that others lack
    rows = planted(lambda config: 0.1 if at_best(config) else 0.9, ("D4", "D6"))  # test accuracy would choose otherwise
    judged = [row for row in rows if row["seed"] < TUNING]
    assert all(at_best(Config(**{k: row[k] for k in ("method", "optimizer", "lr", "rho")})) for row in judged)
    comparison, runs = Comparison(sparse(SCALE.base, 0.9), ARMS), Runs(rows)
    assert {arm: comparison.chosen(runs, SCALE, arm) for arm in ARMS} == {arm: BEST[arm] for arm in ARMS}
    leak = [row | {"test_accuracy": 1.0} if row["seed"] >= TUNING else row for row in rows]
    assert comparison.gain(Runs(leak), SCALE) == comparison.gain(runs, SCALE)


def test_rho_is_tried_at_the_best_rate_and_not_before_it_is_known():
    rows = planted(level, ("D6",))
    dense = EXPERIMENTS["D6"].comparisons(SCALE)[0]
    rates = [row for row in rows if row["rho"] == 0.05 and row["seed"] >= TUNING]

    def check(rows, rate):
        asked = [x for _, x in dense.lacking(Runs(rows), SCALE) if x.optimizer == "s2sam"]
        assert {(x.lr, x.rho) for x in asked} == {(rate, rho) for rho in (0.02, 0.1, 0.2, 0.4)}
        assert {x.seed for x in asked} == set(range(TUNING, TUNING + SCALE.tuning))

    check(rates, 0.2)
    assert {x.rho for _, x in dense.lacking(Runs([]), SCALE)} == {0.05}
    with pytest.raises(AssertionError):
        check(rates, 0.1)  # the first rate, as plans are made
    with pytest.raises(KeyError):
        dense.chosen(Runs(rates), SCALE, "s2sam")
    plan = planned([(dense, SCALE)], Runs(()))
    assert len(plan) == len(rows) / 11 * 5  # as many as are run; the dense regime has five of the eleven arms
    assert len(planned([(dense, SCALE)], Runs(rates))) == len(plan) - len([x for x in rates if x["method"] == "dense"])


@pytest.mark.parametrize(
    ("arm", "best", "beyond"),
    [
        ("sgd", 0.00312, {0.0177, 0.0125, 0.00884, 0.00625, 0.00442, 0.00312, 0.00221, 0.00156}),
        ("sgd", 1.13, {0.566, 0.8, 1.13, 1.6}),
        ("s2sam", 0.00313, {0.0125, 0.00625, 0.00313, 0.00156}),
        ("s2sam", 0.4, {0.8}),
        ("sam", 0.2, set()),
    ],
)
def test_a_range_goes_on_while_its_end_is_best_and_no_longer(arm, best, beyond):
    comparison, tried = Comparison(sparse(SCALE.base, 0.9), (arm,)), set()

    def row(config, measure):
        tried.add(config.lr)
        return bare(config, measure, abs(math.log(config.lr / best)))

    rows = complete([comparison], SCALE, row)
    assert tried == {trial["lr"] for trial in TRIALS[arm].first} | beyond
    assert comparison.chosen(Runs(rows), SCALE, arm)["lr"] == best
    found, _ = search(Trials(*TRIALS[arm][:2]), lambda trials: [-abs(math.log(t["lr"] / best)) for t in trials])
    assert found["lr"] in (0.025, 0.2, 0.4)  # without going on


def bare(config, measure, distance):
    """Return a row that chooses: the better, the less the distance."""
    fields = {k: v for k, v in asdict(config).items() if k not in ("device", "data_dir")}
    return fields | {"experiment": measure, "validation_accuracy": -distance}


def test_with_wrong_labels_no_arm_stops_at_a_maximum_by_chance():
    def chosen(noise):
        comparison = Comparison(replace(sparse(SCALE.base, 0.9), label_noise=noise), ARMS)

        def row(config, measure):
            """Level above 0.02, a little higher at 0.1; much higher below, best near 0.003."""
            low = 0.3 - 0.01 * abs(math.log(config.lr / 3e-3)) if config.lr < 0.02 else 0.001 * (config.lr == 0.1)
            return bare(config, measure, -low)

        return {c.lr for c in comparison.choices(Runs(complete([comparison], SCALE, row)), SCALE)}

    assert max(chosen(0.4)) < 4e-3
    assert chosen(0.0) == {0.1}  # what a range that goes on would have done


def test_radii_go_on_upwards_alone():
    comparison = Comparison(SCALE.base, ("s2sam",))

    def rhos(best):
        def row(config, measure):
            return bare(config, measure, abs(math.log(config.rho / best)) + abs(math.log(config.lr / 0.1)))

        rows = complete([comparison], SCALE, row)
        return {row["rho"] for row in rows}, comparison.chosen(Runs(rows), SCALE, "s2sam").get("rho")

    given = {0.02, 0.05, 0.1, 0.2, 0.4}
    assert rhos(1.6) == (given | {0.8, 1.6, 3.2}, 1.6)
    assert rhos(1e-3) == (given, 0.02)
    assert rhos(0.05) == (given, None)


def test_arms_of_a_seed_share_all_but_their_trial():
    for experiment in EXPERIMENTS.values():
        for comparison in experiment.comparisons(SCALE):
            configs = finals([comparison], SCALE)
            same = {replace(c, optimizer="sgd", rho=0.05, lr=0.1, seed=0, epochs=1) for c in configs}
            assert len(same) == 1
            assert {c.validation for c in configs} == {0.2}
            assert {(c.method == "dense", c.sparsity == 0) for c in configs} <= {(True, True), (False, False)}
    assert not {c.seed for c in configs} & {c.seed for c in trials([comparison], SCALE)}


def test_every_arm_is_tuned_in_the_very_regime_it_is_judged_in():
    def regime(config):  # what arms and trials do not set
        return replace(config, optimizer="sgd", rho=0.05, lr=0.1, seed=0, epochs=1)

    for experiment in EXPERIMENTS.values():
        for comparison in experiment.comparisons(SCALE):
            assert {regime(c) for c in trials([comparison], SCALE)} == {regime(comparison.base)}


def test_experiments_share_runs_and_tuning_at_equal_regimes():
    d4, d6, d8 = (EXPERIMENTS[label].comparisons(SCALE) for label in ("D4", "D6", "D8"))
    assert trials(d8, SCALE) <= trials(d4, SCALE)
    shared = set(finals(d4, SCALE)) & set(finals(d6, SCALE))
    assert len(shared) == (4 + 5) * SCALE.seeds  # SGD, S2-SAM, SAM and a random direction; at 90 % unmasked too


def test_stored_rows_tell_their_scale_and_incomplete_experiments_are_left_out(tmp_path):
    rows = planted(growing, ("D6", "D7"))
    assert Scale.seen(Runs(rows)) == SCALE
    assert [f.label for f in report.judged(rows)] == ["D6", "D7"]
    assert [f.label for f in report.judged(rows[:-1])] == ["D6"]
    assert [f.label for f in report.judged(rows, ["D7"])] == ["D7"]
    on_device = [row | {"device": "cuda: x"} for row in rows]  # where it ran changes nothing
    assert report.judged(on_device) == report.judged(rows)
    with pytest.raises(ValueError, match="rows must hold a run by SGD"):
        report.judged([])


def test_a_train_size_given_is_the_largest_of_the_map_and_is_told_by_its_rows(monkeypatch):
    small = Scale.of(3, epochs=4, train_size=600)

    def check():
        regimes = EXPERIMENTS["R"].comparisons(small)
        steps = {c.base.train_size: c.base.epochs * (c.base.train_size // c.base.batch) for c in regimes}
        assert sorted(steps) == [75, 200, 600]
        assert steps == {75: 36, 200: 36, 600: 36}  # 9 steps of 64 in each of 4 epochs; 1 and 3 in the smaller
        rows = planted(growing, ("R",), small)
        assert Scale.seen(Runs(rows)) == small
        lines = EXPERIMENTS["R"].judge(Runs(rows), small).lines
        assert {line.at["images"] for line in lines if line.family == "regimes"} == {75, 200, 600}

    check()
    assert {c.base.train_size for c in EXPERIMENTS["D4"].comparisons(small)} == {600}
    regimes = inspect.getmodule(EXPERIMENTS["R"].judge)
    monkeypatch.setattr(regimes, "images", lambda config: IMAGES[config.dataset])
    with pytest.raises(AssertionError):
        check()


def test_rows_from_before_a_field_are_of_its_default():
    rows = planted(growing, ("D6",))
    older = [{name: value for name, value in row.items() if name != "augment"} for row in rows]
    assert report.judged(older) == report.judged(rows)


def test_findings_are_written_drawn_and_said(tmp_path):
    findings = report.judged(planted(growing))
    places = report.write(findings, tmp_path)
    assert {p.name for p in places} == {"findings.json", *(f"{label}.svg" for label in EXPERIMENTS)}
    stored = json.loads(places[0].read_text())
    assert [f["label"] for f in stored] == list(EXPERIMENTS)
    assert stored[0]["needed"].keys() == {"0.8", "0.9"}
    d6 = next(f for f in stored if f["label"] == "D6")
    chosen = {c["arm"]: (c["lr"], c["rho"], c["tried"]) for c in d6["chosen"] if c["regime"] == "mest at 90 %"}
    ours = {arm: (best["lr"], best.get("rho", 0.05), 9) for arm, best in BEST.items()}  # planted inside the ranges
    assert chosen == ours | {"sgd": (BEST["sgd"]["lr"], None, 9)}
    again = tmp_path / "again"
    again.mkdir()
    for place in report.write(findings, again)[1:]:
        assert place.read_bytes() == (tmp_path / place.name).read_bytes(), place.name
    text = str(next(f for f in findings if f.label == "D4"))
    assert text.startswith("D4 SUPPORTED: ")
    assert "digits, compact network, 4 epochs, 6 seeds" in text
    undecided = next(f for f in findings if f.verdict == INCONCLUSIVE)
    assert "would decide: " in str(undecided)
    assert report.table(findings[0]).row_count == len(findings[0].lines)


def test_a_figure_shows_the_numbers_of_its_rows():
    finding = found("D4", growing)
    with figures.mpl.rc_context(dict(figures.RC)):
        axes = figures.evidence_figure(finding).axes[0]
    mine = [line.effect.mean for line in finding.lines if line.at.get("arm") == "s2sam"]
    assert any(list(map(float, c.lines[0].get_ydata())) == mine for c in axes.containers)


def test_a_verdict_needs_its_whole_interval():
    assert verdict(effect([1.0, 1.2, 0.9])) == SUPPORTED
    assert verdict(effect([-1.0, -1.2, -0.9])) == REFUTED
    assert verdict(effect([1.0, 1.2, 0.9]), 1.0) == INCONCLUSIVE
    assert verdict(effect([5.0])) == INCONCLUSIVE


def test_many_methods_are_adjusted_before_one_of_them_refutes():
    nothing = np.random.default_rng(0).normal(size=(400, 11, 5))
    lines = [[Line("m", str(i), effect(list(v))) for i, v in enumerate(study)] for study in nothing]
    refuted = np.mean([conjunction(study)[0] == REFUTED for study in lines])
    unadjusted = np.mean([conjunction(study, adjust=False)[0] == REFUTED for study in lines])
    # of 11 true nulls one side is 2.5 %: at most 0.025 (+ 4 errors) by Holm, 1 - 0.975^11 = 0.24 without
    assert refuted < 0.025 + 4 * math.sqrt(0.025 * 0.975 / 400)
    assert unadjusted > 0.15


def test_every_experiment_states_its_rule_before_its_code():
    for experiment in ALL.values():
        text = inspect.getmodule(experiment.judge).__doc__
        assert text.startswith(experiment.label)
        assert "decides" in text or "SUPPORTED when" in text
    assert "Tuning" in inspect.getmodule(Comparison).__doc__


def test_the_number_of_images_that_plans_go_by_is_the_data_sets():
    from validation.datasets import load

    assert len(carved(load("digits"), BASES["digits"]).train[1]) == IMAGES["digits"]
    assert round(0.8 * 60_000) == IMAGES["fashion-mnist"]
    assert round(0.8 * 50_000) == IMAGES["cifar10"] == IMAGES["cifar100"]
