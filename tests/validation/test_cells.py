"""Cells: rows are written once, whole, and found again; a kill in mid-write loses a cell, never a finished row."""

import json
from pathlib import Path

import pytest

from validation import cells as engine
from validation.cells import Cell, read, run_cells, write


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    """An experiment that counts how often it is run."""
    calls = []

    def toy(*, n, label="A1"):
        calls.append(n)
        for k in range(n):
            yield {"claim": label, "k": k, "value": 1 / 3, "far": float("inf")}

    monkeypatch.setitem(engine.EXPERIMENTS, "toy", toy)
    return calls


def test_the_key_depends_on_options_and_not_on_their_order():
    assert Cell.of("toy", n=1, label="A1").key == Cell.of("toy", label="A1", n=1).key
    assert len({Cell.of("toy", n=1).key, Cell.of("toy", n=2).key, Cell.of("toy", n=1, label="B1").key}) == 3


def test_changed_code_changes_the_key(monkeypatch):
    before = Cell.of("toy", n=1).key
    monkeypatch.setattr(engine, "code_version", lambda parts: "other")
    assert Cell.of("toy", n=1).key != before


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Packages of one file each in place of the code."""
    for name in engine.PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.py").write_text(name)
    monkeypatch.setattr(engine, "_ROOT", tmp_path)
    engine.code_version.cache_clear()
    yield tmp_path
    engine.code_version.cache_clear()


def key_after(file, text):
    """Keys of a cell that runs `theory` alone and of one that runs everything, once the file says something else."""
    file.write_text(text)
    engine.code_version.cache_clear()
    return Cell.of("apart", n=1).key, Cell.of("toy", n=1).key


def test_a_cell_survives_edits_of_code_that_it_does_not_run(tree, monkeypatch):
    monkeypatch.setitem(engine.RUNS, "apart", ("theory",))
    first = key_after(tree / "theory" / "own.py", "theory")
    elsewhere = key_after(tree / "validation" / "own.py", "edited")
    assert elsewhere[0] == first[0]
    assert elsewhere[1] != first[1]
    inside = key_after(tree / "theory" / "own.py", "edited")
    assert inside[0] != elsewhere[0]
    monkeypatch.setitem(engine.RUNS, "apart", ("theory/own.py",))  # a file is as good as a folder
    assert key_after(tree / "validation" / "own.py", "again")[0] == key_after(tree / "validation" / "own.py", "1")[0]
    assert key_after(tree / "theory" / "own.py", "again")[0] != key_after(tree / "theory" / "own.py", "1")[0]


def test_an_experiment_always_runs_its_own_file():
    from validation import experiments

    own = "validation/experiments/worst_case.py"
    assert engine._ROOT / own == Path(experiments.worst_case.__file__)
    assert own in engine.RUNS["worst_case"]
    assert all((engine._ROOT / part).exists() for parts in engine.RUNS.values() for part in parts)
    assert "sweep" not in engine.RUNS  # which runs everything


def test_rows_carry_what_is_needed_to_reproduce_them(tmp_path):
    (row,) = run_cells([Cell.of("toy", n=1)], tmp_path / "rows.jsonl")
    assert {"claim", "cell", "cell_rows", "experiment", "versions", "commit", "code", "device"} <= set(row)
    assert row["value"] == float("0.333333333333")  # 12 digits
    assert row["far"] == "inf"


def test_a_row_names_the_device_its_cell_ran_on(monkeypatch):
    monkeypatch.setitem(engine.EXPERIMENTS, "placed", lambda *, device="cpu": [{"claim": "A1"}])
    assert Cell.of("placed", device="cuda").rows()[0]["device"].startswith("cuda: ")
    assert Cell.of("placed").rows()[0]["device"].startswith("cpu: ")


def test_a_second_run_measures_nothing(tmp_path, counted):
    todo = [Cell.of("toy", n=2), Cell.of("toy", n=3)]
    first = run_cells(todo, tmp_path / "rows.jsonl")
    assert run_cells(todo, tmp_path / "rows.jsonl") == first
    assert counted == [2, 3]


def test_recompute_takes_nothing_from_the_file(tmp_path, counted):
    todo = [Cell.of("toy", n=2), Cell.of("toy", n=3)]
    first = run_cells(todo, tmp_path / "rows.jsonl")
    assert run_cells(todo, tmp_path / "rows.jsonl", recompute=True) == first
    assert counted == [2, 3, 2, 3]
    assert len(read(tmp_path / "rows.jsonl")) == 5


def interrupted(todo):
    for k, cell in enumerate(todo):
        if k == 2:
            raise KeyboardInterrupt
        yield cell


def test_an_interruption_keeps_finished_rows_and_the_same_command_resumes(tmp_path, counted):
    todo = [Cell.of("toy", n=n) for n in (1, 2, 3, 4)]
    with pytest.raises(KeyboardInterrupt):
        run_cells(todo, tmp_path / "rows.jsonl", lambda cells: interrupted(cells))
    assert len(read(tmp_path / "rows.jsonl")) == 3
    assert len(run_cells(todo, tmp_path / "rows.jsonl")) == 10
    assert counted == [1, 2, 3, 4]


@pytest.mark.parametrize("cut", [1, 40, 10_000])
def test_a_torn_file_loses_only_the_torn_cell(tmp_path, counted, cut):
    path = tmp_path / "rows.jsonl"
    todo = [Cell.of("toy", n=2), Cell.of("toy", n=3)]
    whole = run_cells(todo, path)
    text = path.read_text()
    path.write_text(text[: max(0, len(text) - cut)])
    assert len(read(path)) == {1: 5, 40: 2, 10_000: 0}[cut]  # a lost line end alone loses nothing
    assert run_cells(todo, path) == whole
    assert [json.loads(line) for line in path.read_text().splitlines()] == whole


def test_rows_of_other_cells_leave_the_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    run_cells([Cell.of("toy", n=2)], path)
    assert [r["k"] for r in run_cells([Cell.of("toy", n=1)], path)] == [0]
    assert len(read(path)) == 1


def test_compressed_rows_read_back_equal(tmp_path):
    rows = run_cells([Cell.of("toy", n=4)], tmp_path / "rows.jsonl")
    write(tmp_path / "rows.jsonl.gz", rows)
    assert read(tmp_path / "rows.jsonl.gz") == rows
    write(tmp_path / "again.jsonl.gz", rows)
    assert (tmp_path / "again.jsonl.gz").read_bytes() == (tmp_path / "rows.jsonl.gz").read_bytes()


def test_rows_of_other_cells_stay_where_lists_of_cells_share_a_file(tmp_path, counted):
    path = tmp_path / "rows.jsonl"
    run_cells([Cell.of("toy", n=2)], path)
    assert [r["k"] for r in run_cells([Cell.of("toy", n=1)], path, keep=True)] == [0]
    assert len(read(path)) == 3
    run_cells([Cell.of("toy", n=2), Cell.of("toy", n=1)], path, keep=True)
    assert counted == [2, 1]
