"""Lists end to end: real yt-dlp against a local server, with everything that goes wrong on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import coded_frame, read_code, write_test_video
from fault_server import FaultServer, fault_server

from labels.records.errors import InputError
from labels.records.work_folder import WorkFolder
from labels.videos.decoding.frames import decode_frames
from labels.videos.download.outcomes import read_ledgers
from labels.videos.download.requests import ListFilters
from labels.videos.download.source import ListDownload, download_list
from labels.videos.settings import DownloadSettings

pytestmark = pytest.mark.usefixtures("warm_workers")
FAST = {"movflags": "faststart"}
RATE = 10  # frames a second of the served videos: small, and a cut second is ten codes


def settings_for(server: FaultServer, **changes: object) -> DownloadSettings:
    """What lets the tests reach their own server, and makes waiting short."""
    settings = DownloadSettings(
        youtube_url=f"http://{server.address}/{{id}}.mp4",
        allowed_addresses=(server.address,),
        proxy="",
        socket_timeout_s=10.0,
        deadline_s=5.0,  # a busy machine may take seconds to start yt-dlp
        retries=1,
        retry_wait_s=0.05,
        pause_s=0.3,
        free_bytes=0,
    )
    return replace(settings, **changes)


def run(work: WorkFolder, kind: str, path: Path, settings: DownloadSettings, **options: object):
    with work.writing():
        return download_list(work, ListDownload(kind, path, settings=settings, **options))


def rows_of(work: WorkFolder) -> dict[str, object]:
    videos = work.read_videos()
    return {row["video_id"]: row for row in videos.to_dict("records")}


def files_of(work: WorkFolder) -> list[str]:
    return sorted(path.name for path in work.videos.iterdir())


def write_list(path: Path, rows: list[str], header: str = "url,start,end,label") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """One film of 60 frames at 10 a second, under many names: frame n says n."""
    folder = tmp_path_factory.mktemp("films")
    film = write_test_video(folder / "film.mp4", 60, float(RATE), container_options=FAST)
    for n in range(15):
        os.link(film, folder / f"video_{n:05d}.mp4")
    return folder


def test_sixteen_clips_of_which_six_are_broken_in_six_ways(films, tmp_path, capsys):
    work = WorkFolder(tmp_path / "work")
    with fault_server(films) as server:
        # 9 videos give 10 good clips: two are cut from video_00000. All of them ask for other seconds.
        good = [(f"video_{n:05d}", n % 5, n % 5 + 1) for n in range(9)] + [("video_00000", 4, 6)]
        rows = [f"{server.url(name)}.mp4,{start},{end},class {start}" for name, start, end in good]
        broken = {"404": "removed", "403": "forbidden", "cut": "short", "html": "no_video",
                  "page-as-video": "decode_error", "slow": "network"}  # fmt: skip
        for n, fault in enumerate(broken):
            rows.insert(n * 2, f"{server.url(fault)}/video_{9 + n:05d}.mp4,1,2,broken")
        path = write_list(tmp_path / "sixteen.csv", rows)
        settings = settings_for(server, workers=3)
        summary = run(work, "urls", path, settings)
        assert (summary.found, summary.used, summary.skipped) == (16, 10, dict.fromkeys(broken.values(), 1))

        videos = work.read_videos()
        assert len(videos) == 16
        ok = videos[videos["status"] == "ok"]
        assert len(ok) == 10
        for row in ok.to_dict("records"):
            codes = [read_code(frame.rgb) for frame in decode_frames(work.videos / row["file"])]
            assert codes == list(range(int(row["start_s"] * RATE), int(row["end_s"] * RATE))), row["video_id"]
            assert (row["frame_count"], row["class_name"]) == (len(codes), f"class {row['start_s']:.0f}")
        failed = videos[videos["status"] == "failed"]
        outcomes = {row["url"].split("/")[3]: row["reason"].split(":")[0] for row in failed.to_dict("records")}
        assert outcomes == broken
        assert files_of(work) == sorted(ok["file"])  # nothing else lies in videos/, not even hidden
        assert server.fetches("video_00000.mp4") == 2  # once to ask, once to fetch: both clips out of one fetch
        attempts = list(read_ledgers(work))
        assert len(attempts) == 16 + 2  # the transient ones, short and network, were tried twice
        assert "6 of 16" not in "".join(summary.lines) and any(
            "dead" in line and "1 of 16" in line for line in summary.lines
        )

        before = (server.hits.copy(), work.videos_table.read_bytes())
        again = run(work, "urls", path, settings)
        assert (server.hits, work.videos_table.read_bytes()) == before  # nothing is asked, nothing changes
        assert again.closing_line() == summary.closing_line()

        retried = run(work, "urls", path, settings, retry=frozenset({"removed", "forbidden"}))
        asked = server.hits - before[0]
        assert {name.split("/")[1] for name in asked} == {"404", "403"}
        assert retried.closing_line() == summary.closing_line()


# the way a video is served, its outcome, how often it is tried
FAULTS = [
    ("404", "removed", 1),
    ("403", "forbidden", 1),
    ("451", "geo", 1),
    ("500", "network", 2),
    ("drop", "network", 2),
    ("empty", "network", 2),
    ("slow", "network", 2),
    ("cut", "short", 2),
    ("longer", "short", 2),
    ("shorter", "short", 2),
    ("html", "no_video", 1),
    ("page-as-video", "decode_error", 1),
    ("redirect", "address", 1),
]


def test_every_fault_has_its_outcome_and_only_the_transient_are_retried(films, tmp_path):
    work = WorkFolder(tmp_path / "work")
    with fault_server(films) as private, fault_server(films, private.url("video_00001.mp4")) as server:
        rows = [f"{server.url(fault)}/video_00001.mp4,1,2,x" for fault, _, _ in FAULTS]
        rows.append("http://127.0.0.1:9/refused.mp4,1,2,x")  # allowed below, but nobody listens
        rows.append(f"{server.url('video_00001.mp4')},5,9,x")  # the video is over before the clip
        settings = settings_for(server, workers=3, allowed_addresses=(server.address, "127.0.0.1:9"))
        run(work, "urls", write_list(tmp_path / "faults.csv", rows), settings)
        found = {row["url"]: row["reason"].split(":")[0] for row in rows_of(work).values()}
        expected = {f"{server.url(fault)}/video_00001.mp4": outcome for fault, outcome, _ in FAULTS}
        expected |= {"http://127.0.0.1:9/refused.mp4": "network", server.url("video_00001.mp4"): "short"}
        assert found == expected
        tries = [row["url"] for row in read_ledgers(work)]
        assert {fault: tries.count(f"{server.url(fault)}/video_00001.mp4") for fault, _, _ in FAULTS} == {
            fault: number for fault, _, number in FAULTS
        }
        assert tries.count(server.url("video_00001.mp4")) == 1  # it will not be longer the next time
        assert not private.hits  # the redirect inside was not followed
        assert files_of(work) == []


def test_without_the_setting_the_users_own_network_is_out_of_reach(films, tmp_path):
    work = WorkFolder(tmp_path / "work")
    with fault_server(films) as server:
        path = write_list(tmp_path / "local.csv", [f"{server.url('video_00001.mp4')},1,2,x"])
        run(work, "urls", path, settings_for(server, allowed_addresses=()))
        # A list of ids never names an address; where ours leads inside, the connection is refused.
        kinetics = write_list(tmp_path / "k.csv", ["x,video_00001,1,2"], "label,youtube_id,time_start,time_end")
        run(work, "kinetics", kinetics, settings_for(server, allowed_addresses=()))
        assert not server.hits
        rows = sorted((row["status"], row["reason"]) for row in rows_of(work).values())
        assert [status for status, _ in rows] == ["failed", "skipped"]
        assert all("not on the public internet" in reason for _, reason in rows)


def test_a_block_pauses_all_workers_and_costs_no_clip(films, tmp_path):
    work = WorkFolder(tmp_path / "work")
    with fault_server(films) as server:
        server.blocks_left = 2
        rows = [f"{server.url('limited')}/video_{n:05d}.mp4,1,2,x" for n in range(6)]
        start = time.monotonic()
        summary = run(work, "urls", write_list(tmp_path / "l.csv", rows), settings_for(server, workers=2, pause_s=0.7))
        assert summary.used == 6
        assert time.monotonic() - start > 0.7
        assert any("all workers paused for 0.7 s" in line for line in summary.lines)
        assert sum(row["outcome"] == "rate_limited" for row in read_ledgers(work)) == 2


def test_a_block_that_does_not_end_ends_the_run_and_the_next_goes_on(films, tmp_path):
    work = WorkFolder(tmp_path / "work")
    with fault_server(films) as server:
        server.blocks_left = 10**6
        rows = [f"{server.url('limited')}/video_{n:05d}.mp4,1,2,x" for n in range(9)]
        path = write_list(tmp_path / "l.csv", rows)
        settings = settings_for(server, workers=2, pause_s=0.1, max_pauses=2)
        summary = run(work, "urls", path, settings)
        assert (summary.used, summary.skipped) == (0, {"not fetched yet": 9})
        assert any(line.startswith("stopped: blocked (rate_limited)") for line in summary.lines)
        assert sum(server.hits.values()) <= 2 + 2 * 2  # it does not hammer on a closed door
        assert {row["status"] for row in rows_of(work).values()} == {"skipped"}
        server.blocks_left = 0
        assert run(work, "urls", path, settings).used == 9


CLIPS = 8  # enough that a signal comes before the end


@pytest.mark.parametrize("interruption", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_and_run_again_it_fetches_only_what_is_missing(films, tmp_path, interruption):
    """Killed outright, or by Ctrl-C, in the middle: the workers go too, and the next run goes on."""
    work = WorkFolder(tmp_path / "work")
    with fault_server(films) as server:
        path = write_list(tmp_path / "l.csv", [f"{server.url(f'video_{n:05d}.mp4')},1,2,x" for n in range(CLIPS)])
        script = tmp_path / "go.py"
        script.write_text(
            "import signal, sys; sys.path[:0] = sys.argv[1:3]\n"
            # A shell starts what runs in its background deaf to Ctrl-C.
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from pathlib import Path\n"
            "from labels.records.command_line import run_stage\n"
            "from test_download import *\n"
            "class Server: address = sys.argv[3]\n"
            "def go(): return run(WorkFolder(Path(sys.argv[4])), 'urls', Path(sys.argv[5]), "
            "settings_for(Server, workers=1))\n"
            "if __name__ == '__main__': sys.exit(run_stage(go))\n"
        )
        here = Path(__file__).resolve().parent
        command = [sys.executable, script, here.parent, here, server.address, work.root, path]
        process = subprocess.Popen(
            [str(part) for part in command], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while len(list(read_ledgers(work))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(interruption)
        assert process.wait(timeout=120) == (130 if interruption == signal.SIGINT else -signal.SIGKILL)
        finished = {row["url"].rpartition("/")[2] for row in read_ledgers(work)}
        assert 2 <= len(finished) < CLIPS
        if interruption == signal.SIGINT:  # the table says how far it came
            statuses = [row["status"] for row in rows_of(work).values()]
            assert statuses.count("ok") == len(finished) and statuses.count("skipped") == CLIPS - len(finished)
        else:  # a line that was being written when the process died
            with open(work.root / "ledger" / "clips.jsonl", "ab") as opened:
                opened.write(b'{"video_id": "half')
        server.hits.clear()
        summary = run(work, "urls", path, settings_for(server))
        assert summary.used == CLIPS
        assert not {name.rpartition("/")[2] for name in server.hits} & finished
        assert len(files_of(work)) == CLIPS


def test_a_worker_that_hangs_is_killed_and_the_others_go_on(films, tmp_path):
    work = WorkFolder(tmp_path / "work")
    with fault_server(films) as server:
        rows = [f"{server.url('slow')}/video_00001.mp4,1,2,x", f"{server.url('video_00002.mp4')},1,2,x"]
        settings = settings_for(server, deadline_s=100.0, job_deadline_s=8.0)
        start = time.monotonic()
        summary = run(work, "urls", write_list(tmp_path / "l.csv", rows), settings)
        assert (summary.used, summary.skipped) == (1, {"network": 1})
        assert time.monotonic() - start < 30
        assert any("no end after 8 s" in row["reason"] for row in rows_of(work).values())


def test_a_clip_that_was_deleted_is_fetched_again(films, tmp_path):
    work = WorkFolder(tmp_path / "work")
    with fault_server(films) as server:
        path = write_list(tmp_path / "l.csv", [f"{server.url(f'video_{n:05d}.mp4')},1,2,x" for n in range(3)])
        run(work, "urls", path, settings_for(server))
        gone = files_of(work)[1]
        (work.videos / gone).unlink()
        server.hits.clear()
        assert run(work, "urls", path, settings_for(server)).used == 3
        assert gone in files_of(work) and len(server.hits) == 1


def test_whole_videos_keep_their_bytes_and_the_height_is_looked_at(films, tmp_path):
    work = WorkFolder(tmp_path / "work")
    (tmp_path / "labels.txt").write_text("boxing\ntennis\nsquash\n")
    entries = [{"id": f"video_{n:05d}", "label487": [n % 3], "height": 480} for n in range(6)]
    entries.append({"id": "video_00007", "label487": [1], "height": 144})
    path = tmp_path / "sports1m_train.json"
    path.write_text(json.dumps(entries))
    with fault_server(films) as server:
        filters = ListFilters(classes=("tennis", "squash"), min_height=64)
        summary = run(work, "sports1m", path, settings_for(server), filters=filters)
        assert summary.used == 5
        row = rows_of(work)["video_00001"]
        assert (row["class_name"], row["split"], row["group"]) == ("tennis", "train", "video_00001")
        assert (work.videos / row["file"]).read_bytes() == (films / "film.mp4").read_bytes()
        filters = replace(filters, min_height=65, classes=("boxing",))
        summary = run(work, "sports1m", path, settings_for(server), filters=filters)
        assert summary.skipped == {"too_small": 2}
        assert len(rows_of(work)) == 7  # what the first run brought stays


def test_two_segments_and_a_short_side(tmp_path):
    films = tmp_path / "films"
    write_test_video(films / "AAAAAAAAAAA.mp4", [coded_frame(n, 192, 128) for n in range(40)], float(RATE))
    work = WorkFolder(tmp_path / "work")
    rows = ["a,AAAAAAAAAAA,0,1,train", "b,AAAAAAAAAAA,2,3,train"]
    path = write_list(tmp_path / "k.csv", rows, "label,youtube_id,time_start,time_end,split")
    with fault_server(films) as server:
        run(work, "kinetics", path, settings_for(server, short_side=64))
        assert files_of(work) == ["AAAAAAAAAAA_000000_000001.mp4", "AAAAAAAAAAA_000002_000003.mp4"]
        rows = rows_of(work).values()
        assert {(row["width"], row["height"], row["group"]) for row in rows} == {(96, 64, "AAAAAAAAAAA")}
        assert server.fetches("AAAAAAAAAAA.mp4") == 2
        summary = run(work, "kinetics", path, settings_for(server))
        assert any("2 clips are here with another --short-side" in line for line in summary.lines)
        assert server.fetches("AAAAAAAAAAA.mp4") == 2


def test_shards_are_apart_and_merge(films, tmp_path):
    path = write_list(tmp_path / "l.csv", [f"video_{n:05d},{s},{s + 1},x" for n in range(5) for s in (0, 3)],
                      "youtube_id,time_start,time_end,label")  # fmt: skip
    merged = WorkFolder(tmp_path / "merged")
    (merged.root / "ledger").mkdir(parents=True)
    merged.videos.mkdir()
    with fault_server(films) as server:
        seen: list[set[str]] = []
        for part in (1, 2):
            work = WorkFolder(tmp_path / f"machine_{part}")
            run(work, "kinetics", path, settings_for(server), filters=ListFilters(shard=(part, 2)))
            seen.append({row["group"] for row in rows_of(work).values()})
            for name in files_of(work):
                os.link(work.videos / name, merged.videos / name)
            for ledger in (work.root / "ledger").iterdir():
                os.link(ledger, merged.root / "ledger" / ledger.name)
        assert sum(map(len, seen)) == len(set.union(*seen)) == 5  # every video in one shard
        server.hits.clear()
        summary = run(merged, "kinetics", path, settings_for(server))
        assert (summary.used, sum(server.hits.values())) == (10, 0)
        assert {row["status"] for row in rows_of(merged).values()} == {"ok"}


def test_nothing_is_fetched_for_hostile_entries_and_nothing_lies_outside(films, tmp_path):
    work = WorkFolder(tmp_path / "deep" / "work")
    rows = ["../../../../evil,0,1,x", "--exec,0,1,x", ";touch evil;xx,0,1,x", "video_00001,nan,1,x",
            "video_00001,2,1,x", "video_00002,0,1,../../evil"]  # fmt: skip
    path = write_list(tmp_path / "k.csv", rows, "youtube_id,time_start,time_end,label")
    with fault_server(films) as server:
        summary = run(work, "kinetics", path, settings_for(server))
        assert (summary.used, summary.skipped) == (1, {"refused": 5})
        assert set(server.hits) == {"/video_00002.mp4"}
    reasons = [row["reason"] for row in rows_of(work).values() if row["status"] == "skipped"]
    assert len(reasons) == 5 and all(reason.startswith("refused: k.csv line ") for reason in reasons)
    found = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file()}
    assert found == {"k.csv"} | {f"deep/work/{name}" for name in (
        ".lock", "videos.parquet", "videos/video_00002_000000_000001.mp4", "ledger/clips.jsonl")}  # fmt: skip


def test_a_ledger_row_says_everything(films, tmp_path):
    work = WorkFolder(tmp_path / "work")
    with fault_server(films) as server:
        path = write_list(tmp_path / "k.csv", ["x,video_00001,1,2,val"], "label,youtube_id,time_start,time_end,split")
        run(work, "kinetics", path, settings_for(server))
    (row,) = read_ledgers(work)
    table = rows_of(work)["video_00001_000001_000002"]
    assert row | {"yt_dlp": "?", "time": "?", "format": "?", "url": "?"} == {
        "video_id": "video_00001_000001_000002", "source_key": "video_00001", "url": "?", "start_s": 1.0, "end_s": 2.0,
        "class_name": "x", "class_names": "x", "split": "val", "duration_s": None, "list": "kinetics:k.csv",
        "short_side": None, "asked_s": 1.0, "got_s": 1.0, "attempt": 1, "outcome": "ok", "message": "", "again": False,
        "yt_dlp": "?", "format": "?", "time": "?", "source_bytes": (films / "film.mp4").stat().st_size, "fps": 10.0,
        "frame_count": 10, "width": 96, "height": 64, "file": "video_00001_000001_000002.mp4",
        "bytes": (work.videos / "video_00001_000001_000002.mp4").stat().st_size, "sha256": table["sha256"],
    }  # fmt: skip


def test_a_disk_that_is_nearly_full_stops_before_it_is(films, tmp_path):
    work = WorkFolder(tmp_path / "work")
    with fault_server(films) as server:
        path = write_list(tmp_path / "l.csv", [f"{server.url('video_00001.mp4')},1,2,x"])
        with pytest.raises(InputError, match="make room"):
            run(work, "urls", path, settings_for(server, free_bytes=2**60))
        assert not server.hits
    assert [row["reason"] for row in rows_of(work).values()] == ["not fetched yet; run the same command again"]
    assert files_of(work) == []
