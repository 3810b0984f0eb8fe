"""`s2sam train`: every combination of the methods, optimizers and seeds asked for, a folder each, then one table."""

import json
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from validation.cells import Row, write
from validation.datasets import DATASETS
from validation.models import MODELS
from validation.terminal import console, progress_bar, refuse, usable, writable
from validation.training import CONTROLS, FAMILIES, METHODS, OPTIMIZERS, Config, check, run, summary
from validation.training.config import AUGMENTATIONS
from validation.training.methods import ASIDE
from validation.training.recipes import RECIPES
from validation.training.table import table


def _each(name: str) -> str:
    """Return a field's default for every data set, in words."""
    return ", ".join(f"{getattr(Config.of(dataset), name)} {dataset}" for dataset in DATASETS)


_METHODS = f"{', '.join(METHODS)}; comma-separated; all: all but {', '.join(ASIDE)}."
_OPTIMIZERS = f"{', '.join((*OPTIMIZERS, *CONTROLS))}; comma-separated; all: the first three."
_SPARSITY = "Fraction removed: of the weights, in chex of the channels; chase also removes half of these. Default: 0.9."
_RECIPE = f"A named configuration, which other options change: {', '.join(RECIPES)}."
_AUGMENT = f"{', '.join(AUGMENTATIONS)}: what is done to images. Default: {_each('augment')}."
_FOLDER = "Folder of the images: Fashion-MNIST's (default: Debian's package's), CIFAR's binary version."
_OUT = Path("s2sam-out/train")


def train(
    recipe: Annotated[str | None, typer.Option(help=_RECIPE)] = None,
    method: Annotated[str | None, typer.Option(help=f"{_METHODS} Default: rigl.")] = None,
    optimizer: Annotated[str | None, typer.Option(help=f"{_OPTIMIZERS} Default: s2sam.")] = None,
    sparsity: Annotated[float | None, typer.Option(help=_SPARSITY)] = None,
    dataset: Annotated[str | None, typer.Option(help=f"{', '.join(DATASETS)}. Default: digits.")] = None,
    model: Annotated[str | None, typer.Option(help=f"{', '.join(MODELS)}. Default: {_each('model')}.")] = None,
    epochs: Annotated[int | None, typer.Option(help=f"Of each round. Default: {_each('epochs')}.")] = None,
    batch: Annotated[int | None, typer.Option(help=f"Images of a step. Default: {_each('batch')}.")] = None,
    lr: Annotated[float | None, typer.Option(help="First learning rate; it falls as a cosine. Default: 0.1.")] = None,
    rho: Annotated[float | None, typer.Option(help="Radius of the perturbation, not of sgd. Default: 0.05.")] = None,
    momentum: Annotated[float | None, typer.Option(help="Of SGD. Default: 0.9.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of SGD. Default: 0.0005.")] = None,
    augment: Annotated[str | None, typer.Option(help=_AUGMENT)] = None,
    seed: Annotated[str, typer.Option(help="Of every random choice, >= 0; comma-separated.")] = "0",
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Threads of torch; more than 1 pays off in large networks.")] = 1,
    data_dir: Annotated[str | None, typer.Option(help=_FOLDER)] = None,
    out: Annotated[Path, typer.Option(help="Folder for METHOD-OPTIMIZER-SEED/ and rows.jsonl.")] = _OUT,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where these runs were stopped.")] = False,
) -> None:
    """Train a network, sparse or dense, by SGD, SAM or S2-SAM; several of each are compared on equal terms.

    Runs of one seed begin at the same weights and see the same batches. Stopped at any moment, a run goes on by
    --resume, on the CPU bit for bit.
    """
    given: dict[str, Any] = {"dataset": dataset, "model": model, "data_dir": data_dir, "sparsity": sparsity, "rho": rho}
    given |= {"epochs": epochs, "batch": batch, "lr": lr, "momentum": momentum, "weight_decay": weight_decay}
    given |= {"augment": augment, "threads": threads, "device": usable(device)}
    rows: list[Row] = []
    try:
        base = _based(recipe, {name: value for name, value in given.items() if value is not None})
        arms = _listed("optimizer", optimizer, (*OPTIMIZERS, *CONTROLS), OPTIMIZERS, base.optimizer)
        names = _listed("method", method, METHODS, FAMILIES, base.method), arms
        configs = [replace(base, method=m, optimizer=o, seed=s) for m, o, s in product(*names, _seeds(seed))]
        check(configs, writable(out), resume)
        _stored(out / "rows.jsonl")
        with _asked_to_stop() as asked, progress_bar() as bar, warnings.catch_warnings():
            task = bar.add_task("")
            for i, config in enumerate(configs):
                place = f"{i + 1}/{len(configs)} {config.name}"

                def tick(cut: int, done: int, total: int, place: str = place) -> bool:
                    text = f"{place} round {cut + 1}" if cut else place
                    bar.update(task, completed=done, total=total, description=text.ljust(34))
                    return asked()

                warnings.showwarning = lambda message, *_, name=config.name: bar.console.print(
                    f"{name}: {message}", markup=False
                )
                rows.append(summary(config, run(config, out, tick, resume=resume)))
                _merge(out / "rows.jsonl", rows)
    except (ValueError, ModuleNotFoundError) as error:
        refuse(_as_option(str(error)))
    except OSError as error:
        refuse(f"--out must be a folder that can be written, got {error}; name another, or make room and add --resume")
    except KeyboardInterrupt:
        print(f"\ns2sam: stopped; what is done is in {out}; the same command with --resume goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    heads, lines = table(rows)
    view = Table(*heads, box=None, header_style="bold")
    for line in lines:
        view.add_row(*line)
    console.print(view)
    from validation.figures import draw_training  # a second of imports, when there is something to draw

    drawn = draw_training(_stored(out / "rows.jsonl"), out / "training.svg")
    console.print(f"rows: {out / 'rows.jsonl'}, figure: {drawn}")


def _based(recipe: str | None, given: dict[str, Any]) -> Config:
    """Return the recipe, or the data set's defaults, with what was given in its place."""
    if recipe is None:
        return Config.of(**given)
    if recipe not in RECIPES:
        refuse(f"--recipe must be one of {', '.join(RECIPES)}, got {recipe or 'nothing'}; pick one")
    return replace(RECIPES[recipe], **given)


def _listed(name: str, text: str | None, known: Collection[str], everything: Sequence[str], default: str) -> list[str]:
    """Return the names in a comma-separated list, each once; `all` among them stands for everything."""
    parts = [part.strip() for part in (default if text is None else text).split(",")]
    names = [name for part in parts for name in (everything if part == "all" else [part])]
    if wrong := [name for name in names if name not in known]:
        refuse(f"--{name} must be of {', '.join(known)}, or all, got {wrong[0] or 'nothing'}; pick one")
    return list(dict.fromkeys(names))


def _seeds(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        refuse(f"--seed must be whole numbers, comma-separated, got {text}; give 0,1,2 for example")


def _as_option(message: str) -> str:
    """Return an engine's message with its argument written as on the command line."""
    name, _, rest = message.partition(" ")
    known = {*Config.__dataclass_fields__, "out"}
    return f"--{name.replace('_', '-')} {rest}" if name in known else message


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Make the first Ctrl-C a question that the run answers after its batch; a second one ends at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        del frame
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


def _stored(path: Path) -> list[Row]:
    """Return the rows of former runs.

    Raises:
        ValueError: when the file holds something else: it would be lost.
    """
    lines = path.read_text().splitlines() if path.exists() else []
    try:
        return [row for row in map(json.loads, lines) if row["run"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"out must hold rows of training runs only, got others in {path}; name another") from error


def _merge(path: Path, rows: list[Row]) -> None:
    """Put these runs' rows in the place of their former ones in the file of all runs."""
    new = {row["run"] for row in rows}
    write(path, [row for row in _stored(path) if row["run"] not in new] + rows)
