"""The rows that experiments ask for, planted instead of measured."""

from validation.evidence.protocol import TUNING, planned, unique
from validation.evidence.runs import Runs


def complete(comparisons, scale, row):
    """Return the rows of all runs of comparisons, as the command makes them; row(config, experiment) is one."""
    rows = []
    while asked := lacking(comparisons, scale, Runs(rows)):
        rows += [row(config, measure) for measure, config in asked]
    return rows


def lacking(comparisons, scale, runs):
    """Return what comparisons lack next, each run once."""
    return unique([each for c in comparisons for each in c.lacking(runs, scale)])


def trials(comparisons, scale):
    """Return the runs of the trials that are planned before there is any row."""
    return {x for _, x in planned([(c, scale) for c in comparisons], Runs(())) if x.seed >= TUNING}


def finals(comparisons, scale):
    """Return the runs to be judged, at the trials they are planned with before there is any row, in order."""
    return [x for _, x in planned([(c, scale) for c in comparisons], Runs(())) if x.seed < TUNING]


def at(trial, config):
    """Whether a run is one of this trial."""
    return all(getattr(config, name) == value for name, value in trial.items())


def best_of(trials, first, then):
    """Return the trial that those places of an arm's trials make; SGD and Adam have but the first."""
    return trials.first[first] | (trials.then[then] if trials.then else {})


def score(config, best):
    """How good a trial looks where `best` is planted: a wrong learning rate costs more than a wrong rho."""
    return -0.01 * (config.lr != best["lr"]) - 0.001 * (config.rho != best.get("rho", config.rho))
