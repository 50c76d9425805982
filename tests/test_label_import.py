"""Labels that come back: what a person changed becomes a verdict on the same label_uid, and nothing else does."""

import csv
import json
import re
import shlex
import shutil
import xml.etree.ElementTree as ElementTree
import zipfile

import numpy as np
import pandas as pd
import pytest
from exchange_work import BOXES, a_round

import dataset_cleaner
import dataset_downloader
import dataset_processor
from labels.cleaning.label_export import export_round
from labels.cleaning.label_import import import_labels
from labels.exchange.known_formats import EXPORTS
from labels.records.errors import InputError
from labels.records.frame_times import keep_frame_times
from labels.records.run_records import HUMAN_ACTIONS_FILE, VERDICTS_FILE, RunRecord, write_run_record

KEPT = [row for row in BOXES if row[-1] == "keep"]


@pytest.fixture
def work(tmp_path):
    return a_round(tmp_path / "work")


def rows_of(work, name=VERDICTS_FILE):
    path = work.root / name
    if not path.is_file():
        return []
    with open(path, newline="") as opened:
        rows = [{key: text for key, text in row.items() if text} for row in csv.DictReader(opened)]
    for row in rows:  # a person's own box may be given a name as it is written
        if "frame_index" in row and "judged_class" not in row:
            row.pop("label_uid", None)
    return rows


def submitted(path):
    """The tasks as a person gives them back who only pressed «submit»."""
    tasks = json.loads(path.read_text())
    for task in tasks:
        task["annotations"] = [{"result": said["result"]} for said in task.pop("predictions")]
    path.write_text(json.dumps(tasks))
    return path


FILES = {"kinetics": "kinetics.csv", "ava": "annotations/ava_train_v2.2.csv", "labelstudio": "tasks_video.json"}


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_that_is_only_imported_again_says_nothing(work, name):
    path = export_round(work, 0, name).folder / FILES.get(name, "")
    if name == "labelstudio":
        submitted(path)
    done = import_labels(work, path)
    assert done.found == done.used > 0
    assert rows_of(work) == rows_of(work, HUMAN_ACTIONS_FILE) == []


STAMPS = {
    "slow, then fast": [*np.arange(40) / 10, *(4 + np.arange(60) / 60)],
    "repeated stamps": np.repeat(np.arange(50) / 12.5, 2),
    "a pause of a day": [*np.arange(50) / 25, *(86_400 + np.arange(50) / 25)],
}


@pytest.mark.parametrize("stamps", STAMPS.values(), ids=STAMPS.keys())
@pytest.mark.parametrize("name", EXPORTS)
def test_labels_of_uneven_frames_come_back_where_they_were(work, name, stamps):
    keep_frame_times(work.frame_times / "v0.parquet", [float(stamp) for stamp in stamps])
    path = export_round(work, 0, name).folder / FILES.get(name, "")
    if name == "labelstudio":
        submitted(path)
    done = import_labels(work, path)
    assert done.found == done.used > 0
    assert rows_of(work) == rows_of(work, HUMAN_ACTIONS_FILE) == []


def first_half(name, folder):
    """An export as it comes back from a task of the frames 0 to 49; what is to be read of it."""
    path = folder / FILES.get(name, "")
    if name == "coco":
        path = folder / "annotations" / "instances_default.json"
        content = json.loads(path.read_text())
        content["images"] = [image for image in content["images"] if image["frame_index"] < 50]
        kept = {image["id"] for image in content["images"]}
        content["annotations"] = [box for box in content["annotations"] if box["image_id"] in kept]
        path.write_text(json.dumps(content))
    elif name in ("yolo", "voc"):
        for text in [*folder.rglob("v0_*.txt"), *folder.rglob("v0_*.xml")]:
            if int(text.stem[-6:]) >= 50:
                text.unlink()
        path = folder
    elif name == "mot":
        gt, info = folder / "v0" / "gt" / "gt.txt", folder / "v0" / "seqinfo.ini"
        gt.write_text("".join(line for line in gt.open() if int(line.split(",")[0]) <= 50))
        info.write_text(info.read_text().replace("seqLength=100", "seqLength=50"))
    elif name == "cvat":
        root = ElementTree.parse(folder / "v0.xml").getroot()
        root.find("meta/task/stop_frame").text = "49"
        root.find("meta/task/size").text = "50"
        for track in root.iter("track"):
            for box in [box for box in track if int(box.get("frame")) >= 50]:
                track.remove(box)
        (folder / "v0.xml").write_text(ElementTree.tostring(root, encoding="unicode"))
    elif name == "tracknet":
        text = folder / "v0_ball.csv"
        lines = text.read_text().splitlines(keepends=True)
        text.write_text("".join(lines[:1] + [line for line in lines[1:] if int(line.split(",")[0]) < 50]))
    elif name == "labelstudio":
        path = submitted(folder / "tasks_images.json")
        tasks = json.loads(path.read_text())
        path.write_text(json.dumps([task for task in tasks if task["data"]["frame_index"] < 50]))
    return path


@pytest.mark.parametrize("name", ["coco", "yolo", "voc", "mot", "cvat", "tracknet", "labelstudio"])
def test_what_was_not_in_a_task_is_not_denied(work, name):
    whole = export_round(work, 0, name)
    done = import_labels(work, first_half(name, whole.folder))
    assert 0 < done.found < whole.boxes and rows_of(work) == []


def test_the_pictures_of_label_studio_say_nothing_either(work):
    path = submitted(export_round(work, 0, "labelstudio").folder / "tasks_images.json")
    assert import_labels(work, path).found == len(KEPT)
    assert rows_of(work) == []


@pytest.mark.parametrize("name", ["coco", "voc", "cvat"])
def test_with_confirm_what_is_unchanged_is_right(work, name):
    import_labels(work, export_round(work, 0, name).folder, confirm=True)
    assert sorted(row["label_uid"] for row in rows_of(work)) == sorted(row[0] for row in KEPT)
    assert {row["verdict"] for row in rows_of(work)} == {"y"}


def test_what_a_person_does_in_cvat_comes_back(work, tmp_path):
    path = export_round(work, 0, "cvat").folder / "v0.xml"
    root = ElementTree.fromstring(path.read_text())
    for track in list(root.iter("track")):
        uids = {box.find("attribute").text: box for box in track}
        if "a1" in uids:  # moved by 30 pixels, so that it overlaps where it was no more
            uids["a1"].set("xtl", "42.25")
            uids["a1"].set("xbr", "62.75")
            track.remove(uids["a5"])
        if "b1" in uids:
            track.set("label", "sports ball")
        if "c9" in uids:
            root.remove(track)
    text = '<track id="77" label="person"><box frame="40" xtl="1" ytl="2" xbr="11" ybr="22.5" outside="0"/></track>'
    root.append(ElementTree.fromstring(text))
    root.find("meta/task/name").text = "the task as its maker calls it"
    back = tmp_path / "annotations.xml"
    back.write_text(ElementTree.tostring(root, encoding="unicode"))
    import_labels(work, back)
    said = {row.get("label_uid", "new"): row for row in rows_of(work)}
    judged = {"judged_class": "sports ball", "judged_y1": "20.5", "judged_y2": "40", "video_id": "v0"}
    assert said.pop("a1") == judged | {
        "label_uid": "a1", "verdict": "y", "x1": "42.25", "y1": "20.5", "x2": "62.75", "y2": "40", "frame_index": "1",
        "judged_x1": "12.25", "judged_x2": "32.75",
    }  # fmt: skip
    assert said.pop("a5") == judged | {
        "label_uid": "a5", "verdict": "n", "frame_index": "5", "judged_x1": "20.25", "judged_x2": "40.75",
    }  # fmt: skip
    assert said.pop("new") == {
        "verdict": "y", "class_name": "person", "x1": "1", "y1": "2", "x2": "11", "y2": "22.5", "video_id": "v0",
        "frame_index": "40",
    }  # fmt: skip
    assert said.pop("c9")["verdict"] == "n"
    assert {uid: (row["verdict"], row["class_name"]) for uid, row in said.items()} == dict.fromkeys(
        ("b1", "p25", "p50"), ("y", "sports ball")
    )  # the whole track was renamed; v1 was not in the file, so nothing is said of it


def test_what_a_person_does_in_label_studio_comes_back(work):
    path = submitted(export_round(work, 0, "labelstudio").folder / "tasks_video.json")
    tasks = json.loads(path.read_text())
    task = next(task for task in tasks if task["data"]["video_id"] == "v0")
    regions = {region["id"]: region for region in task["annotations"][0]["result"]}
    keys = regions["a0"]["value"]["sequence"]
    keys[1] |= {"x": 30.0}
    for key in keys:  # as if Label Studio had not kept what it does not know
        del key["label_uid"]
    del keys[3]
    regions["act0"]["value"] |= {"timelinelabels": ["squash"]}
    regions["act1"]["value"]["ranges"] = [{"start": 31, "end": 60}]
    new = {
        "id": "xY12",
        "type": "timelinelabels",
        "value": {"ranges": [{"start": 1, "end": 5}], "timelinelabels": ["serve"]},
    }
    task["annotations"][0]["result"].append(new)
    path.write_text(json.dumps(tasks))
    import_labels(work, path)
    said = {row["label_uid"]: row for row in rows_of(work)}
    assert set(said) == {"a1", "a5", "act0"}
    assert (said["a1"]["verdict"], said["a1"]["x1"], said["a1"]["x2"]) == ("y", "60", "80.5")
    assert (said["a5"]["verdict"], said["act0"]["class_name"]) == ("n", "squash")
    assert rows_of(work, HUMAN_ACTIONS_FILE) == [
        {"label_uid": "act1", "video_id": "v0", "track_id": "7", "start_frame": "30", "end_frame": "60",
         "class_name": "hit (a ball)"},
        {"video_id": "v0", "track_id": "-1", "start_frame": "0", "end_frame": "5", "class_name": "serve"},
    ]  # fmt: skip


@pytest.mark.parametrize("span", ['{"start": 1, "end": Infinity}', '{"start": NaN, "end": 4}'])
def test_a_range_without_an_end_is_left_out_and_its_action_is_not_denied(work, span):
    path = submitted(export_round(work, 0, "labelstudio").folder / "tasks_video.json")
    path.write_text(path.read_text().replace('{"start": 1, "end": 50}', span))
    done = import_labels(work, path)
    assert any(line.startswith("left out: 1 ") for line in done.lines)
    assert rows_of(work) == []


def test_a_task_that_nobody_annotated_or_that_was_cancelled_denies_nothing(work):
    path = submitted(export_round(work, 0, "labelstudio").folder / "tasks_video.json")
    tasks = json.loads(path.read_text())
    tasks[0]["annotations"] = []
    tasks[1]["annotations"] = [{"result": [], "was_cancelled": True}]
    path.write_text(json.dumps(tasks))
    assert import_labels(work, path).found == 0
    assert rows_of(work) == []


def test_importing_twice_says_it_once_and_a_later_word_again(work):
    path = export_round(work, 0, "cvat").folder / "v1.xml"
    path.write_text(path.read_text().replace('xtl="5.0000"', 'xtl="4.1234567"'))
    for _ in range(2):
        import_labels(work, path)
    assert [row["x1"] for row in rows_of(work)] == ["4.12345648"]  # float32, nine digits
    with open(work.root / VERDICTS_FILE, "a") as opened:
        opened.write("e0,n\n")
    import_labels(work, path)
    assert [row["verdict"] for row in rows_of(work)] == ["y", "n", "y"]


def test_an_old_export_is_compared_with_what_it_was(work, tmp_path):
    """The round is cleaned and exported anew, with one label more, while a person works on the first export."""
    old = (export_round(work, 0, "cvat").folder / "v0.xml").read_text()
    a_round(work.root, [*BOXES, ("new", "v0", 60, 1.0, 1.0, 9.0, 9.0, "sports ball", -1, "keep")])
    export_round(work, 0, "cvat")
    (tmp_path / "v0.xml").write_text(old)
    import_labels(work, tmp_path / "v0.xml")
    assert rows_of(work) == []


def test_formats_without_names_correct_and_add_but_do_not_deny(work):
    path = export_round(work, 0, "mot").folder / "v0" / "gt" / "gt.txt"
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("100,")]
    moved = [re.sub(r"^1,(\d+),11.2500", r"1,\1,13.2500", line) for line in kept]
    assert moved != kept != lines
    path.write_text("\n".join([*moved, "61,99,1,1,20,30,1,1,1"]))
    done = import_labels(work, path)
    said = {row.get("label_uid", "new"): row for row in rows_of(work)}
    assert {uid: row["verdict"] for uid, row in said.items()} == {"a0": "y", "new": "y"}
    assert said["a0"]["x1"] == "12.25"
    assert (said["new"]["frame_index"], said["new"]["class_name"], said["new"]["x2"]) == ("60", "person", "20")
    assert any("says nothing in this format" in line for line in done.lines)


def test_a_box_drawn_where_a_doubtful_label_was_is_that_label(work, tmp_path):
    path = export_round(work, 0, "cvat").folder / "v0.xml"
    drawn = '<track id="9" label="sports ball"><box frame="8" xtl="61" ytl="60" xbr="71" ybr="70" outside="0"/></track>'
    path.write_text(path.read_text().replace("</annotations>", drawn + "</annotations>"))
    import_labels(work, path)
    assert [(row["label_uid"], row["verdict"], row["x1"]) for row in rows_of(work)] == [("i8", "y", "61")]


def test_boxes_for_clips_that_no_round_has_labelled(tmp_path, capsys):
    work = a_round(tmp_path / "work")
    (tmp_path / "mine.csv").write_text("video_id,frame_index,x1,y1,x2,y2\nv0.mp4,4,1,2,3,4\nother,1,1,2,3,4\n")
    for _ in range(2):  # said twice, written once
        assert dataset_downloader.main([str(work.root), "--import-labels", str(tmp_path / "mine.csv")]) == 0
    assert rows_of(work) == [
        {"verdict": "y", "class_name": "sports ball", "x1": "1", "y1": "2", "x2": "3", "y2": "4", "video_id": "v0",
         "frame_index": "4"}
    ]  # fmt: skip
    printed = capsys.readouterr().out
    assert "import: 2 labels = 1 used + 1 skipped (1 of videos not known here)" in printed
    assert "other" in printed


def test_after_an_import_comes_what_takes_labels_of_its_kind_in(tmp_path, capsys):
    work = a_round(tmp_path / "work root")
    write_run_record(work.round(0), RunRecord("labelled", 0, {}, {}, output=""))
    (tmp_path / "moves.csv").write_text("label,youtube_id,time_start,time_end\nkick,v1,0.5,2\n")
    (tmp_path / "mine.csv").write_text("video_id,frame_index,x1,y1,x2,y2\nv0.mp4,4,1,2,3,4\n")
    said = {}
    for file in ("moves.csv", "mine.csv"):
        assert dataset_downloader.main([str(work.root), "--import-labels", str(tmp_path / file)]) == 0
        said[file] = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("next: python "))
    assert said["moves.csv"] == ["dataset_processor.py", str(work.root), "--round", "0", "--recogniser", "human"]
    assert said["mine.csv"] == ["dataset_cleaner.py", str(work.root), "--round", "0"]
    work.round(0).run_record("labelled").rename(work.round(0).path / "aside.json")
    assert dataset_processor.main(said["moves.csv"][1:]) == 0  # now actions were
    capsys.readouterr()
    assert dataset_downloader.main([str(work.root), "--import-labels", str(tmp_path / "mine.csv")]) == 0
    assert capsys.readouterr().out.endswith("--round 0 --detector human\n")


def test_imported_actions_alone_can_be_the_first_labels(tmp_path, capsys):
    work = a_round(tmp_path / "work")
    shutil.rmtree(work.root / "rounds")
    (tmp_path / "moves.csv").write_text("label,youtube_id,time_start,time_end\nkick,v1,0.5,2\n")
    assert dataset_downloader.main([str(work.root), "--import-labels", str(tmp_path / "moves.csv")]) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert command == f"next: python dataset_processor.py {work.root} --round 0 --recogniser human"
    assert dataset_processor.main(shlex.split(command)[3:]) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert dataset_cleaner.main(shlex.split(command)[3:]) == 0
    actions = pd.read_parquet(work.round(0).actions("cleaned", "v1"))
    assert actions[["class_name", "decision", "origin"]].values.tolist() == [["kick", "keep", "human"]]


def test_a_foreign_coco_file_finds_its_frames_by_the_names_of_its_pictures(work, tmp_path):
    image = {"id": 1, "file_name": "train/v0_000004.jpg", "width": 200, "height": 100}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    content = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "ball"}]}
    (tmp_path / "c.json").write_text(json.dumps(content))
    import_labels(work, tmp_path / "c.json")
    assert [(row["video_id"], row["frame_index"], row["x2"]) for row in rows_of(work)] == [("v0", "4", "4")]
    content["images"][0] |= {"width": 400, "height": 200}
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="its video 200 x 100"):
        import_labels(work, tmp_path / "c.json")


def test_a_zip_is_opened_and_one_that_leads_out_is_not(work, tmp_path):
    folder = export_round(work, 0, "cvat").folder
    text = (folder / "v1.xml").read_text().replace('xtl="5.0000"', 'xtl="4.0000"')
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("annotations.xml", text)
        archive.writestr("images/v1.jpg", b"x")
    import_labels(work, tmp_path / "task.zip")
    assert [(row["label_uid"], row["x1"]) for row in rows_of(work)] == [("e0", "4")]
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../annotations.xml", text)
    with pytest.raises(InputError, match="leads out of the archive"):
        import_labels(work, tmp_path / "bad.zip")
    (tmp_path / "broken.zip").write_bytes(b"PK no")
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        broken = tmp_path / f"broken{method}.zip"
        with zipfile.ZipFile(broken, "w", method) as archive:
            archive.writestr("annotations.xml", text)
        packed, start = bytearray(broken.read_bytes()), 30 + len("annotations.xml")
        packed[start + 9 : start + 40] = b"\xff" * 31
        broken.write_bytes(packed)
    for name in ("broken.zip", f"broken{zipfile.ZIP_DEFLATED}.zip", f"broken{zipfile.ZIP_LZMA}.zip"):
        with pytest.raises(InputError, match="cannot be unpacked"):
            import_labels(work, tmp_path / name)
    assert not (tmp_path.parent / "annotations.xml").exists()


def test_a_file_of_other_videos_alone_is_refused(work, tmp_path):
    (tmp_path / "mine.csv").write_text("video_id,frame_index,x1,y1,x2,y2\nother,1,1,2,3,4\n")
    with pytest.raises(
        InputError, match="names no video of this work folder, but other; here are v0, v1; --video ID says"
    ):
        import_labels(work, tmp_path / "mine.csv")


@pytest.mark.parametrize(("name", "content"), [("a.json", "[]"), ("a.csv", "video_id,frame_index,x1,y1,x2,y2\n")])
def test_a_file_without_a_label_is_refused(work, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="holds no label"):
        import_labels(work, tmp_path / name, "labelstudio" if name.endswith("json") else "csv")


def test_the_script_exports_and_says_what_is_left_out(work, capsys):
    assert dataset_cleaner.main([str(work.root), "--round", "0", "--export", "cvat"]) == 0
    printed = capsys.readouterr().out
    assert "export round 0 as cvat: 13 labels = 9 used + 4 skipped" in printed
    assert "CVAT knows no «ignore»" in printed
    assert dataset_cleaner.main([str(work.root), "--round", "1", "--export", "cvat"]) == 2
    assert "not cleaned yet" in capsys.readouterr().err
