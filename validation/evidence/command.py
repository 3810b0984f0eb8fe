"""`s2sam evidence`: tune every arm on the validation part, train what is judged, and say where each claim stands."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TaskID

from validation.cells import Cell, Row, read, run_cells
from validation.datasets import DataError
from validation.evidence import report
from validation.evidence.experiments import EXPERIMENTS
from validation.evidence.protocol import BASES, TUNING, Scale, planned, unique
from validation.evidence.runs import Runs, cell, configs, grouped, total
from validation.evidence.translated import BASE
from validation.evidence.translated import scale as translated_scale
from validation.executors import executor
from validation.terminal import console, progress_bar, refuse, usable, writable
from validation.training import Config
from validation.translation.corpus import CorpusError

_DEFAULT = [label for label, experiment in EXPERIMENTS.items() if experiment.of == "images"]
_CLAIMS = f"{', '.join(EXPERIMENTS)}; comma-separated. Default: all but D9, which needs the extra `translation`."
_EPOCHS = ", ".join(f"{base.epochs} {name}" for name, base in BASES.items())
_OUT = Path("s2sam-out/evidence")


def evidence(
    claims: Annotated[str | None, typer.Option(help=_CLAIMS)] = None,
    seeds: Annotated[int, typer.Option(help="Judged, >= 2; a third of them more, at least one, tune.")] = 3,
    dataset: Annotated[str, typer.Option(help=f"{', '.join(BASES)}.")] = "digits",
    epochs: Annotated[int | None, typer.Option(help=f"Of each round. Default: {_EPOCHS}, {BASE.epochs} D9.")] = None,
    model: Annotated[str | None, typer.Option(help="Default: compact for digits, else resnet32.")] = None,
    train_size: Annotated[int | None, typer.Option(help="Images trained on. Default: all but a fifth.")] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda.")] = "cpu",
    data_dir: Annotated[str | None, typer.Option(help="Folder of Fashion-MNIST (default: Debian's) or CIFAR.")] = None,
    workers: Annotated[int, typer.Option(help="Processes on this machine, of one thread each.")] = 1,
    address: Annotated[str | None, typer.Option("--executor", help="dask://HOST:PORT: a cluster instead.")] = None,
    together: Annotated[int, typer.Option(help="Most runs of small networks that share a step; 1: none.")] = 10,
    older: Annotated[bool, typer.Option(help="Take rows of older code in --out too: each names its own.")] = False,
    source: Annotated[str | None, typer.Option(help="D9: a sentence a line. Default: installed catalogues.")] = None,
    target: Annotated[str | None, typer.Option(help="D9: the translations of --source, line by line.")] = None,
    limit: Annotated[int | None, typer.Option(help=f"D9: of training pairs. Default: {BASE.limit}.")] = None,
    width: Annotated[int | None, typer.Option(help=f"D9: of the Transformer. Default: {BASE.width}.")] = None,
    vocabulary: Annotated[int | None, typer.Option(help=f"D9: tokens. Default: {BASE.vocabulary}.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for rows.jsonl, findings.json and figures.")] = _OUT,
) -> None:
    """Measure the paper's experimental claims by training, with intervals, controls and verdicts.

    Stopped at any moment, the same command goes on; more seeds keep the rows of the tuning that they share.
    """
    labels = _DEFAULT if claims is None else [label.strip() for label in claims.split(",")]
    if wrong := [label for label in labels if label not in EXPERIMENTS]:
        refuse(f"--claims must be of {', '.join(EXPERIMENTS)}, got {wrong[0] or 'nothing'}; pick one")
    if seeds < 2:
        refuse(f"--seeds must be >= 2, got {seeds}; one seed has no interval")
    if together < 1:
        refuse(f"--together must be >= 1, got {together}; 1 trains every run alone")
    if dataset not in BASES:
        refuse(f"--dataset must be one of {', '.join(BASES)}, got {dataset}; pick one")
    common: dict[str, Any] = {"epochs": epochs, "device": usable(device)}
    images = {"model": model, "data_dir": data_dir, "train_size": train_size}
    text = {"source": source, "target": target, "limit": limit, "width": width, "vocabulary": vocabulary}
    translating = any(EXPERIMENTS[label].of == "text" for label in labels)
    if not translating and (given := list(_given(text))):
        refuse(f"--{given[0]} must come with D9, got {', '.join(labels)}; add --claims D9")
    try:
        scales = {"images": Scale.of(seeds, dataset, **_given(common | images))}
        if translating:
            scales["text"] = translated_scale(seeds, **_given(common | text))
        with executor(workers, address) as pool, progress_bar() as bar:
            rows = measure(labels, scales, writable(out) / "rows.jsonl", bar, pool, together, older)
    except BrokenProcessPool:
        refuse(f"a worker died, of too little memory perhaps; finished rows are in {out}, the same command resumes")
    except (CorpusError, DataError, ModuleNotFoundError) as error:
        refuse(str(error))
    except (RuntimeError, ValueError) as error:
        refuse("--" + str(error).replace("train_size", "train-size", 1))
    except KeyboardInterrupt:
        print(f"\ns2sam: stopped; finished rows are in {out}; the same command resumes", file=sys.stderr)
        raise typer.Exit(130) from None
    tell(rows, out, labels)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def measure(
    labels: list[str],
    scales: Mapping[str, Scale],
    path: Path,
    bar: Progress,
    pool: Executor | None = None,
    together: int = 1,
    older: bool = False,
) -> list[Row]:
    """Run the trials, then, at the trials chosen, what is judged; return all rows.

    Args:
        labels: of the experiments.
        scales: of the runs, by what their networks learn (`Evidence.of`).
        path: the rows file; it keeps what other experiments, or more seeds, have put there.
        bar: shows how much of the work is done, and the time that remains.
        pool: what the runs go on; this process by default.
        together: most runs of small networks that share a step.
        older: whether rows of older code in the file are taken too.
    """
    chosen = [(experiment, scales[experiment.of]) for experiment in map(EXPERIMENTS.__getitem__, labels)]
    comparisons = [(c, scale) for experiment, scale in chosen for c in experiment.comparisons(scale)]
    held = read(path) if older else []
    task = bar.add_task("", total=None)
    cells: list[Cell] = []
    rows: list[Row] = []
    while True:
        runs = Runs(held + rows)
        todo = unique([each for c, scale in comparisons for each in c.lacking(runs, scale)])
        if not todo:
            return held + rows
        done = sum(_weight(c) for c in cells)
        to_come = _cells(planned(comparisons, runs), together)
        bar.update(task, total=done + sum(map(_weight, to_come)))
        cells += _cells(todo, together)
        rows = _run(cells, path, bar, task, pool)


def _cells(todo: Sequence[tuple[str, Any]], together: int) -> list[Cell]:
    """Return the cells of configurations, each with the experiment that it is of; only training is done together."""
    trained = grouped([config for measure, config in todo if measure == "training"], together)
    return trained + [cell(config, measure=measure) for measure, config in todo if measure != "training"]


def _weight(of: Cell) -> int:
    return total(configs(of), of.name)


def _run(cells: list[Cell], path: Path, bar: Progress, task: TaskID, pool: Executor | None) -> list[Row]:
    """Run the cells, and show how far they are."""
    weights = {c.key: _weight(c) for c in cells}

    def shown(left: Iterable[Cell]) -> Iterator[Cell]:
        todo = list(left)
        bar.update(task, completed=sum(weights.values()) - sum(weights[c.key] for c in todo))
        for c in todo:
            first, *_ = configs(c)
            kind = first.method if isinstance(first, Config) else c.name
            what = f"{kind} {first.optimizer} {first.sparsity:.0%}"
            bar.update(task, description=f"{'tuning' if first.seed >= TUNING else 'training'} {what}".ljust(32))
            yield c
            bar.advance(task, weights[c.key])

    return run_cells(cells, path, shown, pool, keep=True)


def tell(rows: list[Row], out: Path, labels: list[str] | None = None) -> None:
    """Judge, print, write and draw.

    Args:
        rows: as stored.
        out: the folder for findings.json and figures.
        labels: of the experiments; all by default.
    """
    findings = report.judged(rows, labels)
    for finding in findings:
        console.print(f"\n{finding}\ndecides: {finding.rule}", markup=False, highlight=False)
        console.print(report.table(finding))
    console.print("\nwritten: " + ", ".join(map(str, report.write(findings, out))))
