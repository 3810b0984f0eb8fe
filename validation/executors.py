"""Where cells run: in this process, in a pool of local ones, or on the machines of a dask cluster.

All three are PEP 3148 executors (`concurrent.futures`) to the engine; only the parent writes rows, so a worker that is
killed loses the cell in its hands and nothing else.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

SCHEME = "dask://"


@contextmanager
def executor(workers: int = 1, address: str | None = None) -> Iterator[Executor | None]:
    """Give the executor that cells run on; None means this process.

    On the way out nothing is waited for: after an interruption the cells in flight are given up, and run again when
    the same command resumes.

    Args:
        workers: processes of the local pool, >= 1; each uses one thread. One needs no pool.
        address: "dask://HOST:PORT" of a dask scheduler instead, whose workers have this package installed.

    Raises:
        ValueError: naming the command's option, when an argument is refused or the scheduler does not answer.
    """
    if workers < 1:
        raise ValueError(f"workers must be >= 1, got {workers}; one for each core is best")
    if address is not None:
        with _cluster(address) as cluster:
            yield cluster
    elif workers == 1:
        yield None
    else:
        with _pool(workers) as pool:
            yield pool


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of torch
    watched, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(watched,))
    try:
        yield pool
    finally:
        held.close()  # the workers see it and end: shutting the pool down would let them finish what they have begun
        pool.shutdown(wait=False, cancel_futures=True)
        watched.close()


def _begin(watched: Connection) -> None:
    """Begin a worker: Ctrl-C is the parent's to answer, and a worker ends when its parent is gone, even by kill -9."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        try:
            watched.recv()
        except EOFError:  # the only other end was the parent's
            os._exit(0)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    if not address.startswith(SCHEME):
        raise ValueError(f"executor must be {SCHEME}HOST:PORT, got {address}; give a dask scheduler's address")
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise ValueError("executor must find dask.distributed, got none; pip install 's2sam[cluster]'") from error
    try:
        client: Any = Client(f"tcp://{address.removeprefix(SCHEME)}", timeout=5, set_as_default=False)
    except OSError as error:
        raise ValueError(f"executor must be a scheduler that answers, got {address}; start dask scheduler") from error
    cells = client.get_executor(pure=False)
    try:
        yield cells
    finally:
        cells.shutdown(wait=False)
        client.close()


def work(module: str, cell: Any) -> list[dict[str, Any]]:
    """Return a cell's rows, in a worker: with one thread, and the experiment's module imported.

    Args:
        module: where the experiment is registered.
        cell: a `validation.cells.Cell`.
    """
    importlib.import_module(module)
    if "torch" in sys.modules:  # an experiment without it need not pay for its import
        sys.modules["torch"].set_num_threads(1)
    return cell.rows()


def outcomes(pool: Executor, tasks: Sequence[tuple[str, Any]]) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Run cells, given each with its module; yield each with its rows as it is finished, in no special order.

    Raises:
        RuntimeError: when a worker's rows have another key: its code is another.
    """
    futures: dict[Future, Any] = {pool.submit(work, module, cell): cell for module, cell in tasks}
    for future in as_completed(futures):
        cell = futures.pop(future)  # so that a long sweep does not keep all its rows twice
        rows = future.result()
        if any(row["cell"] != cell.key for row in rows):
            raise RuntimeError(
                f"executor must have workers of this code, got rows of code {rows[0]['code']}; install it there"
            )
        yield cell, rows
