"""Cells on several processes or machines: all rows arrive, once, whoever is killed on the way."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from pathlib import Path

import cell_runs
import pytest
from cell_runs import COUNT, sweep

from validation import cells as engine
from validation.cells import Cell, read, run_cells
from validation.executors import executor, outcomes

SCRIPT = Path(cell_runs.__file__)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The table that every disturbed sweep must end with."""
    return table(run_cells(sweep(), tmp_path_factory.mktemp("whole") / "rows.jsonl"))


def table(rows):
    return [(row["k"], row["part"], row["value"]) for row in rows]


def keys(rows):
    return sorted((row["cell"], row["part"]) for row in rows)


def script(folder, workers, seconds):
    log = folder / "begun"
    command = [sys.executable, str(SCRIPT), str(folder), str(workers), str(seconds), str(log)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True), log


def begun(log):
    return len(log.read_text().splitlines()) if log.exists() else 0


def killed(folder, workers, seconds, until):
    """Begin the sweep and kill it when so many cells were begun in all; return the process."""
    process, log = script(folder, workers, seconds)
    while begun(log) < until and process.poll() is None:
        time.sleep(0.003)
    process.kill()
    process.communicate(timeout=20)
    return process


@pytest.mark.parametrize(
    ("workers", "moments"), [(1, (1, 4, 17, 18, 30)), pytest.param(2, (3, 15, 33), marks=pytest.mark.slow)]
)
def test_killed_at_any_moment_a_sweep_resumes_to_the_same_table(workers, moments, tmp_path, undisturbed):
    for until in moments:
        process = killed(tmp_path, workers, 0.01, until)
        assert process.returncode == -signal.SIGKILL
        kept = read(tmp_path / "rows.jsonl")
        assert 0 <= len({row["cell"] for row in kept}) < COUNT
        assert len(keys(kept)) == len(set(keys(kept)))
    process, log = script(tmp_path, workers, 0.01)
    assert process.wait(60) == 0, process.communicate()
    process.communicate()
    rows = run_cells(sweep(0.01, str(log)), tmp_path / "rows.jsonl")
    assert table(rows) == undisturbed
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len(lines) == len(undisturbed)  # nothing doubled in the file either
    # each kill repeats at most what was in flight: a pool begins its workers' cells and no others
    assert COUNT <= begun(log) <= COUNT + len(moments) * (workers + 1)


@pytest.mark.slow
def test_ctrl_c_waits_for_no_cell_and_leaves_no_worker(tmp_path):
    process, log = script(tmp_path, 2, 30)
    while begun(log) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    then = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - then < 10  # a cell takes 30 s
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert gone(children)


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path):
    process, log = script(tmp_path, 2, 30)
    while begun(log) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.kill()
    process.communicate(timeout=20)
    assert gone(children)


def gone(children):
    """Whether all these processes end within some seconds (one that nobody waits for stays as a zombie)."""
    for _ in range(500):
        states = [path.read_text().rpartition(")")[2].split()[0] for c in children if (path := stat(c)).exists()]
        if all(state == "Z" for state in states):
            return True
        time.sleep(0.01)
    return False


def stat(child):
    return Path(f"/proc/{child}/stat")


@pytest.mark.slow
def test_a_pool_computes_the_same_table_and_rows_are_written_by_the_parent(tmp_path, undisturbed):
    with executor(2) as pool:
        rows = run_cells(sweep(), tmp_path / "rows.jsonl", executor=pool)
        assert table(rows) == undisturbed
        assert run_cells(sweep(), tmp_path / "rows.jsonl", executor=pool) == rows
    # The pool's own thread may be the one that reaps a child; until it has said so, the child reads as running here.
    until = time.monotonic() + 60  # a worker that was just started imports torch before it sees that it may end
    while multiprocessing.active_children() and time.monotonic() < until:
        time.sleep(0.01)
    assert not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what distributed and tornado say on a killed worker is theirs
def test_a_cluster_whose_worker_is_killed_in_mid_sweep_delivers_every_row_once(tmp_path, undisturbed):
    from distributed import LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**options, silence_logs=50) as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        victim = next(iter(cluster.workers.values())).pid
        log = tmp_path / "begun"
        todo = sweep(0.1, str(log))
        count = itertools.count()

        def progress(cells):
            for cell in cells:
                if next(count) == COUNT // 3:
                    os.kill(victim, signal.SIGKILL)
                yield cell

        with executor(address=address) as pool:
            rows = run_cells(todo, tmp_path / "rows.jsonl", progress, pool)
    assert table(rows) == undisturbed
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == len(undisturbed)
    assert not Path(f"/proc/{victim}").exists() or stat(victim).read_text().rpartition(")")[2].split()[0] == "Z"


class Inline(Executor):
    """An executor that runs what it is given at once, in this process."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


def test_any_executor_will_do_and_a_cell_named_twice_runs_once(tmp_path, undisturbed):
    log = tmp_path / "begun"
    rows = run_cells(sweep(0.0, str(log)) * 2, tmp_path / "rows.jsonl", executor=Inline())
    assert table(rows) == undisturbed
    assert begun(log) == COUNT


def test_a_worker_with_other_code_is_refused(monkeypatch):
    cell = Cell.of("toy_sweep", k=0)
    rows = cell.rows()
    monkeypatch.setattr(engine, "code_version", lambda *_: "other")
    monkeypatch.setattr(Cell, "rows", lambda self: rows)
    with pytest.raises(RuntimeError, match="executor must have workers of this code, got rows of code"):
        list(outcomes(Inline(), [("cell_runs", cell)]))


def test_two_commands_do_not_write_in_one_folder(tmp_path):
    todo = [Cell.of("toy_sweep", k=k) for k in range(2)]

    def second(cells):
        for cell in cells:
            with pytest.raises(RuntimeError, match=r"out must be free, got .* where another run writes"):
                run_cells(todo, tmp_path / "rows.jsonl")
            yield cell

    assert len(run_cells(todo, tmp_path / "rows.jsonl", second)) == 3
    assert len(run_cells(todo, tmp_path / "rows.jsonl")) == 3  # and the lock is gone


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"workers": 0}, "workers must be >= 1, got 0"),
        ({"address": "host:1"}, "executor must be dask://HOST:PORT, got host:1"),
        pytest.param(
            {"address": "dask://127.0.0.1:9"}, "executor must be a scheduler that answers", marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_bad_executor_is_one_line(given, words):
    with pytest.raises(ValueError, match=words), executor(**given):
        pass


def test_one_worker_needs_no_pool():
    with executor(1) as pool:
        assert pool is None
