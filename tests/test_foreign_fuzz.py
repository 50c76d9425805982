"""Whatever a label file holds, a reader answers with labels or with one line: no traceback, nothing written.

`FUZZ_EXAMPLES` sets how many inputs of each format are tried (200 here; tests/bench/foreign_fuzz.sh tries more).
"""

import json
import os

import pytest
from exchange_work import a_round
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labels.exchange.known_formats import FORMATS
from labels.exchange.known_videos import KnownVideos
from labels.records.errors import InputError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
ODD_NUMBERS = st.sampled_from([2**70, -(2**70), 10**400, 0, -1, 1e308, float("inf"), float("nan"), True, 99, 100, 0.5])
ODD_TEXTS = st.sampled_from(
    ["", ".", "..", "v0", "v0.mp4", "v0_000001.jpg", "\ud800", "\x1b[2J", "\u200bball", "9" * 400]
)
SCALARS = st.one_of(st.none(), ODD_NUMBERS, ODD_TEXTS, st.text(max_size=8), st.integers(), st.floats())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


def objects(**fields):
    """Objects with some of these fields, each sound or anything."""
    return st.fixed_dictionaries({}, optional={name: st.one_of(sound, VALUES) for name, sound in fields.items()})


def many(items):
    return st.one_of(st.lists(items, max_size=4), VALUES)


SIDE = st.sampled_from([100, 200])
BOX = st.lists(st.integers(0, 50), min_size=4, max_size=4)
COCO = objects(
    images=many(objects(id=st.integers(1, 3), file_name=st.just("v0_000001.jpg"), width=SIDE, height=SIDE)),
    annotations=many(
        objects(
            id=st.integers(1, 3), image_id=st.integers(1, 3), category_id=st.just(1), bbox=BOX,
            segmentation=objects(size=st.just([100, 200]), counts=st.lists(st.integers(0, 9))), attributes=VALUES,
        )
    ),
    categories=many(objects(id=st.just(1), name=st.just("ball"))),
    videos=many(objects(id=st.integers(1, 2), name=st.just("v0"))),
)  # fmt: skip
KEY = objects(
    frame=st.integers(1, 100), x=st.just(1), y=st.just(1), width=st.just(9), height=st.just(9),
    rotation=st.floats(), enabled=st.booleans(),
)  # fmt: skip
REGION = objects(
    id=st.text(max_size=3),
    type=st.sampled_from(
        ["videorectangle", "timelinelabels", "rectanglelabels", "brushlabels", "choices", "polygonlabels", "labels"]
    ),
    meta=VALUES,
    value=objects(
        sequence=many(KEY), ranges=many(objects(start=st.integers(1, 50), end=st.integers(1, 200))),
        labels=st.just(["ball"]), choices=st.just(["serve"]), framesCount=st.sampled_from([96, 100]),
        duration=st.just(4.0), timelinelabels=st.just(["a"]), rle=st.lists(st.integers(0, 255)), points=VALUES,
    ),
)  # fmt: skip
TASKS = st.lists(
    objects(
        id=st.integers(), data=objects(video=st.just("v0.mp4"), image=st.just("v0_000001.jpg"), frame_index=st.just(1)),
        annotations=many(objects(result=many(REGION), updated_at=st.text(max_size=3), was_cancelled=st.booleans())),
    ),
    max_size=3,
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(["0", "1", "v0", "0.5", "1e400", "nan", "-1", "9" * 400, "ball", "", '"', ":", "1:00:00", "a b"]),
    st.text(st.characters(codec="utf-8"), max_size=6),
)
XML_VALUES = st.one_of(
    st.sampled_from(
        ["0", "5", "1e400", "nan", "-1", "9" * 400, "ball", "", "1,2;3,4", "v0.mp4", "v0_000001", "step=0"]
    ),
    st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=5),
)
ESCAPED = XML_VALUES.map(lambda text: text.replace("&", "").replace("<", "").replace('"', ""))
TAGS = st.sampled_from(["box", "polygon", "points", "ellipse", "skeleton", "bndbox", "name", "xmin", "attribute"])


def element(tag, found, text):
    return f"<{tag} " + " ".join(f'{name}="{value}"' for name, value in found.items()) + f">{text}</{tag}>"


NOTHING = st.just("")


def elements(tag, *attributes, inside=NOTHING):
    values = st.fixed_dictionaries({}, optional=dict.fromkeys(attributes, ESCAPED))
    return st.builds(element, st.just(tag), values, inside)


def several(items):
    return st.lists(items, max_size=4).map("".join)


SHAPES = several(
    st.one_of(
        *(
            elements(
                tag,
                "frame",
                "xtl",
                "ytl",
                "xbr",
                "ybr",
                "outside",
                "points",
                "cx",
                "cy",
                "rx",
                "ry",
                "rotation",
                "label",
            )
            for tag in ("box", "polygon", "points", "ellipse", "skeleton")
        )
    )
)
META = several(
    st.one_of(
        *(
            elements(tag, inside=ESCAPED)
            for tag in ("size", "start_frame", "stop_frame", "frame_filter", "name", "source")
        )
    )
)
CVAT = st.builds(
    lambda meta, tracks, images: f"<annotations><meta><task>{meta}</task></meta>{tracks}{images}</annotations>",
    META,
    several(elements("track", "id", "label", "task_id", inside=SHAPES)),
    several(elements("image", "id", "name", inside=SHAPES)),
)
CORNERS = several(st.one_of(*(elements(tag, inside=ESCAPED) for tag in ("xmin", "ymin", "xmax", "ymax"))))
VOC = st.builds(
    lambda name, objects: f"<annotation><filename>{name}</filename>{objects}</annotation>",
    ESCAPED,
    several(
        elements(
            "object",
            inside=several(
                st.one_of(
                    elements("name", inside=ESCAPED),
                    elements("difficult", inside=ESCAPED),
                    elements("bndbox", inside=CORNERS),
                )
            ),
        )
    ),
)


def table(header, width):
    lines = st.lists(st.lists(WORDS, min_size=0, max_size=width + 1).map(",".join), max_size=5)
    return lines.map(lambda found: "\n".join([*([header] if header else []), *found]))


CASES = {
    "coco": ("a.json", COCO.map(json.dumps)),
    "labelstudio": ("a.json", TASKS.map(json.dumps)),
    "cvat": ("a.xml", CVAT),
    "voc": ("Annotations/v0_000001.xml", VOC),
    "mot": ("v0/gt/gt.txt", table("", 9)),
    "ava": ("a.csv", table("", 8)),
    "kinetics": ("a.csv", table("label,youtube_id,time_start,time_end", 4)),
    "csv": ("a.csv", table("video_id,frame_index,x1,y1,x2,y2,class_name", 7)),
    "tracknet": ("v0.csv", table("Frame,Visibility,X,Y", 4)),
    "yolo": ("labels/v0_000001.txt", st.lists(st.lists(WORDS, max_size=9).map(" ".join), max_size=4).map("\n".join)),
    "yolo names": ("data.yaml", VALUES.map(lambda value: "names: " + json.dumps(value))),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return a_round(tmp_path_factory.mktemp("work")).usable_videos()


@pytest.mark.parametrize("case", CASES)
def test_a_reader_answers_in_one_line_whatever_it_is_given(case, rows, tmp_path):
    file, contents = CASES[case]
    name = case.split()[0]
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "actions.pbtxt").write_text('label { name: "serve" label_id: 1 }')
    if case == "yolo":
        (tmp_path / "data.yaml").write_text("names: [ball]")
    if case == "yolo names":
        (tmp_path / "labels").mkdir()
        (tmp_path / "labels" / "v0_000001.txt").write_text("0 0.5 0.5 0.1 0.1")
    whole = tmp_path if name in ("yolo", "mot", "voc") else path

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(contents)
    def answers(content):
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
        try:
            found = FORMATS[name].read(whole, KnownVideos(rows))
        except InputError as error:
            assert "\n" not in str(error)
            return
        assert set(found.boxes["video_id"]) | set(found.actions["video_id"]) <= {"v0", "v1"}
        assert all(label.isprintable() for label in [*found.boxes["class_name"], *found.actions["class_name"]])

    answers()
