"""What people really bring: each kind of trouble with foreign labels, and the right value worked out by hand.

The work folder is that of `exchange_work`: v0 has 100 frames at 25 a second, v1 40 at 12.5, both 200 x 100 pixels.
"""

import csv
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from exchange_work import a_round

import dataset_cleaner
import dataset_downloader
import dataset_processor
from labels.cleaning.label_export import export_round
from labels.cleaning.label_import import import_labels
from labels.exchange.known_formats import FORMATS
from labels.exchange.known_videos import ImportHints, KnownVideos, origin_of
from labels.exchange.labelled_clips import truth_table
from labels.records import tables
from labels.records.class_lists import family_of, same_names
from labels.records.errors import InputError
from labels.records.frame_times import FrameTimes
from labels.records.matching import count_matches
from labels.records.verdicts import append_verdicts, read_verdicts
from labels.records.work_folder import WorkFolder


@pytest.fixture
def work(tmp_path):
    return a_round(tmp_path / "work")


def read(work, name, path, **said):
    return FORMATS[name].read(path, KnownVideos(work.usable_videos(), work.frame_times, ImportHints(**said)))


def boxes_of(found):
    return [(row.video_id, row.frame_index, row.class_name) for row in found.boxes.itertuples()]


# Names -----------------------------------------------------------------------------------------------------------


def videos_called(*sources):
    rows = [
        {"video_id": source.strip("/").rpartition(".")[0].replace("/", "_"), "source": source, "group": "", "url": "",
         "file": "x.mp4", "start_s": 0.0, "frame_count": 100, "fps": 25.0, "width": 200, "height": 100}
        for source in sources
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(file=[f"{row['video_id']}.mp4" for row in rows])


@pytest.mark.parametrize(
    ("name", "video_id"),
    [
        ("match", "match"),
        ("match.mp4", "match"),
        ("MATCH.MP4", "match"),
        ("C:\\clips\\match.mp4", "match"),
        ("../media/upload/1/match.mp4", "match"),
        ("1f2e3d4c-match.mp4", "match"),
        ("/data/upload/3/1f2e3d4c-match.mp4", "match"),
        ("match_mp4", "match"),
        ("other", None),
        ("day1/serve.mp4", "day1_serve"),
        ("x/day2/serve", "day2_serve"),
        ("serve", None),  # two are called so
    ],
)
def test_a_video_is_found_by_what_others_call_it(name, video_id):
    videos = KnownVideos(videos_called("/match.mp4", "/day1/serve.mp4", "/day2/serve.mp4"))
    found = videos.find(name)
    assert (found and found["video_id"]) == video_id
    assert bool(videos.ambiguous) == (name == "serve")


@pytest.mark.parametrize(
    ("picture", "frame"),
    [
        ("match_10.jpg", 10),
        ("match_000010.txt", 10),
        ("match/000010.jpg", 10),
        ("match/frame_000010.png", 10),
        ("match_frame_000010.txt", 10),
        ("match_frame10.jpg", 10),
        ("match-0010.txt", 10),
        ("match.mp4_10.txt", 10),
        ("match_mp4-10_jpg.rf.0123456789abcdef.txt", 10),
        ("/data/upload/1/0a1b2c3d-match_000010.jpg", 10),
        ("images\\train\\match_000010.jpg", 10),
        ("/home/me/frames/match_000010.jpg", 10),
        ("match.jpg", None),
        ("other_000010.jpg", None),
        ("frame_000010.jpg", None),  # of which of the two clips?
        ("match10.jpg", None),
    ],
)
def test_a_picture_says_its_video_and_frame(picture, frame):
    found = KnownVideos(videos_called("/match.mp4", "/other clip.mp4")).find_frame(picture)
    assert (found and (found[0]["video_id"], found[1])) == (None if frame is None else ("match", frame))


def test_a_bare_frame_is_of_the_only_clip_or_of_the_one_that_is_said():
    one, two = videos_called("/match.mp4"), videos_called("/match.mp4", "/serve.mp4")
    assert KnownVideos(one).find_frame("frame_000123.PNG")[1] == 123
    assert KnownVideos(two).find_frame("frame_000123", "serve")[0]["video_id"] == "serve"
    assert KnownVideos(two, hints=ImportHints("serve")).find_frame("frame_000123")[0]["video_id"] == "serve"
    named = KnownVideos(two, hints=ImportHints("match.mp4"))
    assert named.find("final_cut.mp4")["video_id"] == "match"
    with pytest.raises(InputError, match="names several videos"):
        named.find("another.mp4")
    with pytest.raises(InputError, match="no such video"):
        KnownVideos(two, hints=ImportHints("nobody"))


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ("/a/-0pWvb1J2dM_000050_000060.mp4", ("-0pWvb1J2dM", 50.0)),
        ("/a/final_000001_000011.mp4", ("final", 1.0)),
        ("/a/match_000060_000050.mp4", ("a_match_000060_000050", 0.0)),  # an end before its start is no cut
        ("/a/match.mp4", ("a_match", 0.0)),
    ],
)
def test_a_name_says_where_a_clip_was_cut(source, origin):
    assert origin_of(videos_called(source).iloc[0]) == origin


# Time ------------------------------------------------------------------------------------------------------------


def test_times_of_uneven_frames_by_hand():
    times = FrameTimes.of_stamps(np.array([0.0, 0.5, 1.0, 1.0, 1.1]), 10.0)  # a stamp stands twice
    assert times.end_s == pytest.approx(1.2)
    assert [times.edge_at(second) for second in (0, 0.2, 0.3, 1.0, 1.12, 9)] == [0, 0, 1, 2, 4, 5]
    assert [times.shown_at(second) for second in (0, 0.49, 0.5, 1.0, 5)] == [0, 0, 1, 3, 4]
    assert times.seconds([0, 4, 5]).tolist() == pytest.approx([0, 1.1, 1.2])
    even = FrameTimes.even(100, 25.0)
    assert [even.edge_at(frame / 25) for frame in range(101)] == list(range(101))


SLOW_FAST = [*np.arange(10) * 0.1, *(1 + np.arange(60) / 60)]  # a second of 10 frames, then one of 60


@pytest.fixture
def uneven(tmp_path, make_video):
    make_video("clips/vfr.mkv", 70, fps=60, times_s=[round(float(second), 3) for second in SLOW_FAST])
    assert dataset_downloader.main([str(tmp_path / "work"), "--from", "folder", "--path", str(tmp_path / "clips")]) == 0
    return WorkFolder(tmp_path / "work")


def human_actions(work):
    with open(work.root / "human_actions.csv", newline="") as opened:
        return [(row["class_name"], int(row["start_frame"]), int(row["end_frame"])) for row in csv.DictReader(opened)]


def test_seconds_of_an_uneven_video_are_those_of_its_frames_both_ways(uneven, tmp_path):
    path = tmp_path / "moves.csv"
    path.write_text("label, youtube_id, time_start, time_end\nslow, vfr, 0, 1\nfast,vfr,0:00:01,2\n")
    assert dataset_downloader.main([str(uneven.root), "--import-labels", str(path)]) == 0
    assert human_actions(uneven) == [("slow", 0, 10), ("fast", 10, 70)]
    assert dataset_processor.main([str(uneven.root), "--round", "0", "--recogniser", "human"]) == 0
    assert dataset_cleaner.main([str(uneven.root), "--round", "0"]) == 0
    assert dataset_cleaner.main([str(uneven.root), "--round", "0", "--export", "kinetics"]) == 0
    with open(uneven.round(0).path / "export" / "kinetics" / "kinetics.csv", newline="") as opened:
        said = {row["label"]: (float(row["time_start"]), float(row["time_end"])) for row in csv.DictReader(opened)}
    assert said["slow"] == (0, 1)
    assert said["fast"] == pytest.approx((1, 2), abs=0.02)
    actions = pd.read_parquet(uneven.round(0).actions("cleaned", "vfr")).set_index("class_name")
    assert actions.loc["fast", ["start_s", "end_s"]].tolist() == pytest.approx([1, 2], abs=0.02)


def ls_task(video="v0.mp4", rate=24.0, boxes=True, frames_count=None):
    sequence = [
        {"frame": 1, "x": 10, "y": 40, "width": 4, "height": 8, "enabled": True},
        {"frame": 49, "x": 34, "y": 40, "width": 4, "height": 8, "enabled": False},
    ]
    value = {"sequence": sequence, "labels": ["ball"], "framesCount": frames_count or round(rate * 4), "duration": 4.0}
    spans = {"ranges": [{"start": 25, "end": 48}], "timelinelabels": ["serve"]}
    result = [{"id": "a", "type": "timelinelabels", "value": spans}]
    result += [{"id": "b", "type": "videorectangle", "value": value}] if boxes else []
    return json.dumps([{"data": {"video": video}, "annotations": [{"result": result}]}])


def test_frames_of_label_studio_at_another_rate_are_laid_over_the_video_by_time(work, tmp_path):
    """24 frames a second over 25: its frame 49 begins at 2 s, which is frame 50; 24 frames from 1 s on end at 2 s."""
    (tmp_path / "a.json").write_text(ls_task())
    found = read(work, "labelstudio", tmp_path / "a.json")
    assert found.boxes["frame_index"].tolist() == list(range(51))
    assert found.boxes["x1"].tolist() == pytest.approx([20 + 48 * frame / 50 for frame in range(51)], abs=1e-3)
    assert found.actions[["start_frame", "end_frame"]].to_numpy().tolist() == [[25, 50]]
    assert any("by time: v0 was counted at 24" in line for line in found.lines)


def test_a_rate_that_nobody_says_is_asked_for(work, tmp_path):
    (tmp_path / "a.json").write_text(ls_task(boxes=False))
    with pytest.raises(InputError, match="say --set fps=RATE"):
        read(work, "labelstudio", tmp_path / "a.json")
    found = read(work, "labelstudio", tmp_path / "a.json", fps=24.0)
    assert found.actions[["start_frame", "end_frame"]].to_numpy().tolist() == [[25, 50]]
    found = read(work, "labelstudio", tmp_path / "a.json", fps=25.0)
    assert found.actions[["start_frame", "end_frame"]].to_numpy().tolist() == [[24, 48]]


def test_ava_beyond_the_clip_is_left_out_and_nobody_is_followed_by_his_place(work, tmp_path):
    (tmp_path / "list.pbtxt").write_text('label { name: "serve" label_id: 1 }')
    rows = ["v0,1,0.1,0.1,0.3,0.9,1", "v0,2,0.12,0.1,0.32,0.9,1,-1", "v0,902,0.1,0.1,0.3,0.9,1,1", "v0,3,,,,,,"]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    found = read(work, "ava", tmp_path / "a.csv")
    assert boxes_of(found) == [("v0", 25, "person"), ("v0", 50, "person")]
    assert found.actions[["track_id", "start_frame", "end_frame"]].to_numpy().tolist() == [[0, 12, 62]]
    assert found.left_out.counts == {"rows of a second past the end of their clip": 1, "rows without a box": 1}


# Which frames are known ------------------------------------------------------------------------------------------


def cvat_task(meta, frames=(40,)):
    box = '<box frame="{}" outside="0" xtl="1" ytl="2" xbr="9" ybr="9"/>'
    boxes = "".join(box.format(frame) for frame in frames)
    track = f'<track id="0" label="sports ball">{boxes}</track>'
    return f"<annotations><meta><task><source>v0.mp4</source>{meta}</task></meta>{track}</annotations>"


@pytest.mark.parametrize(
    ("meta", "known"),
    [
        ("<start_frame>40</start_frame><stop_frame>59</stop_frame>", range(40, 60)),
        ("<start_frame>0</start_frame><stop_frame>20</stop_frame><frame_filter>step=5</frame_filter>", range(0, 21, 5)),
        ("<frame_filter>step = 30</frame_filter>", range(0, 100, 30)),
        ("<size>10</size>", range(10)),
        ("", range(100)),
    ],
)
def test_frames_outside_a_task_are_unknown(work, tmp_path, meta, known):
    (tmp_path / "a.xml").write_text(cvat_task(meta, [known[0], known[-1]]))
    found = read(work, "cvat", tmp_path / "a.xml")
    assert found.covered["v0"].tolist() == list(known)
    assert found.boxes["frame_index"].tolist() == list(known)  # filled between, in the task's own frames only
    truth = truth_table(found.boxes, found.covered["v0"])
    assert sorted(set(truth["frame_index"])) == list(known)


def test_a_part_of_an_export_that_comes_back_denies_nothing_outside_it(work, tmp_path):
    path = export_round(work, 0, "cvat").folder / "v0.xml"
    text = path.read_text().replace("<stop_frame>99</stop_frame>", "<stop_frame>1</stop_frame>")
    for frame in (2, 5, 25, 50, 99):
        text = text.replace(f'frame="{frame}"', 'frame="1" outside="1" dropped="')
    (tmp_path / "v0.xml").write_text(cvat_task("<start_frame>0</start_frame><stop_frame>0</stop_frame>", []))
    import_labels(work, tmp_path / "v0.xml")
    assert not (work.root / "verdicts.csv").exists()  # it holds none of our names, and nothing is known of it


@pytest.mark.parametrize(
    ("numbers", "said", "first"),
    [
        ([1, 2, 100], None, 1),  # the number after the last frame is there, 0 is not
        ([0, 1, 2], None, 0),
        ([1, 2, 3], 1, 1),
        ([1, 2, 3], 0, 0),
        ([1, 2, 3], None, None),
    ],
)
def test_frames_counted_from_one_are_told_or_asked_for(work, tmp_path, numbers, said, first):
    (tmp_path / "labels").mkdir()
    (tmp_path / "classes.txt").write_text("ball\n")
    for number in numbers:
        (tmp_path / "labels" / f"v0_{number}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    if first is None:
        with pytest.raises(InputError, match="--set first_frame=1"):
            read(work, "yolo", tmp_path)
        return
    found = read(work, "yolo", tmp_path, first_frame=said)
    assert sorted(found.boxes["frame_index"]) == [number - first for number in numbers]


# What a file's own words mean ------------------------------------------------------------------------------------


def test_soccernet_says_which_track_is_the_ball(work, tmp_path):
    (tmp_path / "v0" / "gt").mkdir(parents=True)
    (tmp_path / "v0" / "gt" / "gt.txt").write_text("1,1,2,3,20,50,1,-1,-1,-1\n1,2,9,9,6,6,1,-1,-1,-1\n")
    info = "[Sequence]\nname=v0\ntrackletID_1= player team left;10\ntrackletID_2= ball;1\n"
    (tmp_path / "v0" / "gameinfo.ini").write_text(info)
    assert boxes_of(read(work, "mot", tmp_path)) == [("v0", 0, "player"), ("v0", 0, "ball")]
    (tmp_path / "v0" / "gameinfo.ini").unlink()
    found = read(work, "mot", tmp_path)
    assert any("say none (ten columns); taken as Pedestrian" in line for line in found.lines)


def coco(*bboxes, **more):
    images = [{"id": place, "file_name": f"v0_{place:06d}.jpg"} for place in range(len(bboxes))]
    boxes = [{"image_id": place, "category_id": 1, "bbox": list(bbox)} for place, bbox in enumerate(bboxes)]
    categories = [{"id": 0, "name": "ball"}, {"id": 1, "name": "ball"}]
    return json.dumps({"images": images, "annotations": boxes, "categories": categories} | more)


@pytest.mark.parametrize(
    ("bboxes", "guess"),
    [
        ([(0.2, 0.3, 0.5, 0.5), (0.1, 0.1, 0.2, 0.2)], "shares from 0 to 1"),
        ([(120, 60, 150, 90), (10, 10, 30, 40), (100, 50, 160, 95)], "two corners where sizes are wanted"),
        ([(300, 150, 40, 40), (350, 180, 20, 20), (380, 10, 10, 10)], "another size or convention"),
        ([(10, 10, 30, 40), (190, 90, 20, 20)], None),  # one over the edge is no convention
    ],
)
def test_boxes_in_another_convention_are_refused_with_a_guess(work, tmp_path, bboxes, guess):
    (tmp_path / "a.json").write_text(coco(*bboxes))
    if guess is None:
        assert len(read(work, "coco", tmp_path / "a.json").boxes) == len(bboxes)
    else:
        with pytest.raises(InputError, match=guess):
            read(work, "coco", tmp_path / "a.json")


def test_coco_of_all_kinds(work, tmp_path):
    films = [{"id": 7, "name": "v0"}]
    images = [
        {"id": "a", "file_name": "x/000003.jpg", "video_id": 7, "frame_id": 3},
        {"id": 2, "file_name": "..\\v1_000004.jpg", "width": 200, "height": 100},
        {"file_name": "v0_000009.jpg"},
    ]
    annotations = [
        {"id": "x", "image_id": "a", "category_id": 1.0, "segmentation": [[1, 2, 9, 2, 9, 8]]},
        {"id": 1, "image_id": "2", "category_id": 1, "bbox": [5, 5, 8, 8]},
        {"id": 1, "image_id": 2, "category_id": 1, "bbox": [5, 5, 8, 0]},
        {"image_id": [1], "category_id": {}, "bbox": [1]},
    ]
    content = {"videos": films, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "ball"}]}
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(content))
    (folder / "other.json").write_text('{"name": "balls"}')
    found = read(work, "coco", folder)
    assert boxes_of(found) == [("v0", 3, "ball"), ("v1", 4, "ball")]
    assert found.boxes[tables.BOX_COLUMNS].to_numpy().tolist() == [[1, 2, 9, 8], [5, 5, 13, 13]]
    assert sum(found.left_out.counts.values()) == 3
    assert any("1 other JSON files" in line for line in found.lines)


@pytest.mark.parametrize(
    ("file", "text", "lines", "expected"),
    [
        ("data.yaml", "names: {0: ball, 1: 'a: b'}", ["1 .5 .5 .1 .1"], "a: b"),
        ("data.yml", "names:\n  [ball,\n   player]  # two\n", ["1.0 .5 .5 .1 .1"], "player"),
        ("ball.yaml", 'nc: 1\nnames: ["ball"]\n', ["0 .4 .4 .6 .4 .6 .6"], "ball"),
        ("data.yaml", "names:\n- ball\n- player\n", ["1 .5 .5 .1 .1 17", "bad line"], "player"),
    ],
)
def test_names_of_yolo_in_all_forms_of_yaml(work, tmp_path, file, text, lines, expected):
    (tmp_path / file).write_text(text)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "v0_000001.txt").write_text("\n".join(lines))
    found = read(work, "yolo", tmp_path)
    assert boxes_of(found) == [("v0", 1, expected)]
    assert found.boxes["track_id"].tolist() == [17 if "17" in lines[0] else -1]


def test_shapes_of_cvat_have_a_box(work, tmp_path):
    shapes = [
        '<track label="a"><ellipse frame="0" cx="24" cy="54" rx="4" ry="2"/></track>',
        '<track label="b"><polygon frame="0" points="1,2;9,3;5,8"/></track>',
        '<track label="c"><box frame="0" xtl="40" ytl="40" xbr="60" ybr="50" rotation="90.0"/></track>',
        '<track label="d"><points frame="0" points="7.0,8.0"/></track>',
        '<track label="e"><box frame="1" xtl="1" ytl="1" xbr="2" ybr="2"/><box frame="2" outside="1" xtl="1"/>'
        '<box frame="2" outside="1" xtl="1"/></track>',
    ]
    text = f"<annotations><meta><job><size>100</size></job></meta>{''.join(shapes)}</annotations>"
    (tmp_path / "annotations.xml").write_text(text)
    found = read(work, "cvat", tmp_path / "annotations.xml", video_id="v0")
    boxes = dict(zip(found.boxes["class_name"], found.boxes[tables.BOX_COLUMNS].to_numpy().tolist(), strict=True))
    assert boxes["a"] == [20, 52, 28, 56]
    assert boxes["b"] == [1, 2, 9, 8]
    assert boxes["c"] == pytest.approx([45, 35, 55, 55])
    assert boxes["d"] == [7, 8, 7, 8]
    assert not found.left_out.counts


def test_several_tasks_in_one_cvat_file(work, tmp_path):
    tasks = "".join(
        f"<task><id>{number}</id><size>{size}</size><source>v{number}.mp4</source></task>"
        for number, size in ((0, 100), (1, 40))
    )
    box = '<box frame="{}" xtl="1" ytl="1" xbr="5" ybr="5"/><box frame="{}" outside="1"/>'
    box = f'<track task_id="{{}}" label="ball">{box}</track>'
    for frame in (3, 103):  # each task counted from 0, or on from the one before
        tracks = box.format(0, 2, 3) + box.format(1, frame, frame + 1)
        text = f"<annotations><meta><project><tasks>{tasks}</tasks></project></meta>{tracks}</annotations>"
        (tmp_path / "annotations.xml").write_text(text)
        assert boxes_of(read(work, "cvat", tmp_path)) == [("v0", 2, "ball"), ("v1", 3, "ball")]


def test_json_min_and_choices(work, tmp_path):
    keys = [{"frame": 1, "x": 10, "y": 40, "width": 4, "height": 8, "enabled": False}]
    box = {"framesCount": 100, "duration": 4.0, "sequence": keys, "labels": ["ball"]}
    content = [{"id": 1, "video_url": "/x/1f2e3d4c-v0.mp4", "box": [box], "choice": "serve", "annotation_id": 3}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = read(work, "labelstudio", tmp_path / "a.json")
    assert boxes_of(found) == [("v0", 0, "ball")]
    assert found.actions[["class_name", "start_frame", "end_frame"]].to_numpy().tolist() == [["serve", 0, 100]]


@pytest.mark.parametrize(
    "text",
    [
        "Frame,Visibility,X,Y\n1,1,60,50\n2,0,0,0\n3,3,0,0\n",
        "file name,visibility,x-coordinate,y-coordinate,status\n0001.jpg,1,60,50,0\n0002.jpg,0,,,\n0003.jpg,3,,,\n",
    ],
)
def test_tracknet_is_truth_beside_a_clip_and_labels(work, tmp_path, make_video, text):
    make_video("in/game.mp4", 5)
    (tmp_path / "in" / "game_ball.csv").write_text(text.replace("60,50", "12,13"))
    assert dataset_downloader.main([str(tmp_path / "w"), "--from", "folder", "--path", str(tmp_path / "in")]) == 0
    truth = WorkFolder(tmp_path / "w").read_truth("game")
    assert truth[["frame_index", "visibility"]].to_numpy().tolist() == [[1, 1], [2, 1]]  # a hidden ball: unknown
    assert truth["x1"].tolist()[0] == 12
    assert tables.is_empty_frame(truth).tolist() == [False, True]
    (tmp_path / "v0_ball.csv").write_text(text)
    found = read(work, "tracknet", tmp_path / "v0_ball.csv")
    assert boxes_of(found) == [("v0", 1, "sports ball")]
    assert found.covered["v0"].tolist() == [1, 2, 3]


def test_a_folder_on_top_of_a_zip(work, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("balls/data.yaml", "names: [ball]")
        archive.writestr("balls/labels/v0_000001.txt", "0 .5 .5 .1 .1")
        archive.writestr("__MACOSX/balls/._data.yaml", "x")
    assert import_labels(work, tmp_path / "a.zip").found == 1


# Names of classes ------------------------------------------------------------------------------------------------


def test_names_of_the_same_thing():
    assert [family_of(name) for name in ("Tennis_Ball", "ball", "sports ball", "Player")] == [
        *("sports ball", "sports ball", "sports ball", "person")
    ]
    for name in ("volley ball", "basket-ball", "SportsBall", "balls", "sports\u00a0ball", " Ball "):
        assert family_of(name) == "sports ball"
    assert (family_of("Persons"), family_of("goal post")) == ("person", "goal post")
    assert same_names({"sports ball"}, {"ball"}) == {"sports ball": "ball"}
    assert same_names({"football", "tennis ball"}, {"football", "tennis ball"}) == {}
    assert same_names({"sports ball", "football"}, {"sports ball"}) == {}  # the truth tells them apart
    assert same_names({"referee"}, {"person"}) == {}


def test_labels_are_measured_against_truth_of_another_name():
    box = {"frame_index": [0], **{name: [value] for name, value in zip(tables.BOX_COLUMNS, (1, 1, 9, 9), strict=True)}}
    labels = pd.DataFrame(box | {"class_name": ["ball"], "score": [0.9]})
    truth = pd.DataFrame(box | {"class_name": ["sports ball"], "visibility": [1.0], "track_id": [-1]})
    counts = count_matches(labels, truth, "centre", ["ball"])
    assert (counts.right, counts.wrong, counts.missed) == (1, 0, 0)


def test_an_import_calls_things_as_the_labels_here_do(work, tmp_path):
    path = export_round(work, 0, "cvat").folder / "v0.xml"
    path.write_text(path.read_text().replace('label="sports ball"', 'label="ball"'))
    done = import_labels(work, path)
    assert any("ball is taken for sports ball" in line for line in done.lines)
    assert not (work.root / "verdicts.csv").exists()


@pytest.mark.parametrize("name", ["ba\u200bll", "\ufeffball\u200b", "ball\x1b[2J", "b" * 200])
def test_a_class_that_nobody_can_see_is_refused_at_import(work, tmp_path, name):
    (tmp_path / "a.csv").write_text(f"video_id,frame_index,x1,y1,x2,y2,class_name\nv0,1,1,1,5,5,{name}\n")
    with pytest.raises(InputError, match="letters that cannot be seen"):
        import_labels(work, tmp_path / "a.csv")
    assert not (work.root / "verdicts.csv").exists()


# verdicts.csv ----------------------------------------------------------------------------------------------------


def test_verdicts_between_semicolons_are_kept_when_others_are_added(work):
    path = work.root / "verdicts.csv"
    path.write_text("label_uid;verdict;class_name\na0;n;\na1;y;person\n")
    assert set(read_verdicts(work)) == {"a0", "a1"}
    append_verdicts(work, [{"label_uid": "a2", "verdict": "y"}])
    assert {uid: said.verdict for uid, said in read_verdicts(work).items()} == {"a0": "n", "a1": "y", "a2": "y"}
    path.write_text("who knows\nwhat this is\n")
    with pytest.raises(InputError, match="needs the columns"):
        append_verdicts(work, [{"label_uid": "a2", "verdict": "y"}])
    assert path.read_text() == "who knows\nwhat this is\n"


# Encodings -------------------------------------------------------------------------------------------------------

COCO_TEXT = json.dumps(
    {
        "images": [{"id": 1, "file_name": "v0_000010.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 8, 8]}],
        "categories": [{"id": 1, "name": "мяч"}],
    },
    ensure_ascii=False,
    indent=1,
)
XML_TEXT = """<annotations><meta><task><source>v0.mp4</source></task></meta>
<track id="0" label="мяч"><box frame="10" outside="0" keyframe="1" xtl="10" ytl="20" xbr="18" ybr="28"/>
<box frame="11" outside="1" keyframe="1" xtl="10" ytl="20" xbr="18" ybr="28"/></track></annotations>"""
CSV_TEXT = "video_id,frame_index,x1,y1,x2,y2,class_name\nv0,10,10,20,18,28,мяч\n"
TASK_TEXT = json.dumps(
    [{
        "id": 1, "data": {"video": "v0.mp4"},
        "annotations": [{"result": [{
            "id": "a", "type": "videorectangle",
            "value": {"framesCount": 100, "duration": 4.0, "labels": ["мяч"], "sequence": [
                {"frame": 11, "x": 5, "y": 20, "width": 4, "height": 8, "enabled": False}]},
        }]}],
    }],
    ensure_ascii=False,
)  # fmt: skip


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("name", "text"), [("a.json", COCO_TEXT), ("b.json", TASK_TEXT), ("a.xml", XML_TEXT), ("a.csv", CSV_TEXT)]
)
def test_a_file_of_another_encoding_says_the_same(work, tmp_path, name, text, encoding, ending):
    (tmp_path / name).write_bytes(text.replace("\n", ending).encode(encoding))
    import_labels(work, tmp_path / name)
    (said,) = read_verdicts(work).values()
    assert (said.video_id, said.frame_index, said.class_name, said.xyxy) == ("v0", 10, "мяч", (10, 20, 18, 28))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_yolo_and_mot_of_another_encoding(work, tmp_path, encoding):
    (tmp_path / "y" / "labels").mkdir(parents=True)
    (tmp_path / "y" / "data.yaml").write_bytes("names: [мяч]\r\n".encode(encoding))
    (tmp_path / "y" / "labels" / "v0_000010.txt").write_bytes(b"0 0.07 0.24 0.04 0.08\r\n")
    assert boxes_of(read(work, "yolo", tmp_path / "y")) == [("v0", 10, "мяч")]
    (tmp_path / "m" / "v0" / "gt").mkdir(parents=True)
    (tmp_path / "m" / "v0" / "gt" / "gt.txt").write_bytes("11,1,11,21,8,8,1,1,1\r\n".encode(encoding))
    (tmp_path / "m" / "v0" / "gt" / "labels.txt").write_bytes("мяч\r\n".encode(encoding))
    assert boxes_of(read(work, "mot", tmp_path / "m")) == [("v0", 10, "мяч")]


@pytest.mark.parametrize(("name", "text"), [("a.json", COCO_TEXT), ("a.csv", CSV_TEXT)])
def test_an_encoding_that_no_mark_tells_is_refused(work, tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode("cp1251"))
    with pytest.raises(InputError, match=r"UTF-8|utf-8"):
        import_labels(work, tmp_path / name)


def test_a_csv_between_semicolons_may_have_decimal_commas(work, tmp_path):
    (tmp_path / "a.csv").write_text(CSV_TEXT.replace(",", ";").replace("10;20;18;28", "10,5;20;18,25;28"))
    import_labels(work, tmp_path / "a.csv")
    (said,) = read_verdicts(work).values()
    assert said.xyxy == (10.5, 20, 18.25, 28)


def test_an_empty_value_within_a_mot_line_moves_nothing(work, tmp_path):
    (tmp_path / "v0" / "gt").mkdir(parents=True)
    (tmp_path / "v0" / "gt" / "gt.txt").write_text("11,,11,21,8,8,1,1,1\n12,1,11,21,8,8,1,1,1,\n")
    found = read(work, "mot", tmp_path)
    assert boxes_of(found) == [("v0", 11, "Pedestrian")] and sum(found.left_out.counts.values()) == 1


# Frames that nobody saw, other counts and rates --------------------------------------------------------------------


def mot_folder(root, lines, **info):
    (root / "v0" / "gt").mkdir(parents=True)
    (root / "v0" / "gt" / "gt.txt").write_text("".join(f"{line}\n" for line in lines))
    said = "".join(f"{name}={value}\n" for name, value in info.items())
    (root / "v0" / "seqinfo.ini").write_text(f"[Sequence]\nname=v0\n{said}")
    return root


@pytest.mark.parametrize(
    ("frames", "info", "said", "expected", "known"),
    [
        ([1, 2, 100], {}, {}, [0, 1, 99], 100),
        ([0, 1, 99], {}, {}, [0, 1, 99], 100),  # counted from 0
        ([1, 100], {}, {"first_frame": 0}, [1], 100),  # as is said: there is no frame 100
        ([1, 50, 51], {"seqLength": 50, "frameRate": 25}, {}, [0, 49], 50),  # the rest was not looked at
        ([1, 51, 200], {"seqLength": 200, "frameRate": 50}, {}, [0, 25], 100),  # 200 lies between two frames
        ([1, 2, 50], {"seqLength": 50, "frameRate": 12}, {}, [0, 2, 98], 50),  # 12.5, rounded
        ([1, 2, 100], {"seqLength": 100, "frameRate": 24}, {}, [0, 1, 99], 100),  # frame by frame all the same
    ],
)
def test_frames_of_a_mot_sequence(work, tmp_path, frames, info, said, expected, known):
    found = read(
        work, "mot", mot_folder(tmp_path / "m", [f"{frame},1,11,11,5,5,1,1,1" for frame in frames], **info), **said
    )
    assert found.boxes["frame_index"].tolist() == expected and len(found.covered["v0"]) == known
    assert len(found.boxes) + sum(found.left_out.counts.values()) == len(frames)


@pytest.mark.parametrize(
    ("line", "class_name"),
    [("1,1,11,11,5,5,1,2", "b"), ("1 1 11 11 5 5 1 2 1", "b"), ("1,1,11,11,5,5,1,-1,-1,-1", "a")],
)
def test_the_class_of_a_mot_line(work, tmp_path, line, class_name):
    (mot_folder(tmp_path / "m", [line]) / "v0" / "gt" / "labels.txt").write_text("a\nb\n")
    assert boxes_of(read(work, "mot", tmp_path / "m")) == [("v0", 0, class_name)]


def test_frames_that_were_deleted_from_a_task_are_unknown(work, tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(XML_TEXT.replace("</source>", "</source><deleted_frames><frame>3</frame></deleted_frames>"))
    assert 3 not in read(work, "cvat", path).covered["v0"] and len(read(work, "cvat", path).covered["v0"]) == 99


@pytest.mark.parametrize(("first", "frames"), [(0, [0, 1, 99]), (1, [0, 98, 99])])
def test_frames_of_tracknet_from_0_and_from_1(work, tmp_path, first, frames):
    numbers = [0, 1, 99] if first == 0 else [1, 99, 100]
    (tmp_path / "v0_ball.csv").write_text("Frame,Visibility,X,Y\n" + "".join(f"{each},1,5,5\n" for each in numbers))
    assert read(work, "tracknet", tmp_path / "v0_ball.csv").boxes["frame_index"].tolist() == frames


# Other units and sizes -------------------------------------------------------------------------------------------


def grown(count):
    """Corners of boxes of 8 x 8 pixels along a diagonal, where sizes are wanted."""
    return [(5 + 4 * at, 4 + 3 * at, 13 + 4 * at, 12 + 3 * at) for at in range(count)]


def test_corners_within_the_frame_are_no_sizes(work, tmp_path):
    images = [{"id": at, "file_name": f"v0_{at:06d}.jpg"} for at in range(12)]
    boxes = [{"id": at, "image_id": at, "category_id": 1, "bbox": box} for at, box in enumerate(grown(12))]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "ball"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="two corners where sizes are wanted"):
        read(work, "coco", tmp_path / "a.json")
    for box in boxes:  # the same boxes as they are meant
        x1, y1, x2, y2 = box["bbox"]
        box["bbox"] = (x1, y1, x2 - x1, y2 - y1)
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert len(read(work, "coco", tmp_path / "a.json").boxes) == 12
    (tmp_path / "y" / "labels").mkdir(parents=True)
    (tmp_path / "y" / "data.yaml").write_text("names: [ball]")
    for at, (x1, y1, x2, y2) in enumerate(grown(12)):
        text = f"0 {x1 / 200} {y1 / 100} {x2 / 200} {y2 / 100}"
        (tmp_path / "y" / "labels" / f"v0_{at:06d}.txt").write_text(text)
    with pytest.raises(InputError, match="two corners where sizes are wanted"):
        read(work, "yolo", tmp_path / "y")


def test_pictures_of_another_size_are_left_out_or_refused(work, tmp_path):
    size = "<size><width>{}</width><height>{}</height></size>"
    for at, sides in enumerate([(200, 100), (100, 50), (0, 0)]):
        (tmp_path / "voc").mkdir(exist_ok=True)
        (tmp_path / "voc" / f"v0_{at:06d}.xml").write_text(
            f"<annotation><filename>v0_{at:06d}.jpg</filename>{size.format(*sides)}<object><name>ball</name><bndbox>"
            "<xmin>5</xmin><ymin>5</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
        )
    (tmp_path / "voc" / "v0_000009.xml").write_text("<annotation><fi")
    found = read(work, "voc", tmp_path / "voc")
    assert found.boxes["frame_index"].tolist() == [0, 2] and found.covered["v0"].tolist() == [0, 2]
    assert sorted(found.left_out.counts) == ["files that cannot be read", "pictures of 100 x 50, their video 200 x 100"]
    other = "</source><original_size><width>100</width><height>50</height></original_size>"
    (tmp_path / "a.xml").write_text(XML_TEXT.replace("</source>", other))
    with pytest.raises(InputError, match="is of a video of 100 x 50"):
        read(work, "cvat", tmp_path / "a.xml")


# Spellings -------------------------------------------------------------------------------------------------------


def test_a_class_may_be_called_no(work, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text("names: {0: no, 1: 7, 2: ~}")
    (tmp_path / "labels" / "v0_000001.txt").write_text("0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n")
    assert [name for *_, name in boxes_of(read(work, "yolo", tmp_path))] == ["no", "7"]


@pytest.mark.parametrize(
    ("header", "class_name"),
    [("Video_ID,Frame_Index,X1,Y1,X2,Y2,Class_Name", "puck"), ("video_id,frame_index,x1,y1,x2,y2,label", "puck"),
     ("video_id,frame_index,x1,y1,x2,y2,colour", "sports ball")],
)  # fmt: skip
def test_the_class_column_of_a_csv(work, tmp_path, header, class_name):
    (tmp_path / "a.csv").write_text(f"{header}\nv0,1,1,1,5,5,puck\n")
    import_labels(work, tmp_path / "a.csv")
    assert [said.class_name for said in read_verdicts(work).values()] == [class_name]
    assert bool(read(work, "csv", tmp_path / "a.csv").lines) == (class_name != "puck")


def test_a_blank_from_a_web_page_in_a_class(work, tmp_path):
    (tmp_path / "a.csv").write_text("video_id,frame_index,x1,y1,x2,y2,class_name\nv0,1,1,1,5,5,tennis\u00a0ball\n")
    assert boxes_of(read(work, "csv", tmp_path / "a.csv")) == [("v0", 1, "tennis ball")]


def test_an_address_with_a_question_is_a_name(work):
    videos = KnownVideos(work.usable_videos())
    assert videos.find_frame("https://host/x/v0_frame_000010.jpg?sig=a/b#1")[1] == 10
    assert videos.find("s3://bucket/v1.mp4?X-Amz-Date=1")["video_id"] == "v1"


def test_what_is_no_task_costs_itself_alone(work, tmp_path):
    (tmp_path / "a.json").write_text(f"[null, 5, {TASK_TEXT[1:]}")
    found = read(work, "labelstudio", tmp_path / "a.json")
    assert len(found.boxes) == 1 and found.left_out.counts["tasks that are no objects"] == 2


def test_two_files_of_one_name_in_a_zip_are_refused(work, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.csv", CSV_TEXT)
        archive.writestr("a.csv", CSV_TEXT)
    with pytest.raises(InputError, match="two files of one name"):
        import_labels(work, tmp_path / "a.zip")
