"""The `s2sam` command: validate, claims, figures, bench, train, evidence, landscape. Bad usage: a line, exit code 2."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

import theory
from validation.cells import Cell, read, run_cells
from validation.evidence.command import evidence, tell
from validation.executors import executor
from validation.landscape_command import landscape
from validation.rungs import marks
from validation.standing import Standing, standings
from validation.terminal import console, progress_bar, refuse, usable, writable
from validation.training.command import train

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Validate the theory of S2-SAM, and train: check every claim on certified and real problems; compare methods.",
)
DEFAULT_OUT = Path("s2sam-out")


def _labels(claims: str | None) -> list[str]:
    try:
        return [c.label for c in (theory.select(claims) if claims else theory.CLAIMS.values())]
    except ValueError as error:
        refuse(f"--claims: {error}")


def _plugin(path: Path | None) -> Any:
    """Load a plugin, if one is given: its claims join the registry."""
    if path is None:
        return None
    from validation.plugin import PluginError, load

    try:
        return load(path)
    except PluginError as error:
        refuse(str(error))


def _progress(cells: Iterable[Cell]) -> Iterator[Cell]:
    cells = list(cells)
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=len(cells))
        for cell in cells:
            options = dict(cell.options)
            bar.update(task, description=f"{cell.name} {options.get('family', '')} {options.get('rule', '')}".ljust(34))
            yield cell
            bar.advance(task)


def _processes(asked: int | None, plugin: Path | None) -> int:
    """Return the number of processes: what was asked for, else one for each core, but one for a plugin."""
    if asked is not None:
        return asked
    return 1 if plugin else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@app.command()
def validate(
    quick: Annotated[bool, typer.Option("--quick", help="Small grids, under half a minute.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Large grids: half an hour of one core, 2.5 GB.")] = False,
    claims: Annotated[str | None, typer.Option(help="Labels or groups, comma-separated: B1,B5. Default: all.")] = None,
    device: Annotated[str, typer.Option(help="Where the batched runs live: cpu, cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of every random choice, >= 0.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for rows.jsonl, figures/ and report/.")] = DEFAULT_OUT,
    plugin: Annotated[Path | None, typer.Option(help="A Python file with claims, measures and rules of yours.")] = None,
    recompute: Annotated[bool, typer.Option("--recompute", help="Run again what rows.jsonl already holds.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes, of one thread each. Default: a core each.")] = None,
    address: Annotated[str | None, typer.Option("--executor", help="dask://HOST:PORT: a cluster instead.")] = None,
) -> None:
    """Check the claims, then write rows, figures and the report; the same command resumes after an interruption.

    Exit code 0 when every claim stands as the registry expects, 1 when one does not, 2 on bad usage.
    """
    if quick and deep:
        refuse("--quick and --deep exclude each other; give one of them")
    if seed < 0:
        refuse(f"--seed must be >= 0, got {seed}; use 0, 1, 2, ...")
    if plugin is not None and ((workers or 1) > 1 or address is not None):
        refuse("--plugin must run in this process, got --workers or --executor; leave them out")
    own = _plugin(plugin)
    labels, folder, where = _labels(claims), writable(out), usable(device)
    torch.set_num_threads(
        1
    )  # the tensors are small: a second thread costs more than it brings, and spins when disturbed
    from validation.suite import cells  # after the refusals, so that bad usage is answered at once

    size = "quick" if quick else "deep" if deep else "default"
    todo = cells(size, [x for x in labels if own is None or x not in own.labels], seed, where)
    todo += own.cells(size, labels, seed) if own else []
    try:
        with executor(_processes(workers, plugin), address) as pool:
            rows = run_cells(todo, folder / "rows.jsonl", _progress, pool, recompute=recompute)
    except KeyboardInterrupt:
        print(
            f"\ns2sam: stopped; finished rows are in {folder / 'rows.jsonl'}; the same command resumes", file=sys.stderr
        )
        raise typer.Exit(130) from None
    except BrokenProcessPool:
        refuse(f"a worker died, of too little memory perhaps; finished rows are in {folder}, the same command resumes")
    except (RuntimeError, ValueError) as error:
        if str(error).startswith(("workers must", "executor must", "out must")):
            refuse(f"--{error}")
        if own is None or not str(error).startswith("--plugin"):
            raise
        refuse(str(error))
    table = _draw(rows, folder, labels)
    _print(table)
    console.print(f"report: {folder / 'report' / 'index.html'}")
    unexpected = [s.claim.label for s in table if not s.expected]
    if unexpected:
        print(f"s2sam: not as the registry expects: {', '.join(unexpected)}", file=sys.stderr)
        raise typer.Exit(1)


def _draw(rows: list[dict], folder: Path, labels: list[str]) -> list[Standing]:
    from validation import figures, report
    from validation.evidence import stored

    drawn = figures.draw(rows, folder / "figures") | stored.draw(folder / "figures", labels)
    rows = rows + stored.rows(labels)
    report.write(rows, drawn, folder / "report" / "index.html", labels)
    return standings(rows, labels)


def _print(table: list[Standing]) -> None:
    heads = ("claim", "what", "standing", "rungs", "worst ratio", "comparisons", "instance-steps")
    view = Table(*heads, box=None, header_style="bold")
    for s in table:
        ratio = "" if s.ratio is None else f"{s.ratio:.4f}"
        view.add_row(s.claim.label, s.claim.title, s.verdict, marks(s.rungs), ratio, f"{s.n:,}", f"{s.steps:,}")
    console.print(view)


@app.command(name="claims")
def list_claims(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each claim.")] = False,
) -> None:
    """List the claims: label, title, kind, domain."""
    if as_json:
        fields = ("label", "title", "statement", "origin", "source", "kind", "measures", "condition", "proof")
        for c in theory.CLAIMS.values():
            domain = [f"{r.name} {r.relation} {r.text}" for r in c.requires]
            print(json.dumps({**{f: getattr(c, f) for f in fields}, "requires": domain}))
        return
    view = Table("claim", "title", "kind", "domain", box=None, header_style="bold")
    for c in theory.CLAIMS.values():
        view.add_row(c.label, c.title, c.kind, ", ".join(f"{r.name} {r.relation} {r.text}" for r in c.requires))
    console.print(view)


@app.command()
def figures(
    folder: Annotated[Path, typer.Argument(help="A folder that holds rows.jsonl.", metavar="DIR")],
    plugin: Annotated[Path | None, typer.Option(help="The plugin that was validated, if any.")] = None,
) -> None:
    """Redraw figures and report from stored rows, of `s2sam validate` or `s2sam evidence`; nothing is measured."""
    _plugin(plugin)
    source = next((folder / name for name in ("rows.jsonl", "rows.jsonl.gz") if (folder / name).exists()), None)
    if source is None:
        refuse(f"DIR must hold rows.jsonl, got {folder}; make it with: s2sam validate --out {folder}")
    rows = read(source)
    if not rows:
        refuse(
            f"{source} must hold the rows of at least one finished cell, got none; run: s2sam validate --out {folder}"
        )
    if rows[0]["experiment"] == "training":
        return tell(rows, writable(folder))
    labels = {r["claim"] for r in rows}
    if unknown := sorted(labels - theory.CLAIMS.keys()):
        refuse(f"{source} must speak of known claims, got {', '.join(unknown)}; give the --plugin that registers them")
    bounded = {label for label, c in theory.CLAIMS.items() if c.kind != "finding"}
    shown = theory.CLAIMS if labels >= bounded else labels  # a whole validation has the paper's findings beside it
    _print(_draw(rows, writable(folder), sorted(shown, key=list(theory.CLAIMS).index)))


@app.command()
def bench(
    what: Annotated[
        str, typer.Argument(help="What to measure: trajectories, sparse, optimizer, memory, training, peers.")
    ] = "trajectories",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Measure the library beside what it is compared with; medians of interleaved repetitions."""
    from validation.bench import BENCHES

    if what not in BENCHES:
        refuse(f"WHAT must be one of {', '.join(BENCHES)}, got {what}")
    result = BENCHES[what]()
    if as_json:
        print(json.dumps(result))
        return
    rows = result.pop("rows", [])
    for name, value in result.items():
        console.print(f"{name:32} {value}")
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, list)))
    view = Table(*names, box=None, header_style="bold")
    for row in rows:
        view.add_row(*(str(row.get(name, "")) for name in names))
    if rows:
        console.print(view)


app.command()(train)
app.command()(evidence)
app.command()(landscape)
