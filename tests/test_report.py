"""The report: complete, self-contained, escaped, and true to its numbers."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from picture_work import Clip, ball_box, failed_row, make_work, rows, write_cleaned, write_trained

import visualise
from labels.pictures.report.comparison import compare
from labels.pictures.report.rounds import read_round
from labels.pictures.report.rounds_table import labeller_name
from labels.pictures.report.survey import survey_rounds
from labels.pictures.report.training import draw_training_curves, read_metrics, read_student, training_figure
from labels.records import tables
from labels.records.errors import InputError
from labels.records.next_command import first_unfinished
from labels.records.run_records import RunRecord, read_run_record, start_run, write_run_record
from labels.records.work_folder import ACTIONS_LABELLED


class Page(HTMLParser):
    """All addresses a page loads, its visible text, and its tags."""

    VOID = ("meta", "img", "br", "link", "hr", "path", "use")

    def __init__(self, html):
        super().__init__()
        self.loaded, self.links, self.text, self.tags, self.open = [], [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        named = dict(attributes)
        self.loaded += [named[name] for name in ("src", "poster", "srcset", "data") if named.get(name)]
        self.links += [named[name] for name in ("href", "xlink:href") if named.get(name)]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return re.sub(r"\s+", " ", "".join(self.text))


def page_of(work, *arguments):
    assert visualise.main([str(work.root), *(arguments or ("--set", "limit=1"))]) == 0
    return Page(work.report.read_text())


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    clips = [Clip(f"t{n}", [range(5), range(10)], wrong=[1, 0]) for n in range(3)]
    clips += [Clip(f"h{n}", [range(8), range(18)], split="test") for n in range(2)]
    return make_work(tmp_path_factory.mktemp("w") / "work", clips, 2, [failed_row("broken", "no video stream")])


@pytest.fixture(scope="module")
def words(work):
    return page_of(work, "--round", "1", "--set", "limit=1").words


def test_the_page_is_whole_and_asks_nothing_of_anyone(work):
    page = page_of(work, "--round", "1", "--set", "limit=2")
    assert page.open == []
    assert page.loaded and all(address.startswith("data:") for address in page.loaded)
    assert all(link.startswith(("#", "rounds/")) for link in page.links)
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", work.report.read_text())
    assert "script" not in page.tags and "link" not in page.tags
    assert page.tags.count("video") == 2 and page.tags.count("img") == 6


def test_it_says_whether_the_last_round_is_better_by_how_much_and_why(words):
    assert "Round 1 is better than round 0 on held-out clips and training clips." in words
    # Held out, two clips of 20: 8 found each, then 18: F1 16/28 and 36/38.
    assert "On 2 held-out clips, F1 went from 0.571 to 0.947: +0.376, 95 % interval +0.376 to +0.376." in words
    assert "Of 40 true objects, 36 were found instead of 16, and 0 of its labels were wrong instead of 0." in words
    assert "Intervals over few source videos (2 held-out and 3 training) are rough ones." in words
    assert "broken" in words and "no video stream" in words
    assert "python dataset_cleaner.py work --round 1 --keep 0.6" in words
    assert "No finished stage is out of date" in words


def test_agreement_and_calibration_are_told_with_their_counts(tmp_path):
    work = make_work(tmp_path / "work", [Clip("a", [range(5), range(10)]), Clip("b", [range(5), range(9)])], 2)
    for number in (0, 1):
        record = read_run_record(work.round(number), "cleaned")
        paths = {"value": 0.875, "interval": [0.8, 0.95], "agreed": 7, "asked": 8, "groups": 2}
        record.counts["agreement"] = {"paths": paths, "survival": paths | {"value": 0.5, "interval": None}}
        bins = [{"from": 0.7, "to": 0.8, "labels": 1234, "right": 617, "mean_quality": 0.75}]
        record.counts["calibration"] = {"ece": 0.25, "labels": 1234, "bins": bins}
        write_run_record(work.round(number), record)
    words = page_of(work).words
    assert "Agreement of the labels with themselves" in words
    assert "0.875 (0.80 to 0.95)–0.500 (no interval)" in words
    assert "(expected calibration error), is 0.250 over 1,234 labels" in words


def test_sentences_are_apart(words):
    assert not re.findall(r"[a-z)]\.[A-Z0-9][a-z ]", words)


def test_markup_in_names_stays_text(tmp_path):
    work = make_work(tmp_path / "<img src=x>", [Clip("a", [range(3)], truth=False)], 1)
    evil = "<script>alert(1)</script>"
    kept = rows("a", 0, [0, 1], [ball_box(0), ball_box(1)], class_name=evil)
    dropped = rows("a", 0, [2], [ball_box(2)], "drop", f"{evil}: 1", class_name='"><b>&amp;')
    boxes = tables.sort_boxes(pd.concat([kept, dropped], ignore_index=True))
    write_cleaned(work, 0, {"a": boxes})
    page = page_of(work)
    assert "script" not in page.tags and "b" not in page.tags
    assert evil in page.words and "<img src=x>" in page.words
    assert all(address.startswith("data:") for address in page.loaded)


def test_without_truth_it_speaks_of_agreement(tmp_path):
    clips = [Clip(f"a{n}", [range(5), range(10)], truth=False) for n in range(2)]
    words = page_of(make_work(tmp_path / "w", clips, 2)).words
    assert "Whether round 1 is better than round 0 is not known" in words
    assert "agrees with round 0 to 0.67" in words  # 5 of 10 new labels are old ones: 2·5 / (2·5 + 5 + 0)
    assert "not accuracy" in words and "held-out clips F1" not in words


def test_a_single_round_is_told_as_one(tmp_path):
    words = page_of(make_work(tmp_path / "w", [Clip("a", [range(5)])], 1)).words
    assert "Round 0 is the only cleaned round." in words and "no second round" in words


def test_one_source_video_gives_no_interval(tmp_path):
    clips = [Clip(f"a{n}", [range(5), range(10)], group="same") for n in range(2)]
    words = page_of(make_work(tmp_path / "w", clips, 2)).words
    assert "Round 1 scores higher than round 0 on training clips, all of one source video" in words
    assert "nan" not in words


def test_unfinished_and_outdated_stages_are_named(tmp_path):
    work = make_work(tmp_path / "w", [Clip("a", [range(5), range(10)])], 2)
    start_run(work.round(1), "cleaned")
    record = read_run_record(work.round(0), "labelled")
    record.output = "changed"
    write_run_record(work.round(0), record)
    cleaned = read_run_record(work.round(0), "cleaned")
    cleaned.arguments = cleaned.arguments | {"max_per_frame": 1}
    write_run_record(work.round(0), cleaned)
    words = page_of(work, "--round", "0").words
    assert "round 0 cleaned: out of date, because round 0 labelled changed" in words
    assert words.count("python dataset_cleaner.py w --round 1 --keep 0.6 --set max_per_frame=1") == 1


def test_half_finished_actions_beside_finished_boxes_are_named_with_their_labeller(tmp_path):
    work = make_work(tmp_path / "w", [Clip("a", [range(5), range(10)])], 1)
    folder = work.round(0)
    write_run_record(folder, RunRecord("trained", 0, {}, {}, output=""))
    assert first_unfinished(read_round(work, 0).records, {}, "w", 0) is None
    facts = {"labeller": {"name": "human"}}
    write_run_record(folder, RunRecord(ACTIONS_LABELLED, 0, {"recogniser": "human"}, {}, facts=facts, output=""))
    here = read_round(work, 0)
    assert first_unfinished(here.records, {}, "w", 0) == "python dataset_cleaner.py w --round 0 --task actions"
    assert labeller_name(here, ACTIONS_LABELLED) == "human" != labeller_name(here)


@pytest.mark.parametrize(
    ("said", "name", "words"),
    [
        (["student", "motion"], "detector + motion", "student of round 0 + motion"),
        (["student"], "detector + detector mirrored", "student of round 0"),
        (["motion", "w/x.onnx", "student"], "motion + x + detector", "motion + x.onnx + student of round 0"),
        (None, "a + b/rounds/00/trained/detector.pt", "student of round 0"),
        ("x.onnx", "x.onnx", "x.onnx"),  # as records once were
    ],
)
def test_labellers_are_named_as_they_were_said(tmp_path, said, name, words):
    work = make_work(tmp_path / "w", [Clip("a", [range(5), range(10)])], 2)
    inputs = {} if said == "x.onnx" else {"round 0 trained": "its digest"}
    facts = {"labeller": {"name": name}}
    write_run_record(work.round(1), RunRecord("labelled", 1, {"detector": said}, inputs, facts=facts, output=""))
    assert labeller_name(read_round(work, 1)) == words


def test_the_report_asks_for_the_labellers_beside_a_student_again(tmp_path):
    work = make_work(tmp_path / "w", [Clip("a", [range(5), range(10)])], 2)
    record = RunRecord("labelled", 0, {"detector": ["student", "motion"], "mirrored": True}, {}, output="")
    write_run_record(work.round(0), record)
    (work.round(1).path / "labelled" / "run.json").unlink(missing_ok=True)
    command = first_unfinished(read_round(work, 1).records, read_round(work, 0).records, "w", 1)
    assert command == "python dataset_processor.py w --round 1 --detector student --detector motion --mirrored"


def test_worse_is_called_worse(tmp_path):
    work = make_work(tmp_path / "w", [Clip(f"a{n}", [range(15 + n), range(5)]) for n in range(4)], 2)
    surveys = survey_rounds(work, work.usable_videos(), [read_round(work, number) for number in (0, 1)])
    verdict = compare(surveys[1], surveys[0])
    assert verdict.headline == "Round 1 is worse than round 0 on training clips."
    assert compare(surveys[0], surveys[0]).headline.startswith("Round 0 cannot be told apart")
    assert (verdict.added, verdict.lost) == (0, 15 + 16 + 17 + 18 - 20)


def test_training_curves_of_whatever_columns_there_are(tmp_path):
    csv, png = tmp_path / "metrics.csv", tmp_path / "curves.png"
    csv.write_text(
        "epoch,train_loss,val_loss,precision,recall,f1,lr,note\n1,2.0,,0.5,0.5,0.5,0.1,x\n2,1.0,1.5,,,0.6,0.1,\n"
    )
    draw_training_curves(csv, png)
    assert png.read_bytes().startswith(b"\x89PNG")
    first = png.read_bytes()
    draw_training_curves(csv, png)
    assert png.read_bytes() == first
    labels = [line.get_label() for axes in training_figure(read_metrics(csv)).axes for line in axes.get_lines()]
    assert {"train loss", "val loss", "precision", "recall", "F1"} <= set(labels)
    csv.write_text("loss\n1\n")
    draw_training_curves(csv, png)
    csv.write_text("")
    with pytest.raises(InputError, match=r"metrics\.csv"):
        draw_training_curves(csv, png)


def test_a_students_numbers_are_its_best_epochs(tmp_path):
    work = make_work(tmp_path / "w", [Clip("a", [range(5)])], 1)
    student = read_student(read_round(work, 0))
    assert (student.epochs, student.f1, student.ap, student.true_f1) == (3, 0.7, 0.4, 0.65)
    (work.round(0).stage("trained") / "metrics.json").unlink()
    assert read_student(read_round(work, 0)).f1 == 0.7  # then from metrics.csv
    start_run(work.round(0), "trained")
    assert read_student(read_round(work, 0)) is None
    write_trained(work, 0, ())
    assert "Round 0" in page_of(work).words  # no epoch at all
