"""The runner: the same results in one process, in several and in shares; what is finished is never done again."""

import argparse
import json
import multiprocessing
import os
import pickle
import signal
import threading
import time

import pytest
from engine_work import Lengths, Slow

from labels.engine.placement import Placement, placement, placement_of, share
from labels.engine.pools import Died, in_processes, in_threads
from labels.engine.runner import Loaded, run
from labels.records.errors import InputError

NAMES = [f"video{'_' * at}" for at in range(20)]


def contents(folder):
    """Results by name, without how many threads their process had."""
    return {path.name: json.loads(path.read_text()) | {"threads": None} for path in sorted(folder.glob("*.json"))}


def shares(count):
    return [Placement(1, shard, count) for shard in range(1, count + 1)]


@pytest.mark.parametrize("places", [[Placement()], [Placement(processes=2)], shares(3)], ids=["here", "two", "shares"])
def test_the_same_results_wherever_they_are_made(tmp_path, places):
    items = [*NAMES, "refused"]
    for place in places:
        run(Lengths(tmp_path), items, place)
    outcome = run(Lengths(tmp_path), items)  # looks whether anything is missing
    assert (outcome.found, outcome.made, outcome.untouched, outcome.used) == (21, 0, 20, NAMES)
    assert outcome.skipped == {"refused": "its name"} and outcome.kinds == {"refused": 1}
    assert outcome.totals == {"length": sum(map(len, NAMES))}
    assert contents(tmp_path) == {
        f"{name}.json": {"key": f"{name}|1", "length": len(name), "threads": None} for name in NAMES
    }
    assert {name: count for name, count in Lengths(tmp_path).made().items() if name in NAMES} == dict.fromkeys(NAMES, 1)


def test_what_changed_is_made_again_and_what_is_of_nobody_goes(tmp_path):
    run(Lengths(tmp_path), ["a", "b", "gone"])
    (tmp_path / ".half.123.aside.json").write_text("{")
    outcome = run(Lengths(tmp_path), ["a", "b"])
    assert (outcome.made, outcome.untouched, outcome.removed) == (0, 2, 1)
    assert set(contents(tmp_path)) == {"a.json", "b.json"} and not list(tmp_path.glob(".*"))
    outcome = run(Lengths(tmp_path, version=2), ["a", "b"])
    assert (outcome.made, outcome.untouched) == (2, 0)


def test_a_share_leaves_alone_what_others_write(tmp_path):
    theirs = tmp_path / ".b.123.aside.json"
    theirs.write_text("{")
    outcome = run(Lengths(tmp_path), ["a", "b", "c"], Placement(1, 1, 2))
    assert outcome.used == ["a", "c"] and theirs.exists()


def test_a_skipped_item_keeps_no_result_of_an_earlier_run(tmp_path):
    (tmp_path / "refused.json").write_text("{}")
    run(Lengths(tmp_path), ["refused"])
    assert not contents(tmp_path)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_no_one_item_ends_the_run(tmp_path, processes):
    with pytest.raises(ValueError, match="wrong is wrong"):
        run(Lengths(tmp_path), ["a", "wrong"], Placement(processes))
    assert not multiprocessing.active_children()


def test_a_killed_process_costs_nothing_and_a_deadly_item_itself_alone(tmp_path):
    items = [*NAMES[:8], "killed", *NAMES[8:], "deadly"]
    outcome = run(Lengths(tmp_path), items, Placement(processes=2))
    assert outcome.used == [*NAMES[:8], "killed", *NAMES[8:]]
    assert outcome.skipped == {"deadly": "the process that worked on it died; is there enough memory?"}
    assert set(contents(tmp_path)) == {f"{name}.json" for name in items[:-1]}


def test_after_a_killed_run_only_the_unfinished_are_made(tmp_path):
    run(Lengths(tmp_path), NAMES[:12])
    (tmp_path / "log.txt").unlink()
    outcome = run(Lengths(tmp_path), NAMES, Placement(processes=2))
    assert (outcome.made, outcome.untouched) == (8, 12)
    assert Lengths(tmp_path).made() == dict.fromkeys(NAMES[12:], 1)


def test_interrupted_processes_clear_up_and_end(tmp_path):
    def interrupt():
        while len(list(tmp_path.glob("*.begun"))) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            run(Slow(tmp_path), ["a", "b", "c"], Placement(processes=2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not multiprocessing.active_children()
    assert {path.name for path in tmp_path.glob("*.cleared")} == {"a.cleared", "b.cleared"}


def test_each_process_has_its_part_of_the_cores(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("labels.engine.runner.cores", lambda: 6)
    run(Lengths(tmp_path), ["a", "b"], Placement(processes=2))
    assert {json.loads(path.read_text())["threads"] for path in tmp_path.glob("*.json")} == {"3"}
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_loaded_value_is_sent_as_how_to_load_it():
    loaded = Loaded(load=dict)
    loaded.value["seen"] = True
    assert pickle.loads(pickle.dumps(loaded)).value == {}
    assert pickle.loads(pickle.dumps(Loaded({"sent": True}))).value == {"sent": True}


def die_on_negative(number):
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number + 1


def fail_to_start():
    raise OSError("no such device")


def test_answers_come_in_order():
    assert list(in_threads(lambda number: number + 1, range(30), 3)) == list(range(1, 31))
    told = list(in_processes(die_on_negative, [1, 2, -1, 3], 2))
    assert [*told[:2], told[3]] == [2, 3, 4] and isinstance(told[2], Died)


def test_a_process_that_cannot_start_says_why():
    with pytest.raises(OSError, match="no such device"):
        list(in_processes(die_on_negative, [1], 2, fail_to_start))


@pytest.mark.parametrize("text", ["", "2", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "²/3"])
def test_a_share_must_be_one(text):
    with pytest.raises(Exception, match="I/N"):
        share(text)


def test_shares_make_up_the_whole():
    parts = [each.share(NAMES) for each in shares(3)]
    assert sorted(name for part in parts for name in part) == sorted(NAMES)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert share("2/3") == (2, 3) and placement("processes:4") == Placement(4)
    assert placement("ray").ray == "ray" and placement("ray://head:10001").ray == "ray://head:10001"
    for wrong in ("threads:4", "processes:0", "ray:", "ray://", "rays"):
        with pytest.raises(Exception, match="processes:N"):
            placement(wrong)


def test_without_ray_one_line_says_how_to_have_it(monkeypatch):
    monkeypatch.setattr("labels.engine.placement.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'^--on ray: Ray is not installed: pip install "rally-labels\[ray\]"$'):
        placement_of(argparse.Namespace(on=placement("ray"), shard=(1, 1)))
