"""D9 on planted BLEU and on a toy language: what is planted is found, sentences are known by their content."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from evidence_rows import best_of, complete, finals, score, trials
from typer.testing import CliRunner

from validation import figures
from validation.cells import read
from validation.cli import app
from validation.evidence import command, report
from validation.evidence.experiments import EXPERIMENTS, translation
from validation.evidence.protocol import TUNING, Scale
from validation.evidence.runs import Runs, cell, weight
from validation.evidence.translated import BASE, TRIALS, Translated, scale, seen
from validation.evidence.tuning import Lacking, Trials
from validation.standing import INCONCLUSIVE, REFUTED, SUPPORTED
from validation.training.config import seed_for
from validation.translation.runs import Setting

SCALE = Scale(replace(BASE, digest="0" * 16), seeds=6, tuning=2)
D9 = EXPERIMENTS["D9"]
BEST = {arm: best_of(tried, 1, 0) for arm, tried in TRIALS.items()}  # planted


def planted(gain, at=SCALE, noise=0.1):
    """Return complete rows in which S2-SAM gains gain(sparsity) BLEU over the other arms."""

    def row(setting, _):
        place = setting.optimizer, str(setting.sparsity), setting.seed, str(setting.lr), str(setting.rho)
        rng = np.random.default_rng(seed_for("jitter", *place))
        level = np.random.default_rng(setting.seed).normal() * 3  # a seed's own: pairs remove it
        fields = {k: v for k, v in asdict(setting).items() if k not in ("device", "source", "target")}
        fields |= {"experiment": "translation", "family": "catalogues", "pairs": 6000, "tokens": 2000}
        ours = gain(setting.sparsity) if setting.optimizer == "s2sam" else 0.0
        fields["bleu"] = 20 + level + ours + rng.normal() * noise
        return fields | {"validation_bleu": 20.0 + score(setting, BEST[setting.optimizer])}

    return complete(D9.comparisons(at), at, row)


def found(gain, **options):
    return D9.judge(Runs(planted(gain, **options)), SCALE)


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (lambda s: 0.5 + s, SUPPORTED),
        (lambda s: 0.0, INCONCLUSIVE),
        (lambda s: 1.0 if s else 0.0, INCONCLUSIVE),
        (lambda s: -1.0 if s == 0.8 else 1.0, REFUTED),
    ],
    ids=["gains", "nothing", "sparse alone", "one hurt"],
)
def test_a_gain_in_every_network_is_found_and_no_less(gain, expected):
    finding = found(gain)
    assert finding.verdict == expected
    lines = {line.at["sparsity"]: line for line in finding.lines if line.family == "s2sam over adam"}
    for s, line in lines.items():
        # a difference is off by sqrt(2) 0.1 BLEU, its mean of six seeds by that over sqrt(6); four errors
        assert line.effect.mean == pytest.approx(gain(s), abs=4 * 0.1 * (2 / 6) ** 0.5)
    assert [line.reference for line in lines.values()] == [0.3, 0.4, 0.8]
    others = [line for line in finding.lines if line.family == "sam over adam"]
    assert [line.reference for line in others] == [None] * 3
    assert all(abs(line.effect.mean) < 4 * 0.1 * (2 / 6) ** 0.5 for line in others)


def test_the_finding_names_corpus_pairs_width_and_epochs():
    text = str(found(lambda s: 1.0))
    assert text.startswith("D9 SUPPORTED: ")
    words = "gettext catalogues of a machine's programs (content 0000000000000000), 6000 pairs, 2000 tokens"
    for part in (words, f"width {BASE.width}", f"{BASE.epochs} epochs", "6 seeds", "BLEU"):
        assert part in text


def test_unpaired_seeds_would_hide_it():
    rows = planted(lambda s: 1.0)
    base = [row for row in rows if row["optimizer"] == "adam" and row["seed"] < TUNING]
    other = {(row["sparsity"], (row["seed"] + 1) % 6): row["bleu"] for row in base}
    mixed = [row | {"bleu": other[row["sparsity"], row["seed"]]} if row in base else row for row in rows]
    assert D9.judge(Runs(mixed), SCALE).verdict == INCONCLUSIVE


def check_choice(rows):
    """Validation BLEU alone chooses, among as many trials for every arm; test BLEU of the trials changes nothing."""
    comparison = Translated(replace(SCALE.base, sparsity=0.8))
    for arm, tried in TRIALS.items():
        assert len(tried.first) + len(tried.then) == 5
        assert comparison.chosen(Runs(rows), SCALE, arm) == BEST[arm]


def test_the_validation_part_alone_chooses():
    rows = planted(lambda s: 1.0)
    leak = [row | {"bleu": 99.0 * (row["rho"] == 0.1)} if row["seed"] >= TUNING else row for row in rows]
    check_choice(leak)
    swapped = [row | {"validation_bleu": row["bleu"]} if row["rho"] != BASE.rho else row for row in leak]
    with pytest.raises(Lacking):  # the largest radius would win, so one beyond it be asked for
        check_choice(swapped)


def test_no_choice_rests_at_an_end_of_its_range():
    choices = Translated(SCALE.base).choices(Runs(planted(lambda s: 1.0)), SCALE)
    assert [chosen.arm for chosen in choices] == list(TRIALS)
    for chosen in choices:
        tried = TRIALS[chosen.arm]
        assert chosen.lr == min(trial["lr"] for trial in tried.first)  # planted at the end, so more are tried beyond
        assert chosen.tried == 5 + tried.steps


def test_arms_share_all_but_their_trial_and_seeds_are_apart():
    for c in D9.comparisons(SCALE):
        assert len({replace(x, optimizer="adam", rho=0.05, lr=BASE.lr, seed=0) for x in finals([c], SCALE)}) == 1
        assert {x.seed for x in finals([c], SCALE)}.isdisjoint(x.seed for x in trials([c], SCALE))


def test_stored_rows_tell_their_scale_beside_rows_of_images():
    rows = planted(lambda s: 1.0)
    assert seen(Runs(rows)) == SCALE
    assert [f.label for f in report.judged(rows)] == ["D9"]
    assert report.judged(rows, ["D4"]) == []
    assert not report.judged(rows[:-1])
    with pytest.raises(ValueError, match="rows must hold a run by Adam"):
        seen(Runs([]))


def test_other_sentences_are_other_runs():
    rows = [row | {"digest": "1" * 16} for row in planted(lambda s: 1.0)]
    with pytest.raises(KeyError):
        D9.judge(Runs(rows), SCALE)


def test_its_figure_shows_the_papers_numbers():
    with figures.mpl.rc_context(dict(figures.RC)):
        axes = figures.evidence_figure(found(lambda s: 1.0)).axes[0]
    assert "BLEU" in axes.get_xlabel()
    assert [float(x) for x in axes.lines[-2].get_xdata()] == [0.3, 0.4, 0.8]


def test_it_is_run_when_asked_for_only():
    assert "D9" in EXPERIMENTS
    assert "D9" not in command._DEFAULT
    assert weight("translation", replace(BASE, optimizer="sam")) == 2 * weight("translation", BASE)
    assert weight("translation", BASE) > 0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two parallel files of a toy language: every word has one translation."""
    rng = np.random.default_rng(0)
    lines = rng.integers(0, 16, (160, 4)).tolist()
    folder = tmp_path_factory.mktemp("text")
    source, target = folder / "a.txt", folder / "b.txt"
    source.write_text("\n".join(" ".join(f"w{i:x}" for i in line) for line in lines))
    target.write_text("\n".join(" ".join(f"t{i:x}" for i in reversed(line)) for line in lines))
    return {"source": str(source), "target": str(target)}


def run(*arguments):
    return CliRunner().invoke(app, ["evidence", "--claims", "D9", *map(str, arguments)])


def test_one_command_leaves_rows_finding_and_figure(files, tmp_path, monkeypatch):
    pytest.importorskip("sentencepiece")
    pytest.importorskip("sacrebleu")
    for arm, tried in TRIALS.items():  # a trial or two, and two networks, show the way as three do
        monkeypatch.setitem(TRIALS, arm, Trials(tried.first[:1], tried.then[:1]))
    monkeypatch.delitem(translation.SPARSITIES, "90%")
    text = ("--source", files["source"], "--target", files["target"])
    sizes = ("--seeds", 2, "--epochs", 1, "--width", 8, "--vocabulary", 60, "--limit", 64)
    done = run(*text, *sizes, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"rows.jsonl", "findings.json", "D9.svg"}
    rows = read(tmp_path / "out" / "rows.jsonl")
    assert len(rows) == 2 * (4 * (1 + 2) + 3)  # networks x (arms x (trial + seeds) + arms with rho, one tuning seed)
    (finding,) = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert "a parallel text of the user's (content " in finding["regime"]
    assert {row["digest"] for row in rows} == {scale(2, **files, vocabulary=60, limit=64).base.digest}
    assert all(row["signature"].startswith("nrefs:1|") for row in rows)
    before = (tmp_path / "out" / "findings.json").read_bytes()
    redrawn = CliRunner().invoke(app, ["figures", str(tmp_path / "out")])
    assert redrawn.exit_code == 0, redrawn.output
    assert (tmp_path / "out" / "findings.json").read_bytes() == before


def test_sentences_that_changed_meanwhile_are_refused(files):
    pytest.importorskip("sentencepiece")
    pytest.importorskip("sacrebleu")
    setting = Setting(**files, vocabulary=60, width=8, epochs=1, digest="0" * 16)
    with pytest.raises(ValueError, match="digest of the pairs must be 0000000000000000, got"):
        cell(setting, measure="translation").rows()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--source", "a.txt"), "--source and target must be given together, got source alone"),
        (("--source", "no.txt", "--target", "no.txt"), "no.txt: must be a text file in UTF-8"),
        (("--width", 30), "--width must be a multiple of 4, the heads, got 30"),
        (("--limit", 0), "--limit must be >= 1, got 0"),
        (("--vocabulary", 3), "--vocabulary must be >= 50, got 3"),
        (("--epochs", 0), "--epochs must be >= 1, got 0"),
        (("--claims", "D4", "--width", 32), "--width must come with D9, got D4; add --claims D9"),
    ],
)
def test_bad_usage_is_one_line(arguments, words, tmp_path):
    done = run(*arguments, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert words in done.output
    assert done.output.count("\n") == 1


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("validation.translation.runs.find_spec", lambda name: None)
    done = run("--vocabulary", 77, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "translation needs sentencepiece: pip install 's2sam[translation]'" in done.output
    assert done.output.count("\n") == 1
