"""`s2sam landscape`: the loss surface around networks that `s2sam train` left, measured and drawn on one colour scale.

For a network of your own, of any `nn.Module`, the functions it is made of are called from Python:

    from validation.landscape import roughness, surfaces, top_eigenvalue

    tables = surfaces(model, images, labels, masks, directions=5, batchnorm="fixed")  # (5, 21, 21); masks or None
    print([roughness(table) for table in tables], top_eigenvalue(model, images, labels, masks))
"""

import math
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

from validation.cells import Row, provenance, write
from validation.evidence.surfaces import WHERE, measured, shown
from validation.landscape import BATCHNORM
from validation.terminal import console, progress_bar, refuse, usable, writable
from validation.training import Config, checkpoint, images
from validation.training.loop import KEYS, Training

_OUT = Path("s2sam-out/landscape")
_FILE = "checkpoint.pt"
_RUNS = "Folders of runs of `s2sam train`, folders that hold such folders, or checkpoint files."


def landscape(
    checkpoints: Annotated[list[Path], typer.Argument(metavar="CHECKPOINT...", help=_RUNS)],
    grid: Annotated[int, typer.Option(help="Points of a side, odd, >= 3.")] = 21,
    span: Annotated[float, typer.Option(help="Half the side, in lengths of the filters.")] = 1.0,
    directions: Annotated[int, typer.Option(help="Random planes, each of two directions.")] = 5,
    batchnorm: Annotated[str, typer.Option(help="fixed: statistics of training; batch: of the images.")] = "fixed",
    unmasked: Annotated[bool, typer.Option("--unmasked", help="Let directions leave the support.")] = False,
    number: Annotated[int, typer.Option("--images", help="Training images, at most.")] = 512,
    device: Annotated[str, typer.Option(help="Where to measure: cpu, cuda.")] = "cpu",
    data_dir: Annotated[str | None, typer.Option(help="Folder of Fashion-MNIST. Default: that of the run.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for landscape.jsonl and landscape.svg.")] = _OUT,
) -> None:
    """Measure the loss surface around trained networks: roughness Ra, log-Ra, and the Hessian's top eigenvalue.

    Networks of one seed are measured on the same images and, of one shape, along the same Gaussians.
    """
    if grid < 3 or grid % 2 == 0:
        refuse(f"--grid must be odd and >= 3, so that the network is one of its points, got {grid}; 21 is usual")
    if not 0 < span < float("inf"):
        refuse(f"--span must be finite and > 0, got {span}; 1 is usual")
    for name, value, usual in (("directions", directions, 5), ("images", number, 512)):
        if value < 1:
            refuse(f"--{name} must be >= 1, got {value}; {usual} is usual")
    if batchnorm not in BATCHNORM:
        refuse(f"--batchnorm must be one of {', '.join(BATCHNORM)}, got {batchnorm}; pick one")
    variant = f"{WHERE[unmasked]}, {batchnorm}"
    place, files, rows = usable(device), [file for path in checkpoints for file in _files(path)], []
    writable(out)
    try:
        for file in files:
            opened(file, place, data_dir)  # refused before any is measured; not kept, for images are large
        with progress_bar() as bar:
            task = bar.add_task("", total=len(files) * directions * grid)
            for file in files:
                run = opened(file, place, data_dir)
                bar.update(task, description=run.config.name.ljust(24))
                options: dict[str, Any] = {"planes": directions, "radius": span, "points": grid}
                options |= {"variants": (variant,), "tick": lambda: bar.advance(task)}
                rows.append(_row(run, file, number, **options))
    except (ValueError, ModuleNotFoundError) as error:
        refuse(str(error))
    except KeyboardInterrupt:
        print("\ns2sam: stopped; nothing was written", file=sys.stderr)
        raise typer.Exit(130) from None
    write(out / "landscape.jsonl", rows)
    from validation.figures import draw_landscape  # a second of imports, when there is something to draw

    drawn = draw_landscape(rows, out / "landscape.svg")
    heads = ("run", "sparsity", "loss", f"Ra ({variant})", "planes", "log-Ra", "top eigenvalue")
    view = Table(*heads, box=None, header_style="bold")
    for row in rows:
        planes = f"{min(row['Ra'][variant]):.4g}-{max(row['Ra'][variant]):.4g}"
        means = [f"{fmean(row[name][variant]):.4g}" for name in ("Ra", "log-Ra")]
        name = row["run"] if row["finished"] else f"{row['run']}, unfinished"
        found = (f"{row['loss']:.4g}", means[0], planes, means[1], f"{row['top_eigenvalue']:.4g}")
        view.add_row(name, f"{row['sparsity']:.1%}", *found)
    console.print(view)
    console.print(f"rows: {out / 'landscape.jsonl'}, figure: {drawn}")


def opened(file: Path, device: str = "cpu", data_dir: str | None = None) -> Training:
    """Return the run of a checkpoint as it stood when that was written, its network, masks and images included.

    Args:
        file: as `s2sam train` leaves it.
        device: where to put it.
        data_dir: folder of its images; the one it was trained with by default.

    Raises:
        ValueError: when the file is no such checkpoint, or the images are not there.
    """
    foreign = ValueError(
        f"CHECKPOINT must be what s2sam train wrote, of this version, got another file in {file}; train again, or, for "
        "a network of your own, call validation.landscape.surfaces"
    )
    try:
        state = checkpoint.load(file, KEYS)
        if state is None:
            raise foreign
        moved = {"device": device, "data_dir": data_dir or state["config"]["data_dir"]}
        config = Config(**state["config"] | moved)
    except (KeyError, TypeError, ValueError) as error:
        raise foreign from error
    data = images(config.dataset, config.data_dir)
    with torch.random.fork_rng():
        run = Training(config, data)
        try:
            run.load_state_dict(state)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise foreign from error
    return run


def _files(path: Path) -> list[Path]:
    """Return the checkpoints that a path names: a file, the one in a folder, or those of the runs in it."""
    if path.is_dir():
        found = [path / _FILE] if (path / _FILE).exists() else sorted(path.glob(f"*/{_FILE}"))
    else:
        found = [path] if path.exists() else []
    if not found:
        refuse(f"CHECKPOINT must be a run of s2sam train, or a folder of them, got {path}; make one with: s2sam train")
    return found


def _row(run: Training, file: Path, number: int, **options: Any) -> Row:
    """Return the configuration of a run, where it stands, and what is measured of it."""
    x, y = shown(run, number)
    threads = torch.get_num_threads()
    torch.set_num_threads(run.config.threads)
    try:
        found = measured(run.model, x, y, run.sparse.masks, seed=run.config.seed, **options)
    finally:
        torch.set_num_threads(threads)
    if not math.isfinite(found["loss"]):
        rule = f"CHECKPOINT must be a network with a finite loss, got {found['loss']} in {file}"
        raise ValueError(f"{rule}; train again with a smaller --lr")
    stated = {name: value for name, value in asdict(run.config).items() if name != "data_dir"}
    whole = {"run": run.config.name, "checkpoint": str(file), "finished": run.finished, "round": run.round}
    whole |= {"step": run.batch, "span": options["radius"], "grid": options["points"]}
    return {**provenance(), **stated, **whole, **found}
