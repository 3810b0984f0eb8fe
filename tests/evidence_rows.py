"""The rows that experiments ask for, planted instead of measured."""

from validation.evidence.command import STEPS
from validation.evidence.protocol import unique
from validation.evidence.runs import Runs


def complete(comparisons, scale, row):
    """Return the rows of all steps of comparisons, each resting on those before; row(config, experiment) is one."""
    rows = []
    for step, kind in STEPS:
        runs = Runs(rows)
        asked = unique([(x, getattr(c, kind)) for c in comparisons for x in getattr(c, step)(runs, scale)])
        rows += [row(*each) for each in asked]
    return rows


def trials(comparisons, scale, runs=None):
    """Return the runs of all trials; without rows, about those."""
    return {x for c in comparisons for x in (*c.tuning(runs, scale), *c.refining(runs, scale))}


def at(trial, config):
    """Whether a run is one of this trial."""
    return all(getattr(config, name) == value for name, value in trial.items())


def best_of(trials, first, then):
    """Return the trial that those places of an arm's trials make; SGD and Adam have but the first."""
    return trials.first[first] | (trials.then[then] if trials.then else {})


def score(config, best):
    """How good a trial looks where `best` is planted: a wrong learning rate costs more than a wrong rho."""
    return -0.01 * (config.lr != best["lr"]) - 0.001 * (config.rho != best.get("rho", config.rho))
