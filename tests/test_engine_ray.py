"""The runner on a Ray cluster of two machines, both of them this one: the same results, and nothing lost with one."""

import os
import threading
import time
from argparse import Namespace
from pathlib import Path

import pytest
from engine_work import Lengths, Steady
from test_engine import NAMES, contents
from test_engine_stages import copy_of, stages, work_of, written

from labels.engine.placement import Placement, placement, placement_of
from labels.engine.pools import _is_stale
from labels.engine.runner import Loaded, Task, _start_elsewhere, run
from labels.records.errors import InputError

ray = pytest.importorskip("ray")
ON_RAY = Placement(ray="ray")


@pytest.fixture(scope="module")
def cluster():
    """Two machines of one core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        from ray.cluster_utils import Cluster

        small = {"num_cpus": 1, "object_store_memory": 2**27, "include_dashboard": False}
        both = Cluster(initialize_head=True, head_node_args=small)
        both.second = both.add_node(num_cpus=1, object_store_memory=2**27)
        both.wait_for_nodes()
        ray.init(both.address, log_to_driver=False, logging_level="ERROR")
        yield both
        ray.shutdown()
        both.shutdown()


def test_the_same_results_whatever_dies(cluster, tmp_path):
    """A process that is killed costs nothing, an item that always kills it only itself; an error of none is raised."""
    items = [*NAMES[:4], "killed", "refused", "deadly"]
    outcome = run(Lengths(tmp_path), items, ON_RAY)
    assert outcome.used == items[:5] and outcome.made == 5
    died = "the process that worked on it died; is there enough memory?"
    assert outcome.skipped == {"refused": "its name", "deadly": died}
    assert outcome.totals == {"length": sum(map(len, items[:5]))}
    assert contents(tmp_path) == {
        f"{name}.json": {"key": f"{name}|1", "length": len(name), "threads": None} for name in items[:5]
    }
    with pytest.raises(ValueError, match=r"^wrong is wrong$"):
        run(Lengths(tmp_path), ["wrong"], ON_RAY)


def test_where_nothing_answers_is_said_at_once(tmp_path, monkeypatch):
    """Ray itself tries for minutes."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert _is_stale()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "nowhere"))
    assert not _is_stale()
    args = Namespace(on=placement("ray://127.0.0.1:1"), shard=(1, 1))
    with pytest.raises(InputError, match=r"^--on ray://127.0.0.1:1: (nothing answers there|needs Ray's client.*)$"):
        placement_of(args)


def test_the_same_files_as_in_one_process(cluster, tmp_path):
    here = work_of(tmp_path / "here", 4)
    there = copy_of(here, tmp_path)
    stages(here, "--on", "processes:1")
    stages(there, "--on", "ray")
    expected, found = written(here), written(there)
    assert sorted(found) == sorted(expected) and len(list(here.round(0).stage("cleaned").glob("boxes/*.parquet"))) == 3
    assert not [name for name in found if found[name] != expected[name]]


def test_a_machine_that_is_lost_costs_nothing(cluster, tmp_path):
    def lose():
        while len(list(tmp_path.glob("*.json"))) < 4:
            time.sleep(0.05)
        cluster.remove_node(cluster.second, allow_graceful=False)

    loser = threading.Thread(target=lose)
    loser.start()
    try:
        outcome = run(Steady(tmp_path), NAMES, ON_RAY)
    finally:
        loser.join()
        cluster.second = cluster.add_node(num_cpus=1, object_store_memory=2**27)
    assert outcome.used == NAMES and not outcome.skipped
    assert sum(Lengths(tmp_path).made().values()) <= len(NAMES) + 2  # what was in work there


def test_a_machine_that_does_not_see_the_work_folder_says_so(tmp_path):
    with pytest.raises(InputError, match=r"does not see .*elsewhere: the work folder must be shared by all machines"):
        _start_elsewhere(Path.cwd(), tmp_path / "elsewhere", 1, b"")


def test_an_actor_has_a_gpu_where_what_is_loaded_may_use_one(tmp_path):
    class Networked(Lengths):
        pass

    assert Lengths(tmp_path).device == "cpu"
    assert Networked(tmp_path, Loaded({}, device="auto")).device == "auto"
    assert issubclass(Networked, Task)
