"""SpaceJam: copies, blocks, joints; and pickles that would run something, run nothing."""

import io
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from conftest import coded_frame, write_test_video

from labels.records.errors import InputError
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.archives.known import ARCHIVES, ArchiveSettings
from labels.videos.archives.restricted_pickle import BadPickle, read_pickled_array, unpickle_plain
from labels.videos.archives.rows import ArchiveResult
from labels.videos.archives.spacejam import pose_table


def clip(archive: Path, clip_id: str, number: int, frames: int = 16) -> None:
    pictures = [coded_frame(number * 20 + index) for index in range(frames)]
    write_test_video(archive / "clips" / f"{clip_id}.mp4", pictures)


def joints(shift: float = 0.0) -> list[dict]:
    return [{"head": (1.0 + shift, frame), 2: np.array([frame, 0.5]), "hand": None} for frame in range(16)]


def save_objects(path: Path, value: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(value, dtype=object), allow_pickle=True)


def add(tmp_path: Path, labels: dict, **settings: object) -> ArchiveResult:
    (tmp_path / "archive" / "annotation_dict.json").write_text(json.dumps(labels))
    work = WorkFolder(tmp_path / "work")
    with work.writing():
        result = ARCHIVES["spacejam"](work, ArchiveSettings(path=tmp_path / "archive", **settings))
    assert result.found == result.used + sum(result.refused.values())
    return result


def test_labels_copies_blocks_and_joints(tmp_path):
    archive = tmp_path / "archive"
    for number, clip_id in enumerate(
        ("0000000", "0000499", "0000500", "0000000_flipped", "0000001", "0000002", "0000003")
    ):
        clip(archive, clip_id, number, frames=12 if clip_id == "0000002" else 16)
    save_objects(archive / "joints" / "0000000.npy", joints())
    save_objects(archive / "joints" / "0000499.npy", joints()[:9])
    labels = {"0000000": 3, "0000499": 5, "0000500": 9, "0000000_flipped": 3, "0000001": 10, "0000002": 1, "0000007": 1}
    result = add(tmp_path, labels)
    used = result.videos[result.videos["status"] == "ok"]
    assert used[["video_id", "class_name", "group"]].to_numpy().tolist() == [
        ["spacejam_0000000", "dribble", "spacejam_block_00000"],
        ["spacejam_0000499", "ball in hand", "spacejam_block_00000"],
        ["spacejam_0000500", "walk", "spacejam_block_00001"],
    ]
    assert result.refused == {
        "a copy of another clip": 1,
        "labelled discard": 1,
        "wrong number of frames": 1,
        "not in annotation_dict.json": 1,  # 0000003
        "not in the archive": 1,  # 0000007
    }
    work = WorkFolder(tmp_path / "work")
    poses = read_parquet(work.truth_joints("spacejam_0000000"))
    assert poses.columns.tolist() == ["frame_index", "joint", "x", "y"]
    assert len(poses) == 32 and poses[poses["joint"] == "head"]["y"].tolist() == list(range(16))
    assert not work.truth_joints("spacejam_0000499").exists()
    assert "joints: 1 of 3 used clips have them" in result.lines
    assert any("not 16 dicts of joints (0000499)" in line for line in result.lines)


def test_copies_share_the_group_of_their_original(tmp_path):
    names = ("0000900", "0000900_flipped", "0000900_translate_-32_0", "0000900_flipped_rotate_330")
    for number, clip_id in enumerate(names):
        clip(tmp_path / "archive", clip_id, number)
    result = add(tmp_path, dict.fromkeys(names, 4), with_copies=True)
    assert result.used == 4 and set(result.videos["group"]) == {"spacejam_block_00001"}


@pytest.mark.parametrize("number", [11, -1, True, "3", 3.5, None, [1], {}])
def test_unknown_class_numbers_are_rows(tmp_path, number):
    clip(tmp_path / "archive", "0000000", 0)
    result = add(tmp_path, {"0000000": number})
    assert result.refused == {"unknown class number": 1}


def test_annotations_that_are_none(tmp_path):
    clip(tmp_path / "archive", "0000000", 0)
    work = WorkFolder(tmp_path / "work")
    settings = ArchiveSettings(path=tmp_path / "archive")
    with pytest.raises(InputError, match=r"no annotation_dict\.json"):
        ARCHIVES["spacejam"](work, settings)
    (tmp_path / "archive" / "annotation_dict.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="holds a list"):
        ARCHIVES["spacejam"](work, settings)
    (tmp_path / "archive" / "annotation_dict.json").write_text('{"../../x": 1, "0000000": 1}')
    assert ARCHIVES["spacejam"](work, settings).refused == {"leads outside the archive": 1}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_numpy_pickles_is_read(protocol):
    value = np.array(
        [{"a": (1.5, np.float32(2)), 1: np.arange(4.0).reshape(2, 2), "n": None}, {"k": [1, "x"]}], dtype=object
    )
    plain = unpickle_plain(pickle.dumps(value, protocol=protocol))
    assert plain[1] == {"k": [1, "x"]}
    assert plain[0]["a"] == (1.5, 2.0) and plain[0]["n"] is None
    np.testing.assert_array_equal(plain[0][1], np.arange(4.0).reshape(2, 2))


def test_older_numpy_and_byte_order():
    old = pickle.dumps(np.array([1, 2], dtype=">i2"), protocol=2).replace(
        b"numpy._core.multiarray", b"numpy.core.multiarray"
    )
    assert unpickle_plain(old).tolist() == [1, 2]


class Malicious:
    """Anything a pickle may ask for."""

    def __init__(self, function: object, *arguments: object):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


def _pickles(target: Path) -> dict[str, bytes]:
    """Pickles that would make the file `target`, or take the machine's memory."""
    touch = f"touch {target}"
    wrapped = np.array([{"head": Malicious(os.system, touch)}], dtype=object)
    return {
        "system": pickle.dumps(Malicious(os.system, touch)),
        "inside an array": pickle.dumps(wrapped),
        "eval": pickle.dumps(Malicious(eval, f"open({str(target)!r}, 'w')")),
        "text protocol": f"cos\nsystem\n(S'{touch}'\ntR.".encode(),
        "an object's class": f"(S'{touch}'\nios\nsystem\n.".encode(),
        "getattr": pickle.dumps(Malicious(getattr, "", "join")),
        "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
        "numpy's own loader": b"\x80\x04\x8c\x05numpy\x8c\x04load\x93\x8c\x01x\x85R.",
        "object dtype in a string": pickle.dumps(Malicious(np.dtype, "V1000000000")),
        "a new object": b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93)\x81.",
        "an extension": b"\x80\x04\x82\x01.",
        "another process's object": b"\x80\x04\x8c\x01xQ.",
        "far memo": b"\x80\x04Nr" + struct.pack("<I", 2**32 - 1) + b".",
        "more numbers than bytes": pickle.dumps(np.zeros(3)).replace(b"K\x03\x85", b"K\x7f\x85"),
        "a list shorter than its shape": pickle.dumps(np.array([{}] * 3, dtype=object)).replace(
            b"K\x03\x85", b"K\x7f\x85"
        ),
        "a set state on numpy's name": b"\x80\x04\x8c\x05numpy\x8c\x05dtype\x93}\x8c\x05_make\x8c\x01xsb.",
        "a million tuples": b"\x80\x04)" + b"\x85" * 100_000 + b".",
        "billion laughs": b"\x80\x04]("
        + b"K\x01" * 200
        + b"e"
        + b"\x94]("
        + (b"h\x00" * 200)
        + b"e"
        + b"\x94]("
        + (b"h\x01" * 200)
        + b"e.",
        "cut short": pickle.dumps(wrapped)[:40],
        "nothing": b"",
    }


@pytest.mark.parametrize("name", list(_pickles(Path("x"))))
def test_a_malicious_pickle_runs_nothing(tmp_path, name):
    target = tmp_path / "touched"
    data = _pickles(target)[name]
    with pytest.raises(BadPickle) as caught:
        unpickle_plain(data)
    assert "\n" not in str(caught.value)
    assert not target.exists()


def test_the_attack_would_work_without_the_restriction(tmp_path):
    """So that the test above is known to test something."""
    target = tmp_path / "touched"
    pickle.loads(_pickles(target)["inside an array"])
    assert target.exists()


def test_a_malicious_joint_file_costs_its_joints_only(tmp_path):
    clip(tmp_path / "archive", "0000000", 0)
    target = tmp_path / "touched"
    save_objects(
        tmp_path / "archive" / "joints" / "0000000.npy", [{"head": Malicious(os.system, f"touch {target}")}] * 16
    )
    result = add(tmp_path, {"0000000": 1})
    assert result.used == 1 and not target.exists()
    assert any("its pickle asks for posix.system (0000000)" in line for line in result.lines)


def test_npy_files_that_lie(tmp_path):
    path = tmp_path / "a.npy"
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    for data, reason in [
        (stream.getvalue(), "not what its header says"),
        (b"", "not an .npy file"),
        (b"\x93NUMPY\x01\x00\x10\x00{" + b"(" * 15, "not an .npy file"),
        (b"x" * (5 * 2**20), "more than"),
    ]:
        path.write_bytes(data)
        with pytest.raises(BadPickle, match=reason):
            read_pickled_array(path)
    np.save(path, np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(read_pickled_array(path), np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    "frames",
    [
        None,
        [],
        joints()[:15],
        [*joints()[:15], 3],
        [*joints()[:15], {"head": 1}],
        [*joints()[:15], {"head": (1, 2, 3)}],
    ],
)
def test_joints_of_another_shape_are_refused(frames):
    with pytest.raises(BadPickle):
        pose_table(frames)


def test_joints_that_were_not_seen_have_no_row():
    frames = [{"head": (float("nan"), 1)}] * 16
    assert len(pose_table(frames)) == 0
