"""Training runs that compare methods: dense or sparse, by SGD, SAM or S2-SAM, on equal initial weights and data order.

A run is its checkpoint: whatever moment it is stopped at, `run(..., resume=True)` goes on from it, and on the CPU ends
bit for bit where an undisturbed run ends.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from validation.cells import Row, provenance, write
from validation.datasets import load
from validation.training import checkpoint
from validation.training.config import CONTROLS, DEFAULTS, OPTIMIZERS, Config
from validation.training.loop import KEYS, Tick, Training
from validation.training.methods import FAMILIES, METHODS

__all__ = ["CONTROLS", "DEFAULTS", "FAMILIES", "METHODS", "OPTIMIZERS", "Config", "check", "find", "run", "summary"]


images = functools.lru_cache(maxsize=1)(load)  # one data set at a time stays in memory


def find(config: Config, out: Path, resume: bool) -> dict[str, Any] | None:
    """Return the state that a run of this configuration goes on from, None when it begins.

    Raises:
        ValueError: when the run's folder holds a checkpoint and `resume` is False, or one of another configuration, or
            one that is damaged.
    """
    path = out / config.name / "checkpoint.pt"
    if path.exists() and not resume:
        raise ValueError(f"out must hold no run {config.name} yet, got {path}; add --resume, or name another --out")
    state = checkpoint.load(path, KEYS)
    if state is not None:
        try:
            stored = Config(**state["config"])
        except (TypeError, ValueError) as error:
            raise checkpoint.damaged(path, "another version's arguments") from error
        if name := config.difference(stored):
            raise ValueError(
                f"{name} must be {getattr(stored, name)}, that of {path}, got {getattr(config, name)}; "
                "resume with the same arguments, or name another --out"
            )
    return state


def check(configs: Sequence[Config], out: Path, resume: bool) -> None:
    """Refuse before anything is trained what one of these runs would refuse.

    Raises:
        ValueError: as `find`, from the data set's files, or when a method refuses the network.
    """
    for config in configs:
        find(config, out, resume)
    with torch.random.fork_rng():
        for config in {config.method: config for config in configs}.values():
            Training(config, images(config.dataset, config.data_dir))


def run(config: Config, out: Path, tick: Tick | None = None, *, resume: bool = False) -> list[Row]:
    """Train one configuration; leave checkpoint.pt and rows.jsonl in out/method-optimizer-seed, return the rows.

    Args:
        config: of the run.
        out: the folder of all runs.
        tick: called after each batch with the round, the batches done in it and the batches of a round; when it returns
            something true, the state is saved and the run stops.
        resume: whether to go on from the folder's checkpoint, if there is one; a finished run is left as it is.

    Returns:
        One row for each epoch; all but `seconds` are the same on every run.

    Raises:
        ValueError: as `find`, or when the method refuses the network.
        KeyboardInterrupt: when `tick` stopped the run.
    """
    state, threads = find(config, out, resume), torch.get_num_threads()
    if state is not None and state["finished"]:
        return state["rows"]
    folder = out / config.name
    with torch.random.fork_rng():
        torch.set_num_threads(config.threads)
        try:
            training = Training(config, images(config.dataset, config.data_dir))
            if state is None:
                training.prepare()
            else:
                try:
                    training.load_state_dict(state)
                except (KeyError, RuntimeError, TypeError, ValueError) as error:
                    raise checkpoint.damaged(folder / "checkpoint.pt", "another version's content") from error
            folder.mkdir(parents=True, exist_ok=True)

            def save() -> None:
                checkpoint.save(folder / "checkpoint.pt", training.state_dict())
                write(folder / "rows.jsonl", training.rows)

            training.train(save, tick)
        finally:
            torch.set_num_threads(threads)
    return training.rows


def summary(config: Config, rows: Sequence[Row]) -> Row:
    """Return one row for a whole run: configuration, what its last epoch measured, versions and device."""
    stated = {name: value for name, value in asdict(config).items() if name != "data_dir"}
    whole = {"run": config.name, "rounds": rows[-1]["round"] + 1, "seconds": math.fsum(r["seconds"] for r in rows)}
    return {**provenance(), **stated, **rows[-1], **whole}
