"""One table of training runs, a line for each method: what the terminal, README and the report show."""

import gzip
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from validation.cells import Row

NAMES = {"sgd": "SGD", "sam": "SAM", "s2sam": "S2-SAM", "random": "random", "unmasked": "unmasked"}


def stored() -> Path:
    """Return the committed rows of training runs, which travel with the package."""
    return Path(str(files("validation").joinpath("results/training.jsonl.gz")))


def read(path: Path) -> list[Row]:
    """Return the rows of a file that `s2sam train` wrote, or of its compressed copy."""
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.decode().splitlines()]


def protocol(rows: Sequence[Row]) -> str:
    """Return one sentence on how these runs were made."""
    r = rows[0]
    return (
        f"{r['model']} network, {r['dataset']}, sparsity {r['sparsity']}, {r['epochs']} epochs of each round, batch "
        f"{r['batch']}, SGD with momentum {r['momentum']}, learning rate {r['lr']} falling as a cosine, weight decay "
        f"{r['weight_decay']}, rho {r['rho']}"
    )


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heads and lines: test accuracy (%), mean and standard deviation over seeds, non-zeros, relative costs.

    Args:
        rows: the last row of each run, as `s2sam train` stores them. Training costs are operations relative to dense
            training by SGD for one round, inference to the dense network's.
    """
    optimizers = [name for name in NAMES if any(row["optimizer"] == name for row in rows)]
    heads = ["method", *(f"{NAMES[name]}, %" for name in optimizers), "seeds", "non-zeros", "exact"]
    heads += [*(f"training, {NAMES[name]}" for name in optimizers), "inference"]
    return heads, [_line(method, optimizers, rows) for method in dict.fromkeys(row["method"] for row in rows)]


def _line(method: str, optimizers: Sequence[str], rows: Sequence[Row]) -> list[str]:
    mine = [row for row in rows if row["method"] == method]
    by = {name: [row for row in mine if row["optimizer"] == name] for name in optimizers}
    seeds = sorted({len(runs) for runs in by.values() if runs})
    counts = sorted({row["nonzeros"] for row in mine})
    off = sorted({f"{row['kept']} for {row['promised']}" for row in mine if row["kept"] != row["promised"]})
    return [
        method,
        *(_spread([100 * row["test_accuracy"] for row in runs]) for runs in by.values()),
        "-".join(str(n) for n in (seeds[0], seeds[-1])[: len(seeds)]),
        "-".join(f"{n:,}" for n in (counts[0], counts[-1])[: len(counts)]),
        ", ".join(off) or "yes",
        *(_mean(runs, "relative_cost") for runs in by.values()),
        _mean(mine, "relative_inference"),
    ]


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    return f"{fmean(values):.2f}" + (f"±{stdev(values):.2f}" if len(values) > 1 else "")


def _mean(runs: Sequence[dict[str, Any]], key: str) -> str:
    return f"{fmean(row[key] for row in runs):.3f}" if runs else ""
