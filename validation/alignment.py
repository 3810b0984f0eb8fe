"""The stored measurement of directions: `python -m validation.alignment DIR [--pack]` makes it, with table and figure.

The protocol is `validation.experiments.alignment`. DIR keeps the finished cells in rows.jsonl, and the same command
goes on; --pack puts rows and figure in the place of the committed ones. One arm was added when the others were seen,
`afterwards`: plain SGD at the learning rate of the momentum runs, a tenth of their effective step, to tell momentum
from the length of a step.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from validation.cells import Cell, read, run_cells, write
from validation.experiments.alignment import BATCHES, COMMON, STAGES, TASKS, whole
from validation.figures import draw_alignment
from validation.seeds import Mean, over_seeds

Rows = Sequence[Mapping[str, Any]]
HEADS = [
    *("task", "zeros", "batch", "stage", "noise r", "SAM, full", "predicted", "S2-SAM, full", "predicted"),
    *("kept of SAM's", "S2-SAM, SAM", "predicted", "another batch, SAM", "seeds"),
]
CHAIN = ("fresh_batch", "used_batch", "before_batch", "stale_batch")  # from SAM's direction to the stale one


def stored() -> Path:
    """Return the committed rows, which travel with the package."""
    return Path(str(files("validation").joinpath("results/alignment.jsonl.gz")))


def afterwards() -> list[Cell]:
    """Return the cells of the arm that was added: momentum 0, dense, learning rate 0.1."""
    at: dict[str, Any] = {**TASKS["digits"], **COMMON, "alpha": 0.1, "sparsity": 0.0, "momentum": 0.0, "seeds": 5}
    return [Cell.of("network_alignment", **at, replacement=False, batch=batch) for batch in BATCHES]


def protocol(rows: Rows) -> str:
    """Return one sentence on how these rows were made; the whole protocol is the experiment's docstring."""
    at, seeds = rows[0]["at"], sorted({r["seeds"] for r in rows})
    return (
        f"S2SAM around SGD, compact network without norms, {at['steps']} steps at every batch size, effective step "
        f"{at['alpha']:g} falling as a cosine, rho {at['rho']:g}; fixed random masks; early, middle and late are steps "
        f"at {', '.join(f'{100 * low:.0f}-{100 * high:.0f} %' for low, high in STAGES.values())} of the run; means and "
        f"95 % Student intervals over {' or '.join(map(str, seeds))} seeds; r is the noise of a batch's gradient over "
        "its signal, predictions are from r and from how far the step turns the true gradient"
    )


def chosen(rows: Rows, **at: Any) -> list[Mapping[str, Any]]:
    """Return the rows of a stage, task and options, whichever are given: stage="late", dataset="digits", batch=32."""
    return [r for r in rows if all(({"stage": r["stage"]} | r["at"])[key] == value for key, value in at.items())]


def share(row: Mapping[str, Any]) -> Mean:
    """Return cos(S2-SAM, full)/cos(SAM, full), the quotient of the means over seeds, with an interval.

    A quotient m/k is judged by the values u - (m/k) v, of mean 0 over the seeds: their Student interval over |k| (the
    delta method; pairs of one seed are kept together). Infinite where cos(SAM, full) is not clearly positive.
    """
    u, v = row["values"]["stale_full"], row["values"]["batch_full"]
    below = over_seeds(v)
    quotient = over_seeds(u).mean / below.mean
    half = over_seeds([a - quotient * b for a, b in zip(u, v, strict=True)]).half / abs(below.mean)
    return Mean(quotient, half if below.mean > below.half else float("inf"), below.n)


def losses(row: Mapping[str, Any]) -> list[Mean]:
    """Return what each difference takes from the cosine to SAM's direction: batch, its use, the step, the point y.

    They add up to 1 - stale_batch: another batch; that this batch made the step; weights before the step; y.
    """
    values = row["values"]
    ends = [[1.0] * row["seeds"], *(values[name] for name in CHAIN)]
    return [over_seeds([a - b for a, b in zip(one, other, strict=True)]) for one, other in pairwise(ends)]


def table(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Return heads and lines: mean cosines over seeds with 95 % intervals, a line for each row given."""
    order = list(STAGES)
    key = lambda r: (r["family"], r["at"]["sparsity"], r["at"]["batch"], order.index(r["stage"]))  # noqa: E731
    return HEADS, [_line(r) for r in sorted(rows, key=key)]


def _line(row: Mapping[str, Any]) -> list[str]:
    at = row["at"]
    mean = {name: over_seeds(values) for name, values in row["values"].items()}
    kept = share(row)
    return [
        *(row["family"], f"{100 * at['sparsity']:g} %", str(at["batch"]), row["stage"]),
        f"{10 ** mean['log10_r'].mean:.2g}",
        *(str(mean["batch_full"]), f"{mean['noise_full'].mean:.2f}"),
        *(str(mean["stale_full"]), f"{mean['noise_stale_full'].mean:.2f}"),
        str(kept) if kept.half < float("inf") else "",
        *(str(mean["stale_batch"]), f"{mean['noise_stale_batch'].mean:.2f}", str(mean["fresh_batch"])),
        str(row["seeds"]),
    ]


def _progress(cells: Iterable[Cell]) -> Iterator[Cell]:
    todo = list(cells)
    for i, cell in enumerate(todo):
        at = dict(cell.options)
        print(f"{i + 1}/{len(todo)} {at['dataset']}, {100 * at['sparsity']:g} % zeros, batch {at['batch']}", flush=True)
        yield cell


def main() -> None:
    """Measure what DIR does not hold yet, leave rows.jsonl and alignment.svg there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--pack", action="store_true", help="put rows and figure in the place of the committed ones")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows = run_cells(whole() + afterwards(), options.folder / "rows.jsonl", _progress)
    draw_alignment(rows, options.folder / "alignment.svg")
    if options.pack:
        write(stored(), rows)
        draw_alignment(read(stored()), stored().parent / "alignment.svg")
    heads, lines = table(chosen(rows, dataset="digits", momentum=0.9, replacement=False))
    for line in [heads, *lines]:
        print(" | ".join(line))


if __name__ == "__main__":
    main()
