"""What a search ends with: the tightest run or a counterexample, as numbers and as code that a reader can paste."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from theory import CLAIMS, Claim
from validation.adversary.spaces import SPACES, around
from validation.adversary.trials import Question, Trial, measured, proven
from validation.instances import Problem
from validation.judge import Outcome, Tally, Verdict
from validation.measures import MEASURES, Measure
from validation.trajectories import Rule


def outcome_of(question: Question, trial: Trial) -> Outcome:
    """Judge one run: at its end for a claim about runs, at its worst step for others; failures in 50 digits too."""
    problem = trial.problem()
    tally = Tally(question.claim, question.measure, problem.width)
    for t, m in measured(question, trial, problem):
        if question.measure.per_step or t == question.count:
            tally.add(m, t)
    at = {"h": float(trial.h), "rho": float(trial.rho), "T": question.count}
    at |= {"beta": question.beta} if question.beta else {}
    doubt = lambda claim, measure, i, t: proven(question, trial, i, t)  # noqa: E731
    return tally.outcome(torch.tensor([0]), problem, question.rule, doubt, at)


def replay(
    claim: Claim | str,
    rule: str | Rule,
    problem: Problem,
    *,
    start: Sequence[Sequence[int | float]],
    h: int | float,
    rho: int | float,
    T: int,
    measure: Measure | None = None,
    draws: Sequence[int] | None = None,
    beta: float = 0.0,
) -> Outcome:
    """Run a rule once on one problem and judge the claim there; what the adversary prints calls it.

    Args:
        claim: a Claim or the label of a registered one.
        rule: name or function of a View, "pair" for S2-SAM beside SAM.
        problem: a batch of one.
        start: [[w_0, ...]].
        h: step size in units of 1/L (of every sample's L, where there are samples).
        rho: radius.
        T: number of steps.
        measure: default the registered one.
        draws: the sample of every step, where a claim about single steps is measured on samples.
        beta: momentum.

    >>> from validation.adversary import SPACES
    >>> problem = SPACES["strong"].build(spectrum=[[1.0]])
    >>> replay("B5.lower", "s2sam", problem, start=[[0.5]], h=1, rho=1, T=3).verdict
    <Verdict.HOLDS: 'HOLDS'>
    """
    claim = CLAIMS[claim] if isinstance(claim, str) else claim
    trial = Trial(
        around(problem),
        {"at": torch.zeros(1, dtype=torch.float64)},
        start=torch.tensor(start, dtype=torch.float64),
        h=torch.tensor([float(h)], dtype=torch.float64),
        rho=torch.tensor([float(rho)], dtype=torch.float64),
        draws=None if draws is None else torch.tensor(draws)[:, None],
    )
    question = Question(claim, measure or MEASURES[claim.label], rule, T, beta)
    return outcome_of(question, trial)


def again(kept: Mapping[str, Any]) -> Outcome:
    """Repeat a stored run (`Extreme.instance`), at the registered claim as it is now."""
    problem = SPACES[kept["space"]].build(**kept["data"])
    options = {name: kept[name] for name in ("start", "h", "rho", "T", "draws", "beta")}
    return replay(kept["claim"], kept["rule"], problem, **options)


@dataclass(frozen=True)
class Extreme:
    """The end of a search.

    Attributes:
        outcome: the judge's words on the run found: verdict, measured, bound, ratio, constants. VIOLATED means
            confirmed in 50 digits (in float64 alone for a rule that cannot run there).
        trial: the run itself. question: what was asked of it.
        typical: the median ratio of random runs, at the T (or t) where it is largest.
        runs: how many runs were judged. compared: comparisons inside the claim's domain. seed: of the search.
        by_T: T (or step t) -> median ratio of random runs, and largest of all runs, there.
    """

    outcome: Outcome
    trial: Trial
    question: Question
    typical: float
    runs: int
    compared: int
    seed: int
    by_T: dict[int, tuple[float, float]]

    @property
    def verdict(self) -> Verdict:
        """VIOLATED if a counterexample was found."""
        return self.outcome.verdict

    @property
    def ratio(self) -> float:
        """Measured over bound, as `validation.judge` defines it; above 1 exactly for a counterexample."""
        return self.outcome.ratio

    def instance(self) -> dict[str, Any]:
        """Return the run as JSON values, for `again`; only a registered claim, measure, rule and space can be stored.

        Raises:
            ValueError: when one of them is the caller's.
        """
        q, t = self.question, self.trial
        own = MEASURES.get(q.claim.label) is not q.measure or not isinstance(q.rule, str) or t.space.given
        if own or CLAIMS.get(q.claim.label) is not q.claim:
            raise ValueError(f"claim, measure, rule and problem must be registered to be stored, got {q.claim.label}")
        draws = None if t.draws is None or not q.measure.per_step else t.draws[: q.count, 0].tolist()
        return {
            "claim": q.claim.label, "rule": q.rule, "space": t.space.name,
            "data": {name: value.tolist() for name, value in t.data.items()}, "start": t.start.tolist(),
            "h": float(t.h), "rho": float(t.rho), "T": q.count, "beta": q.beta, "draws": draws, "ratio": self.ratio,
        }  # fmt: skip

    def code(self) -> str:
        """Return Python that repeats the run; it names `claim`, `measure`, `rule` or `problem` where they are yours."""
        q, t = self.question, self.trial
        known = CLAIMS.get(q.claim.label) is q.claim
        names: list[Any] = [repr(q.claim.label) if known else "claim"]
        names.append(repr(q.rule) if isinstance(q.rule, str) else "rule")
        options = f"start={t.start.tolist()}, h={float(t.h)}, rho={float(t.rho)}, T={q.count}"
        options += f", beta={q.beta}" if q.beta else ""
        if t.draws is not None and q.measure.per_step:
            options += f", draws={t.draws[: q.count, 0].tolist()}"
        if not known or MEASURES.get(q.claim.label) is not q.measure:
            options += ", measure=measure"
        source = t.space.code(t.data)
        return (
            "from validation.adversary import SPACES, replay\n\n"
            + (f"problem = {source}\n" if source else "")
            + f"outcome = replay({', '.join(names)}, problem, {options})\n"
            "print(outcome.verdict, outcome.measured, outcome.bound)\n"
        )
