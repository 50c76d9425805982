"""What lists say, and what they try: every entry is a clip to fetch or a row with a reason."""

import codecs
import json
from pathlib import Path

import pytest

from labels.records.class_lists import read_class_list
from labels.records.errors import InputError
from labels.videos.download.clip_lists import read_clip_list
from labels.videos.download.list_reading import CHUNK, BadEntry, json_entries, json_members
from labels.videos.download.network_guard import fault_of_url
from labels.videos.download.requests import ClipRequest, clip_name, parse_time_s, split_of_file
from labels.videos.settings import DownloadSettings

SETTINGS = DownloadSettings()
NAMES = "boomerang\nboxing\nbasketball\nstreetball\ntennis\n"


def read(kind: str, path: Path) -> list[ClipRequest]:
    return list(read_clip_list(kind, path, SETTINGS))


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_sports1m_in_both_forms(tmp_path):
    write(tmp_path / "labels.txt", NAMES)
    entries = [
        {"id": "AAAAAAAAAAA", "duration": 61, "height": 480, "label487": [2, 3], "stitle": "x"},
        {"id": "-BBBBBBBBB_", "duration": 0, "label487": [4]},
    ]
    as_json = read("sports1m", write(tmp_path / "sports1m_train.json", json.dumps(entries)))
    assert as_json[0] == ClipRequest(
        "AAAAAAAAAAA", "AAAAAAAAAAA", "https://www.youtube.com/watch?v=AAAAAAAAAAA", None, None,
        ("basketball", "streetball"), "train", 61.0, 480,
    )  # fmt: skip
    assert (as_json[1].video_id, as_json[1].source_key, as_json[1].duration_s) == ("_-BBBBBBBBB_", "-BBBBBBBBB_", None)
    lines = "http://www.youtube.com/watch?v=AAAAAAAAAAA 2,3\nhttp://www.youtube.com/watch?v=-BBBBBBBBB_ 4\n"
    as_text = read("sports1m", write(tmp_path / "original" / "test_partition.txt", lines))
    assert [each[:6] for each in as_text] == [each[:6] for each in as_json]
    assert {each.split for each in as_text} == {"test"}


def test_kinetics_in_both_forms(tmp_path):
    csv = "label,youtube_id,time_start,time_end,split,is_cc\ndancing_ballet,AAAAAAAAAAA,2,12,train,0\n"
    (one,) = read("kinetics", write(tmp_path / "a.csv", csv))
    assert one == ClipRequest(
        "AAAAAAAAAAA_000002_000012", "AAAAAAAAAAA", "https://www.youtube.com/watch?v=AAAAAAAAAAA", 2.0, 12.0,
        ("dancing ballet",), "train",
    )  # fmt: skip
    table = {"AAAAAAAAAAA": {"annotations": {"label": "dancing ballet", "segment": [2.0, 12.0]}, "subset": "training"}}
    assert read("kinetics", write(tmp_path / "b.json", json.dumps(table))) == [one]
    (unlabelled,) = read("kinetics", write(tmp_path / "test.csv", "youtube_id,time_start,time_end\nAAAAAAAAAAA,2,12\n"))
    assert (unlabelled.class_names, unlabelled.split) == ((), "test")


def test_a_list_of_urls(tmp_path):
    requests = read("urls", write(tmp_path / "list.csv", (
        "URL,start,end,label\n"
        "https://example.org/films/match.webm,1:05,1:10.5,serve\n"
        "https://example.org/films/match.webm,,,\n"
        "https://youtu.be/AAAAAAAAAAA?t=3,10,20,serve\n"
        "https://www.youtube.com/shorts/AAAAAAAAAAA,10,20,serve\n"
        "https://example.org/films/other.mp4,7,,serve\n"
    )))  # fmt: skip
    assert [each.fault for each in requests] == [""] * 5
    first, whole, short, shorts, rest = requests
    assert first.video_id.startswith("match_") and first.video_id.endswith("_000065000ms_000070500ms")
    assert first.source_key == whole.source_key == "https://example.org/films/match.webm"
    assert (whole.start_s, whole.end_s, whole.class_names) == (None, None, ())
    assert short == shorts and short.video_id == "AAAAAAAAAAA_000010_000020"  # the same clip, whoever lists it
    assert (rest.start_s, rest.end_s) == (7.0, None) and rest.video_id.endswith("_000007_end")


HOSTILE_IDS = ["../../../etc/x", "--exec", ";rm -rf .", "AAAAAAAAAA", "AAAAAAAAAAAA", "AAAAAAAAAA/", "AAAAAAAAAA\n",
               "$(reboot)AA", "ytsearch:ab", "AAAAAAAAAA\u0661", "", "file:///etc"]  # fmt: skip
HOSTILE_TIMES = [("nan", "10"), ("0", "inf"), ("10", "5"), ("5", "5"), ("-1", "4"), ("1e400", "2"), ("x", "9"),
                 ("", "10"), ("0", "99999999"), ("0", "90000"), ("0", "1_0"), ("0x1", "5")]  # fmt: skip
HOSTILE_URLS = [
    "http://localhost/a.mp4", "http://127.0.0.1/a.mp4", "http://127.1/a.mp4", "http://2130706433/a.mp4",
    "http://0x7f.0.0.1/a.mp4", "http://[::1]/a.mp4", "http://[::ffff:10.0.0.1]/", "http://[64:ff9b::7f00:1]/",
    "http://169.254.169.254/latest/meta-data", "http://10.1.2.3/", "http://192.168.0.1/", "http://0/a",
    "http://printer.local/a", "http://intranet/a", "file:///etc/passwd", "ftp://example.org/a.mp4", "ytsearch:cats",
    "ytsearch5:cats", "data:text/html,x", "javascript:alert(1)", "-o /tmp/x", "--exec=id", "//example.org/a",
    "https://user:secret@example.org/a.mp4", "https://example.org/a b.mp4", "https://example.org/\x01", "http://[::1",
    "https://example.org:99999/a.mp4", "https://example.org/" + "a" * 3000, "https://www.youtube.com/@channel",
    "https://www.youtube.com/watch?v=../../x", "https://www.youtube.com/playlist?list=PL1",
]  # fmt: skip


@pytest.mark.parametrize("youtube_id", HOSTILE_IDS)
def test_a_hostile_id_is_a_row_and_no_address(tmp_path, youtube_id):
    path = write(tmp_path / "k.json", json.dumps({youtube_id: {"annotations": {"label": "x", "segment": [0, 10]}}}))
    (request,) = read("kinetics", path)
    assert (request.url, bool(request.fault)) == ("", True)
    assert request.video_id.startswith("refused_") and request.video_id.isidentifier()
    assert request.fault.startswith("k.json entry 1: ") and "\n" not in request.fault


@pytest.mark.parametrize(("start", "end"), HOSTILE_TIMES)
def test_hostile_times(tmp_path, start, end):
    path = write(tmp_path / "k.csv", f"label,youtube_id,time_start,time_end\nx,AAAAAAAAAAA,{start},{end}\n")
    (request,) = read("kinetics", path)
    assert (request.url, bool(request.fault)) == ("", True)


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_a_hostile_url_is_a_row_and_no_address(tmp_path, url):
    (request,) = read("urls", write(tmp_path / "u.csv", f'url,start,end,label\n"{url}",0,10,x\n'))
    assert (request.url, bool(request.fault)) == ("", True)


def test_what_the_settings_allow_is_that_port_alone():
    allowed = ("127.0.0.1:8000",)
    assert fault_of_url("http://127.0.0.1:8000/a.mp4", allowed) == ""
    assert fault_of_url("http://127.0.0.1:8001/a.mp4", allowed)
    assert fault_of_url("http://127.0.0.1:8000/a.mp4")
    assert fault_of_url("https://93.184.216.34/a.mp4") == ""


@pytest.mark.parametrize(("mark", "encoding"), [
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"), (b"", "utf-8"),
])  # fmt: skip
def test_a_byte_order_mark_says_the_encoding(tmp_path, mark, encoding):
    text = "label,youtube_id,time_start,time_end,split\npétanque,AAAAAAAAAAA,0,10,val\n"
    (request,) = read("kinetics", write(tmp_path / "k.csv", mark + text.encode(encoding)))
    assert (request.fault, request.class_names) == ("", ("pétanque",))


def test_other_encodings_are_told(tmp_path):
    text = "label,youtube_id,time_start,time_end,split\npétanque,AAAAAAAAAAA,0,10,val\nx,BBBBBBBBBBB,0,10,val\n"
    with pytest.raises(InputError, match="save it as UTF-8"):
        read("kinetics", write(tmp_path / "a.csv", text.encode("utf-16-le")))
    latin, plain = read("kinetics", write(tmp_path / "b.csv", text.encode("latin-1")))
    assert "not UTF-8" in latin.fault and plain.fault == ""


def test_rows_that_are_no_rows_cost_only_themselves(tmp_path):
    good = "x,AAAAAAAAAAA,0,10,val\n"
    long_field = "x," + "A" * 3_000_000 + ",0,10,val\n"
    text = "label,youtube_id,time_start,time_end,split\n" + good + "x,y\n" + long_field + "\n" + good
    requests = read("kinetics", write(tmp_path / "k.csv", text))
    assert [bool(each.fault) for each in requests] == [False, True, True, False]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_list_between_other_marks(tmp_path, mark):
    text = mark.join(("label", "youtube_id", "time_start", "time_end", "split")) + "\n"
    path = write(tmp_path / "k.csv", text + mark.join(('"tennis; indoors"', "AAAAAAAAAAA", "0", "10", "val")) + "\n")
    (request,) = read("kinetics", path)
    assert (request.fault, request.class_names) == ("", ("tennis; indoors",))


def test_a_csv_without_its_columns_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="youtube_id"):
        read("kinetics", write(tmp_path / "k.csv", "a,b\n1,2\n"))


def test_a_million_nested_brackets_in_one_entry(tmp_path):
    nested = "[" * 1_000_000 + "]" * 1_000_000
    good = '{"id": "AAAAAAAAAAA", "label487": [4]}'
    write(tmp_path / "labels.txt", NAMES)
    path = write(tmp_path / "sports1m_train.json", f'[{good}, {nested}, {{"a": {nested}, "b": "]}}\\""}}, {good}]')
    requests = read("sports1m", path)
    assert [bool(each.fault) for each in requests] == [False, True, True, False]
    assert "nests too deeply" in requests[1].fault
    line = write(tmp_path / "train_partition.txt", nested + "\n")
    assert [bool(each.fault) for each in read("sports1m", line)] == [True]


@pytest.mark.parametrize(
    "text", ["[" * 1_000_000, "{" * 1_000_000, '[{"a": 1}', "[1 2]", '"text"', "", '{"a": 1,', "{1: 2}"]
)
def test_broken_json_is_an_input_error_of_one_line(tmp_path, text):
    with pytest.raises(InputError) as raised:
        list(json_entries(write(tmp_path / "x.json", text)))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


@pytest.mark.parametrize("text", ['{"a": [1 2]}', '{"a": [1', '{"a": 1} x', '{"a": [{]}', "{1: 2}", '{"a" 1}'])
def test_broken_members_are_an_input_error_of_one_line(tmp_path, text):
    with pytest.raises(InputError, match="no JSON at entry"):
        list(json_members(write(tmp_path / "x.json", text)))


def test_json_members_over_the_borders_of_pieces(tmp_path):
    entries = [{"id": n, "text": 'a]}"\\é' * (n % 7), "deep": [[n], {"b": None}]} for n in range(20_000)]
    content = {"info": {"x": 1}, "b": entries, "none": [], "a": entries[:3], "last": 7}
    path = write(tmp_path / "x.json", json.dumps(content, ensure_ascii=False))
    assert path.stat().st_size > CHUNK
    whole = {name: value if name in ("info", "last") else list(value) for name, value in json_members(path)}
    assert whole == content and list(whole) == list(content)
    assert [next(value) for name, value in json_members(path) if name in ("a", "b")] == [entries[0]] * 2  # left early
    assert list(json_members(write(tmp_path / "y.json", "[1, 2]"))) == []
    nested = "[" * 100_000 + "]" * 100_000
    path = write(tmp_path / "z.json", f'{{"a": [1, {nested}, {"9" * 6000}, 2]}}')
    (items,) = (list(value) for _, value in json_members(path))
    assert [isinstance(item, BadEntry) for item in items] == [False, True, True, False]


def test_json_entries_over_the_borders_of_pieces(tmp_path):
    entries = [{"id": n, "text": 'a]}"\\é' * (n % 7), "deep": [[n], {"b": None}]} for n in range(40_000)]
    path = write(tmp_path / "x.json", json.dumps(entries, ensure_ascii=False))
    assert path.stat().st_size > 2 * CHUNK
    assert [value for _, value in json_entries(path)] == entries
    table = {str(n): n for n in range(200_000)}
    assert dict(json_entries(write(tmp_path / "y.json", json.dumps(table)))) == table
    digits = list(json_entries(write(tmp_path / "z.json", "[1, " + "9" * 6000 + ", 2]")))
    assert isinstance(digits[1][1], BadEntry) and digits[2] == ("", 2)


@pytest.mark.parametrize(("value", "expected"), [
    ("10", 10.0), (10, 10.0), ("0:10", 10.0), ("1:02:03.5", 3723.5), ("", None), (None, None), (1.23456, 1.235),
])  # fmt: skip
def test_times(value, expected):
    assert parse_time_s(value) == expected


def test_names_of_clips_are_kinetics_own():
    assert clip_name("abc", 5.0, 15.0) == "abc_000005_000015"
    assert clip_name("-abc", 5.5, 15.0) == "_-abc_000005500ms_000015000ms"
    assert clip_name("abc", None, None) == "abc"


@pytest.mark.parametrize(("stem", "split"), [
    ("sports1m_train", "train"), ("kinetics_700_validate", "val"), ("test_partition", "test"), ("mine", ""),
    ("train_and_test", ""),
])  # fmt: skip
def test_the_split_in_a_file_name(stem, split):
    assert split_of_file(stem) == split


def test_the_class_lists_that_come_with_rally():
    dances = read_class_list("kinetics_dancing")
    assert len(dances) == 15 and all("dancing" in name for name in dances)
    balls = read_class_list("sports1m_balls")
    assert {"association football", "tennis", "basketball", "volleyball", "baseball"} < set(balls)


def test_labels_of_sports1m_must_be_there(tmp_path):
    with pytest.raises(InputError, match="--annotations"):
        read("sports1m", write(tmp_path / "sports1m_train.json", "[]"))


def test_a_folder_of_lists_and_no_list(tmp_path):
    row = "label,youtube_id,time_start,time_end\nx,AAAAAAAAAAA,0,{}\n"
    write(tmp_path / "k" / "train.csv", row.format(10))
    write(tmp_path / "k" / "val.csv", row.format(20))
    assert [each.split for each in read("kinetics", tmp_path / "k")] == ["train", "val"]
    with pytest.raises(InputError, match="holds no sports1m list"):
        read("sports1m", tmp_path / "k")
    with pytest.raises(InputError, match="no such clip list"):
        read("urls", tmp_path / "absent.csv")
