"""The protocol of every experiment here, fixed before the runs that are judged.

Arms. SGD; exact SAM; S2-SAM; `random`, a random direction of the same norm, fresh each step (does the former gradient
matter?); `unmasked`, S2-SAM along the dense former gradient, as the authors' public code perturbs (only in sparse
networks: in dense ones it is S2-SAM). `sam-half` is SAM for half the epochs: the price of S2-SAM.

Equal terms. All arms of a seed share initial weights, order and crops of the images, split and wrong labels. Schedule,
momentum, weight decay, batch, network and epochs are the same for all.

Tuning. Each arm gets nine trials. SGD: the learning rates from 0.025 to 0.4 in steps of a factor sqrt(2). The others:
five of these, in steps of 2, at rho 0.05; then rho 0.02, 0.1, 0.2 and 0.4 at the best of the five. Where labels are
wrong, each gets fourteen: ten rates from 0.00078 to 0.4 in steps of 2; then, at the best, SGD four rates near it and
the others those four rho. Where the best rate is at an end of the range, more are tried beyond it until none is; and so
is rho beyond 0.4. The trial with the highest validation accuracy, mean over the tuning seeds and measured after the
last epoch, is taken, the first listed where some are equal. The validation part is a fifth of the training images, with
true labels, held out in all runs, the final ones too. Tuning seeds (10000 and on) are none of the seeds that are
judged. Tuning is done in every regime: of method, sparsity, sample size and label noise.

What went before, and is judged no more; the seeds judged are the same. The first protocol tuned the rate for SGD alone,
the others at 0.1: from 95 % sparsity on, where the best rate was another, it favoured SGD. The second tuned with MEST
only: at 90 % a rate of 0.4 for SGD and 0.025 for S2-SAM, which are equals with MEST but 8 points apart with CHEX. The
third's ranges ended at 0.025 and 0.4 whatever was best. And with wrong labels even a range that goes on from there is
too short: above 0.02 accuracy is level, since every network learns the wrong labels, and has maxima by chance; below it
rises by up to 30 points, since none does. Arms of which one fell below and one stayed differed by up to 18 points,
either way.

Judgement. Only test accuracy after the last epoch, in percentage points; only on seeds 0 to n - 1, with n given before;
the test images serve nothing else. Differences are paired by seed, intervals are t intervals of 95 %, families of
comparisons are adjusted by Holm. A claim is SUPPORTED when the interval of its one named effect lies above its
threshold, REFUTED when it lies below, else INCONCLUSIVE, with the seeds that would decide at 80 and at 90 % power.

The standing is one of this scale: data, network and length are named with it. Intervals are of seeds at the trials
taken: that other tuning seeds may take other trials is not in them, and may move the effect of a single regime. At
least 10 seeds make evidence; 3 are the small set, which shows that everything runs and what the spread is.

Transformers (D9) have arms, trials and a score of their own, in `validation.evidence.translated`; the rest is the same.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import Any, ClassVar, TypeVar

from validation.cells import Row
from validation.evidence.runs import Runs
from validation.evidence.tuning import Choice, Lacking, Planned, Trials, measured, search
from validation.training import Config

ARMS = ("sgd", "sam", "s2sam", "random", "unmasked")
PAIR = ("sgd", "s2sam")
PLAIN = ("sgd", "adam")  # arms that perturb nothing
T = TypeVar("T")
SIZES = ("model", "epochs", "train_size")  # what a scale may change of a data set's base
TUNING = 10_000  # the first tuning seed


RATES = (0.1, 0.05, 0.2, 0.025, 0.4)
BETWEEN = (0.0707, 0.141, 0.0354, 0.283)
TRIALS = {
    "sgd": Trials(tuple({"lr": lr} for lr in RATES + BETWEEN), step=math.sqrt(2), steps=2),
    **dict.fromkeys(
        (*ARMS[1:], "sam-half"),
        Trials(tuple({"lr": lr} for lr in RATES), tuple({"rho": rho} for rho in (0.02, 0.1, 0.2, 0.4)), step=2),
    ),
}
LOWER = tuple({"lr": lr} for lr in (*RATES, 0.0125, 0.00625, 0.00313, 0.00156, 0.00078))
NOISY = {arm: tried._replace(first=LOWER) for arm, tried in TRIALS.items()}
NOISY["sgd"] = Trials(LOWER, near=tuple(2**power for power in (-0.5, 0.5, -0.25, 0.25)), step=2)
BASES = {
    "digits": Config(method="dense", sparsity=0.0, dataset="digits", model="compact", epochs=20, validation=0.2),
    "fashion-mnist": Config(
        method="dense", sparsity=0.0, dataset="fashion-mnist", model="resnet32", epochs=10, batch=128, validation=0.2
    ),
    "cifar10": Config.of("cifar10", method="dense", sparsity=0.0, validation=0.2),
    "cifar100": Config.of("cifar100", method="dense", sparsity=0.0, validation=0.2),
}


@dataclass(frozen=True)
class Scale:
    """How large a set of experiments is.

    Attributes:
        base: what all runs have in common, dense; experiments change sparsity, method, labels and number of images. A
            `Config`, or whatever the comparisons of other networks go by.
        seeds: judged. tuning: seeds of each trial.
    """

    base: Any
    seeds: int
    tuning: int

    @classmethod
    def of(cls, seeds: int, dataset: str = "digits", **changed: Any) -> "Scale":
        """Return the scale for a data set: a third of the seeds, at least one, for tuning."""
        return cls(replace(BASES[dataset], **changed), seeds, max(1, seeds // 3))

    @property
    def flags(self) -> str:
        """The options of `s2sam evidence` that ask for this scale."""
        asked = {"seeds": self.seeds}
        if isinstance(self.base, Config):
            own = {"dataset": "digits"} | {name: getattr(BASES[self.base.dataset], name) for name in SIZES}
            given = {name: getattr(self.base, name) for name in own}
            asked |= {name: value for name, value in given.items() if value != own[name]}
        return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in asked.items())

    @classmethod
    def seen(cls, runs: Runs) -> "Scale":
        """Return the scale of stored runs.

        Raises:
            ValueError: when there is no run to judge.
        """
        configs = [c for c in runs.configs() if c.optimizer == "sgd"]
        sizes = {c.train_size for c in configs}
        size = None if None in sizes else max(sizes, default=None)  # smaller ones are those of the regime map
        configs = [c for c in configs if c.train_size == size]
        if not (judged := [c.seed for c in configs if c.seed < TUNING]):
            raise ValueError("rows must hold a run by SGD to judge others against, got none; run: s2sam evidence")
        (base, _), *_ = Counter((c.dataset, c.model, c.epochs) for c in configs).most_common(1)
        changed: dict[str, Any] = dict(zip(("model", "epochs"), base[1:], strict=True)) | {"train_size": size}
        tuning = len({c.seed for c in configs if c.seed >= TUNING})
        return cls(replace(BASES[base[0]], **changed), max(judged) + 1, tuning)


@dataclass(frozen=True)
class Comparison:
    """One regime and the arms to be compared in it.

    Attributes:
        base: the regime; its optimizer, seed, rho and lr are each arm's to set.
        arms: keys of `trials`.
        measure: the experiment that gives the judged runs their rows, a key of `runs.MEASURED`.
        trained: the experiment that trials are rows of. chooses: the number in these rows whose largest mean chooses.
            What is said here of images, another class says of other networks.
    """

    base: Any
    arms: tuple[str, ...] = PAIR
    measure: str = "training"
    trained: ClassVar[str] = "training"
    chooses: ClassVar[str] = "validation_accuracy"

    def lacking(self, runs: Runs, scale: Scale) -> list[tuple[str, Any]]:
        """Return the runs to make next, an experiment and a configuration each; none when the arms can be judged.

        What an arm lacks first are trials; when they have chosen, runs to be judged.
        """
        found: list[tuple[str, Any]] = []
        for arm in self.arms:
            try:
                self.rows(runs, scale, arm)
            except Lacking as missing:
                found += missing.runs
        return found

    def chosen(self, runs: Runs, scale: Scale, arm: str) -> dict[str, Any]:
        """Return an arm's best trial; Lacking, a KeyError, when runs of trials are missing."""
        return self._search(runs, scale, arm)[0]

    def choices(self, runs: Runs, scale: Scale) -> list[Choice]:
        """Return what each arm's trials chose; Lacking, a KeyError, when runs of trials are missing."""
        found = []
        for arm in self.arms:
            best, tried = self._search(runs, scale, arm)
            run = _arm(self.base, arm, 0, best)
            found.append(Choice(self.where, arm, run.lr, run.rho if arm not in PLAIN else None, tried))
        return found

    @property
    def where(self) -> str:
        """The regime in words."""
        b = self.base
        images = f", {b.train_size} images" if b.train_size else ""
        noise = f", {b.label_noise:.0%} wrong labels" if b.label_noise else ""
        return f"{b.method} at {100 * b.sparsity:.4g} %{images}{noise}" if b.sparsity else f"dense{images}{noise}"

    def _search(self, runs: Runs, scale: Scale, arm: str) -> tuple[dict[str, Any], int]:
        seeds = range(TUNING, TUNING + scale.tuning)

        def score(trials: Sequence[dict[str, Any]]) -> list[float]:
            tried = [_arm(self.base, arm, seed, trial) for trial in trials for seed in seeds]
            values = iter(row[self.chooses] for row in measured(runs, self.trained, tried))
            return [fmean(islice(values, len(seeds))) for _ in trials]

        return search(self.trials[arm], score)

    @property
    def trials(self) -> Mapping[str, Trials]:
        """What each arm tries."""
        return NOISY if self.base.label_noise else TRIALS

    def rows(self, runs: Runs, scale: Scale, arm: str) -> list[Row]:
        """Return an arm's judged rows, seed by seed; Lacking, a KeyError, when one or a trial is missing."""
        best = self.chosen(runs, scale, arm)
        return measured(runs, self.measure, [_arm(self.base, arm, seed, best) for seed in range(scale.seeds)])

    def accuracy(self, runs: Runs, scale: Scale, arm: str) -> list[float]:
        """Return what an arm's runs are judged by, seed by seed."""
        return [self.judged(row) for row in self.rows(runs, scale, arm)]

    def judged(self, row: Row) -> float:
        """Return what a row is judged by: test accuracy in percent."""
        return 100 * row["test_accuracy"]

    def gain(self, runs: Runs, scale: Scale, arm: str = "s2sam", over: str = "sgd") -> list[float]:
        """Return an arm's gain over another in what is judged, seed by seed."""
        pairs = zip(self.accuracy(runs, scale, arm), self.accuracy(runs, scale, over), strict=True)
        return [one - other for one, other in pairs]


def _arm(base: Any, arm: str, seed: int, trial: dict[str, Any]) -> Any:
    if arm == "sam-half":
        return replace(base, optimizer="sam", seed=seed, epochs=max(1, base.epochs // 2), **trial)
    return replace(base, optimizer=arm, seed=seed, **trial)


def sparse(base: Config, sparsity: float, method: str = "mest") -> Config:
    """Return the regime at a sparsity; dense training where it is 0."""
    return replace(base, sparsity=sparsity, method=method if sparsity else "dense")


def planned(comparisons: Iterable[tuple[Comparison, Scale]], runs: Runs) -> list[tuple[str, Any]]:
    """Return all runs that are still to be made, as they would be if no trial to come were the best of its arm's.

    Args:
        comparisons: each with its scale.
        runs: what there is.
    """
    assumed = Planned(runs)
    for comparison, scale in comparisons:
        for arm in comparison.arms:
            comparison.rows(assumed, scale, arm)
    return unique(assumed.lacking)


def unique(configs: Sequence[T]) -> list[T]:
    """Return the configurations, each once: experiments share runs."""
    return list(dict.fromkeys(configs))
