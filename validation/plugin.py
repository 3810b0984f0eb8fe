"""Claims, measures and rules of one's own, from a Python file: `s2sam validate --plugin mine.py`.

The file registers with three decorators, and nothing else is asked of it:

    from theory.claims import claim            # @claim("X1", title=..., ...): a bound, its statement in the docstring
    from validation.measures import measure    # @measure("X1", ("s2sam",)): the left side, of a Step or a Run
    from validation.plugin import rule         # @rule("mine", claims=("B1", "X1")): View -> direction

What it registers is swept over the same problems as everything else, attacked by the adversary, and stands in rows,
table and report. Its text is part of every cell, so that a changed file is measured anew.
"""

import contextlib
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import theory
from validation.cells import Cell, Row, experiment
from validation.experiments.extremes import extreme
from validation.experiments.sweep import sweep
from validation.measures import MEASURES
from validation.suite import SAMPLED, SIZES, SYNTHETIC
from validation.trajectories import RULES, Rule

BETAS = (0.5, 0.9)  # where a claim speaks of momentum
BUDGET = 4000


def rule(name: str, *, claims: Iterable[str] = ()) -> Callable[[Rule], Rule]:
    """Register the decorated function of a View as a rule, and let the measures of these claims speak of it.

    Whoever names a claim here asserts that the rule satisfies its hypotheses; a failure is then a refutation.

    Raises:
        ValueError: when the name is taken, or a claim has no measure (yet).
    """

    def decorate(function: Rule) -> Rule:
        if name in RULES or name == "pair":
            raise ValueError(f"rule must have a new name, got {name!r}; known: {', '.join(RULES)}, pair")
        for label in claims:
            if label not in MEASURES:
                raise ValueError(f"claims of rule {name!r} must be measured ones, got {label!r}; register it first")
            MEASURES[label] = replace(MEASURES[label], rules=(*MEASURES[label].rules, name))
        RULES[name] = function
        return function

    return decorate


class PluginError(RuntimeError):
    """A plugin that cannot be loaded or run; the message is one line."""


@dataclass(frozen=True)
class Plugin:
    """What a file registered: labels of claims, names of rules; and its path and the hash of its text."""

    path: str
    digest: str
    labels: tuple[str, ...]
    rules: tuple[str, ...]

    def cells(self, size: str, labels: Iterable[str], seed: int) -> list[Cell]:
        """Return the cells that measure the plugin's claims, and the chosen claims on the plugin's rules."""
        s, chosen, result = SIZES[size], set(labels), []
        own = {"path": self.path, "digest": self.digest, "seed": seed}
        for name in (*RULES, "pair"):
            mine = [x for x in MEASURES if x in chosen and name in MEASURES[x].rules]
            mine = mine if name in self.rules else [x for x in mine if x in self.labels]
            momenta = sorted({b for x in mine for b in (BETAS if MEASURES[x].momentum else (0.0,))})
            for beta in momenta:
                shrink = (1 - beta) ** 2 / (1 + beta) * (1 - 2.0**-50) if beta else 1.0  # B9's largest step
                grid = {"h": [h * shrink for h in s.h], "rho": list(s.rho), "beta": beta}
                common: dict[str, Any] = {"labels": mine, "rule": name, **grid}
                long = {"count": s.count, "horizons": list(s.horizons), "size": s.instances}
                tree = {"count": s.paths, "horizons": list(range(1, s.paths + 1)), "size": 8, "enumerate_samples": True}
                result += [Cell.of("plugin_sweep", family=f, **common, **long, **own) for f in SYNTHETIC]
                if name != "pair":
                    result += [Cell.of("plugin_sweep", family=f, **common, **long, **own) for f in SAMPLED]
                    result += [Cell.of("plugin_sweep", family=f, **common, **tree, **own) for f in SAMPLED]
            result += [Cell.of("plugin_extreme", label=x, rule=name, budget=BUDGET, **own) for x in mine]
        return result


@contextlib.contextmanager
def _blamed(path: str, doing: str) -> Iterator[None]:
    """Turn whatever goes wrong into one line that names the file, what it was doing, and its last line of code."""
    try:
        yield
    except (Exception, SystemExit) as error:
        trace, line = error.__traceback__, getattr(error, "lineno", None)
        while trace is not None:
            line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == path else line
            trace = trace.tb_next
        first = (str(error).splitlines() or [""])[0]
        place = f", line {line}" if line else ""
        raise PluginError(f"--plugin must {doing}, got {type(error).__name__}: {first} ({path}{place})") from error


def load(path: Path) -> Plugin:
    """Execute the file and return what it registered; a file that fails leaves the registries as they were.

    Raises:
        PluginError: when it is missing or no Python file, fails, registers nothing, or a claim of it has no measure.
    """
    path = path.resolve()
    if path.suffix != ".py" or not path.is_file():
        raise PluginError(f"--plugin must be a Python file, got {path}; give the path of one that exists")
    registries: tuple[dict[str, Any], ...] = (theory.CLAIMS, MEASURES, RULES)
    before = [dict(r) for r in registries]
    try:
        with _blamed(str(path), "import without an error"):
            spec = importlib.util.spec_from_file_location(f"s2sam_plugin_{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        labels, measured, rules = (tuple(x for x in r if x not in b) for r, b in zip(registries, before, strict=True))
        if not labels and not rules and MEASURES == before[1]:
            raise PluginError(f"--plugin must register a claim, a measure or a rule, got none from {path}")
        if changed := ", ".join(x for x, m in before[1].items() if MEASURES[x].evaluate is not m.evaluate):
            raise PluginError(f"--plugin must not replace the measure of {changed}; give its claim a new label")
        if silent := ", ".join(x for x in labels if x not in MEASURES):
            raise PluginError(f"--plugin must measure its claims, got none for {silent}; use @measure(label)")
    except PluginError:
        for registry, old in zip(registries, before, strict=True):
            registry.clear()
            registry.update(old)
        raise
    for run in (plugin_sweep, plugin_extreme):  # experiments of a process that has a plugin, and of no other
        experiment(run)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return Plugin(str(path), digest, tuple(dict.fromkeys((*labels, *measured))), rules)


def plugin_sweep(*, path: str, digest: str, **options: Any) -> Iterator[Row]:
    """Yield the rows of `sweep`, errors blamed on the plugin; its digest is in the cell's key."""
    del digest
    with _blamed(path, "measure without an error"):
        yield from sweep(**options)


def plugin_extreme(*, path: str, digest: str, **options: Any) -> Iterator[Row]:
    """Yield the row of `extreme`, errors blamed on the plugin."""
    del digest
    with _blamed(path, "be attacked without an error"):
        yield from extreme(**options)
