"""Progress where nobody watches: a log has lines, and runs that take minutes have a time that remains."""

from validation.terminal import progress_bar


def test_a_log_has_a_line_a_minute_with_the_time_that_remains(capsys):
    clock = [0.0]
    with progress_bar(get_time=lambda: clock[0]) as bar:
        task = bar.add_task("", total=10)
        for done in range(4):
            bar.update(task, description=f"training {done}")
            clock[0] += 100.0  # longer than the window in which rich by itself looks for a speed
            bar.advance(task)
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line.split()[:2] for line in lines] == [["training", str(done)] for done in range(4)]
    assert lines[-1].split()[2:] == ["4/10", "0:06:40", "0:10:00"]


def test_short_work_leaves_no_line_in_a_log(capsys):
    with progress_bar(get_time=lambda: 0.0) as bar:
        task = bar.add_task("training", total=10)
        for _ in range(10):
            bar.advance(task)
    assert capsys.readouterr().err.strip() == ""
