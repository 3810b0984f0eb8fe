"""One training run as a cell: a configuration, frozen, gives one row with all that is needed to judge and to redraw."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from functools import lru_cache, partial
from typing import Any

from validation.cells import Cell, Row, experiment
from validation.datasets import load
from validation.training import Config
from validation.training.loop import Training
from validation.training.methods import FRACTION
from validation.training.side_by_side import APART, SideBySide, side_by_side

EPOCHS = ("train_loss", "train_accuracy", "validation_accuracy", "test_loss", "test_accuracy", "nonzeros", "cos")
IMAGES = {"digits": 1150, "fashion-mnist": 48_000, "cifar10": 40_000, "cifar100": 40_000}  # with a fifth held out
COMMON = Config()  # what runs side by side are grouped under
PLACE = ("device", "data_dir", "source", "target")  # of a configuration: where, not what
MEASURED: dict[str, type[Any]] = {"training": Config}  # experiment whose rows are judged -> what configures its runs
BESIDE: dict[str, int] = {}  # experiment that measures more than training -> how long that takes, as `weight` counts
CODE = ("s2sam", "validation/training", "validation/models.py", "validation/datasets.py", "validation/image_files.py")
BESIDE_CODE = (*CODE, "validation/evidence/runs.py")  # of a cell that trains and measures more
LONGEST = 21_000  # weight of runs side by side on a CPU: what a kill loses of a worker's time, some two minutes
_images = lru_cache(maxsize=1)(load)


@partial(experiment, runs=CODE)
def training(*, together: list[list[Any]] | None = None, lesser: Sequence[float] = (), **options: Any) -> list[Row]:
    """Train one configuration, or several side by side, in memory; what is stopped begins again.

    Args:
        together: seed, rho and lr of each run, where there are several.
        lesser: sparsities that these come by on their way, and whose runs share their rounds; see `SideBySide.train`.
        options: the fields of a `Config`.

    Returns:
        One row a run: its configuration without device and folder; what the last epoch measured; `history`, the numbers
        of every epoch in order, of all rounds; how many rounds; seconds (its share of the stack's, of rounds that other
        sparsities share too); and what the method warned of.
    """
    return [row for _, row in trained(Config(**options), together, lesser)]


def trained(
    base: Config, together: list[list[Any]] | None = None, lesser: Sequence[float] = ()
) -> list[tuple[Training, Row]]:
    """Train as `training` does; return each run as it stands at the end, for what else measures it, and its row.

    Args:
        base: the configuration.
        together: as for `training`.
        lesser: as for `training`.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        data = _images(base.dataset, base.data_dir)
        if together is None:
            runs = [Training(base, data)]
            runs[0].prepare()
            runs[0].train(lambda: None, None)
        else:
            runs = SideBySide(_apart(base, together), data).train(lesser)
    said = sorted({str(w.message) for w in warned})
    return [(run, _row(run, len(together or runs)) | {"warned": said}) for run in runs]


def alone(config: Config) -> tuple[Training, Row]:
    """Train one configuration; return the run as it stands at the end, and its row without the history."""
    ((run, row),) = trained(config)
    return run, {name: value for name, value in row.items() if name != "history"}


def _apart(base: Config, together: list[list[Any]]) -> list[Config]:
    return [replace(base, **dict(zip(APART, values, strict=True))) for values in together]


def _row(run: Training, together: int) -> Row:
    history = {name: [_short(row[name]) for row in run.rows] for name in EPOCHS}
    seconds = math.fsum(row["seconds"] for row in run.rows) / together
    whole = {"rounds": run.round + 1, "seconds": seconds, "together": together, "history": history}
    return run.rows[-1] | whole | {name: value for name, value in asdict(run.config).items() if name not in PLACE}


def cell(*configs: Any, measure: str = "training") -> Cell:
    """Return the cell of a configuration, or of several that are trained side by side.

    Args:
        configs: of the runs; one, unless they are trained and no more. Of several sparsities, each with the same runs.
        measure: the experiment, a key of MEASURED.
    """
    if len(configs) == 1:
        return Cell.of(measure, **asdict(configs[0]))
    *lesser, most = sorted({c.sparsity for c in configs})
    stack = [c for c in configs if c.sparsity == most]
    shared = {"lesser": lesser} if lesser else {}
    together = [[getattr(c, name) for name in APART] for c in stack]
    return Cell.of("training", together=together, **shared, **asdict(stack[0]))


def configs(of: Cell) -> list[Any]:
    """Return the configurations of a cell, in the order of its rows."""
    options = dict(of.options)
    together, lesser = options.pop("together", None), options.pop("lesser", ())
    base = MEASURED[of.name](**options)
    if together is None:
        return [base]
    return [replace(c, sparsity=s) for s in (*lesser, base.sparsity) for c in _apart(base, together)]


def grouped(todo: Sequence[Config], together: int) -> list[Cell]:
    """Return the cells of configurations, the longest first; at most so many side by side, on a CPU fewer if long.

    Runs of several sparsities that share their rounds are of one cell.
    """
    if together == 1:
        return [cell(config) for config in sorted(todo, key=lambda c: -weight("training", c))]
    ways: dict[Config, list[Config]] = {}  # what is cut after every round -> the sparsities it is to come by
    for config in todo:
        shares = side_by_side(config) and config.method in FRACTION
        ways.setdefault(replace(config, sparsity=0.0) if shares else config, []).append(config)
    groups: dict[Any, list[list[Config]]] = {}
    for way, own in ways.items():
        common = replace(way, **{name: getattr(COMMON, name) for name in APART}) if side_by_side(way) else way
        groups.setdefault((common, tuple(sorted(c.sparsity for c in own))), []).append(own)
    cells = []
    for group in groups.values():
        first = group[0]
        most = max(1, min(together, LONGEST // total(first))) if first[0].device == "cpu" else together
        cells += [[c for own in group[i : i + most] for c in own] for i in range(0, len(group), most)]
    return [cell(*part) for part in sorted(cells, key=lambda part: -total(part))]


def total(configs: Sequence[Any], measure: str = "training") -> int:
    """Return about how long a cell of these configurations takes, as `weight` counts: shared rounds once.

    >>> alone = [Config(method="lt", sparsity=s) for s in (0.8, 0.9)]
    >>> total(alone[:1]), total(alone[1:]), total(alone)
    (3600, 4800, 5200)
    """
    longest = max(configs, key=lambda c: c.sparsity)
    each = weight(measure, longest)
    if lesser := len({c.sparsity for c in configs}) - 1:
        each += lesser * weight(measure, replace(longest, sparsity=0.0))
    return each * (len(configs) // (lesser + 1))


def weight(measure: str, config: Any) -> int:
    """Return about how long a cell takes: gradient evaluations of all rounds, and for each epoch's evaluation three.

    What is measured beside training adds its own; a configuration that is no `Config` says it itself.

    >>> weight("training", Config(method="lt", sparsity=0.9, epochs=20))
    4800
    """
    if not isinstance(config, Config):
        return config.weight
    rounds = 1
    if config.method in FRACTION and config.sparsity:
        left = math.log(1 - config.sparsity) / math.log(1 - FRACTION[config.method])
        rounds += math.ceil(left - 1e-9)
    steps = images(config) // config.batch
    return rounds * config.epochs * (steps * (2 if config.optimizer == "sam" else 1) + 3) + BESIDE.get(measure, 0)


def images(config: Config) -> int:
    """Return how many images a run is trained on: its train_size, or with a fifth held out what is left."""
    return config.train_size or IMAGES.get(config.dataset, 1000)


def _short(value: Any) -> Any:
    """Round to 6 digits: of hundreds of epochs, for figures."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


class Runs:
    """Rows of runs, found by configuration, whatever the device they were made on.

    Args:
        rows: of the experiments in MEASURED; others are left out.

    Attributes:
        asked: the keys that were found: what a verdict rests on.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.asked: set[tuple[str, Any]] = set()
        self._rows = {(row["experiment"], _config(row)): row for row in rows if row["experiment"] in MEASURED}

    def __getitem__(self, config: Config) -> Row:
        """Return the row of a training run; KeyError when there is none."""
        return self.measured("training", config)

    def measured(self, measure: str, config: Any) -> Row:
        """Return the row of an experiment on a configuration; KeyError when there is none."""
        place = {f.name: f.default for f in fields(config) if f.name in PLACE}
        key = measure, replace(config, **place)
        row = self._rows[key]
        self.asked.add(key)
        return row

    def behind(self) -> list[Row]:
        """Return the rows that were asked for, in the order in which all were given."""
        return [row for key, row in self._rows.items() if key in self.asked]

    def configs(self, kind: type[Any] = Config) -> list[Any]:
        """Return the configurations of a kind there are, whatever was measured of their runs, each once."""
        return list(dict.fromkeys(config for _, config in self._rows if isinstance(config, kind)))


def _config(row: Row) -> Any:
    """Return what configured a row's run, at the default place."""
    kind = MEASURED[row["experiment"]]
    stated = {f.name: row.get(f.name, f.default) for f in fields(kind) if f.name not in PLACE}
    return kind(**stated)  # rows from before there was a field were made as its default is
