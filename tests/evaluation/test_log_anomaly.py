"""Labelled logs, and how well a model's surprise finds what is wrong in them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from evaluation.small_models import small_model, small_tokenizer, subject_of, taught
from forja.errors import ForjaError
from forja.evaluation.anomaly import Entry, read_log, session_scores
from forja.evaluation.scores import binary_figures
from forja.evaluation.task import Subject
from forja.evaluation.tasks import log_anomaly

NORMAL = ["cache parity error corrected", "link training done", "temperature within range"]


def bgl(path: Path, count: int) -> Path:
    choose = random.Random(1)
    lines = []
    for number in range(count):
        wrong = number % 10 == 9
        said = f"ZZQX {choose.randrange(10**9)} ~~ {choose.randrange(10**9)}" if wrong else choose.choice(NORMAL)
        label, node = "KERNDTLB" if wrong else "-", f"R{number % 7}"
        lines.append(f"{label} {1117838570 + number} 2005.06.03 {node} 2005-06-03 {node} RAS KERNEL INFO {said}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_lines_and_their_sessions_are_read(tmp_path: Path) -> None:
    log = read_log(bgl(tmp_path / "a.log", 40))
    assert log.kind == "line"
    assert [entry.anomalous for entry in log.entries[:10]] == [False] * 9 + [True]
    assert {entry.session for entry in log.entries} == {f"R{number}" for number in range(7)}


def test_sessions_are_read_from_tables_and_plain_files(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("Sequence,label\n5 5 22,0\n5 9 4,1\n")
    (tmp_path / "hdfs_abnormal.txt").write_text("1 2\n3 4\n")
    (tmp_path / "hdfs_train.txt").write_text("1 2\n")
    assert [entry.anomalous for entry in read_log(tmp_path / "s.csv").entries] == [False, True]
    assert [entry.anomalous for entry in read_log(tmp_path / "hdfs_abnormal.txt").entries] == [True, True]
    assert [entry.anomalous for entry in read_log(tmp_path / "hdfs_train.txt").entries] == [False]


@pytest.mark.parametrize(
    ("name", "said", "where"),
    [
        ("x.log", "just words\n", "line 1"),
        ("x.csv", "a,b\n1,2\n", "Sequence and label"),
        ("e.csv", "Content,Label\n", "no row"),
        ("s.csv", "Sequence,label\n5 5,0\n5 9,2\n", "row 2"),
        ("gone.log", "", "read"),
    ],
)
def test_other_files_are_a_sentence(name: str, said: str, where: str, tmp_path: Path) -> None:
    if said:
        (tmp_path / name).write_text(said)
    with pytest.raises(ForjaError) as refused:
        read_log(tmp_path / name)
    assert where in str(refused.value)


def test_loghubs_tables_are_lines_of_their_nodes(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(
        "LineId,Label,Node,Content,EventId\n1,-,R0,all is well,E1\n2,KERNDTLB,R1,TLB error,E2\n"
    )
    log = read_log(tmp_path / "b.csv")
    assert log.kind == "line"
    assert [(entry.text, entry.anomalous, entry.session) for entry in log.entries] == [
        ("all is well", False, "R0"),
        ("TLB error", True, "R1"),
    ]


def test_labels_in_words_are_read(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(
        'BlockId,Label,Features\nblk_1,Success,"[E5,E22]"\nblk_2,Fail,"[E5]"\nblk_3,Anomaly,[E7]\n'
    )
    log = read_log(tmp_path / "s.csv")
    assert log.kind == "session"
    assert [entry.anomalous for entry in log.entries] == [False, True, True]


def test_a_session_is_as_anomalous_as_its_worst_line() -> None:
    entries = [Entry("1", "a", False, "x"), Entry("2", "b", True, "x"), Entry("3", "c", False, "y")]
    labels, scores = session_scores(entries, np.array([0.1, 0.7, 0.3]))
    assert labels.tolist() == [1, 0]
    assert scores.tolist() == [0.7, 0.3]


def test_a_model_that_knows_the_log_finds_what_is_not_of_it(tmp_path: Path) -> None:
    path = bgl(tmp_path / "a.log", 300)
    normal = [entry.text for entry in read_log(path).entries if not entry.anomalous]
    tokenizer = small_tokenizer(tmp_path / "t", normal)
    subject = subject_of(
        taught(tokenizer, [normal[at] for at in range(12)], steps=30, context=128), tokenizer, tmp_path
    )
    result = log_anomaly.evaluate(subject, [path])
    assert result.kind == "anomaly"
    assert result.figures["line.auroc"].value > 0.9
    assert {"line.f1", "session.f1"} <= result.figures.keys()
    assert result.items == len(result.predictions) < 300  # normal lines that gave the threshold are not tested


def plain_subject(folder: Path) -> Subject:
    return subject_of(small_model(context=128), small_tokenizer(folder / "t"), folder)


def test_too_few_normal_lines_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="too few"):
        log_anomaly.evaluate(plain_subject(tmp_path), [bgl(tmp_path / "a.log", 30)])


def test_lines_and_sessions_are_not_measured_under_one_name(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("Sequence,label\n5 5 22,0\n5 9 4,1\n")
    with pytest.raises(ForjaError, match="one kind at a time"):
        log_anomaly.evaluate(plain_subject(tmp_path), [bgl(tmp_path / "a.log", 30), tmp_path / "s.csv"])


def test_a_long_log_is_measured_on_whole_sessions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(log_anomaly, "MOST", 100)
    entries = read_log(bgl(tmp_path / "a.log", 350)).entries
    notes: list[str] = []
    kept = log_anomaly.chosen(entries, notes, "line", seed=3)
    assert 100 <= len(kept) <= 150  # sessions of 50
    whole = {entry.session for entry in kept}
    assert kept == [entry for entry in entries if entry.session in whole]
    assert notes == [f"{len(kept)} of 350 lines are scored."]
    assert kept != log_anomaly.chosen(entries, notes, "line", seed=4)


def test_the_threshold_is_of_normal_entries_alone_which_are_not_tested() -> None:
    entries = [Entry(str(number), "x", number % 2 == 1) for number in range(400)]
    scores = np.array([100.0 if entry.anomalous else float(entry.id) / 1000 for entry in entries])
    tested, threshold = log_anomaly.set_apart(entries, scores, seed=1)
    apart = [at for at in range(400) if at not in tested]
    assert 40 < len(apart) < 95
    assert not any(entries[at].anomalous for at in apart)
    assert threshold == np.quantile(scores[apart], 0.99)


@pytest.mark.realdata
def test_real_logs_are_read_and_scored(realdata: Path, tmp_path: Path) -> None:
    lines = read_log(realdata / "logs" / "loghub_2k" / "BGL" / "BGL_2k.log")
    assert (len(lines.entries), sum(entry.anomalous for entry in lines.entries)) == (2000, 143)
    sessions = read_log(realdata / "logs" / "hdfs_deeplog" / "hdfs_labelled.csv.gz")
    assert (len(sessions.entries), sum(entry.anomalous for entry in sessions.entries)) == (10_955, 5459)
    assert len(read_log(realdata / "logs" / "hdfs_deeplog" / "hdfs_test_abnormal.txt.gz").entries) == 11_238
    table = read_log(realdata / "logs" / "loghub_2k" / "BGL" / "BGL_2k.log_structured.csv")
    assert [(entry.anomalous, entry.session) for entry in table.entries] == [
        (entry.anomalous, entry.session) for entry in lines.entries
    ]
    assert len(read_log(realdata / "logs" / "loghub_2k" / "Thunderbird" / "Thunderbird_2k.log").entries) == 2000
    few = tmp_path / "BGL.log"
    few.write_text("\n".join((realdata / "logs/loghub_2k/BGL/BGL_2k.log").read_text().splitlines()[::8]) + "\n")
    result = log_anomaly.evaluate(plain_subject(tmp_path), [few])
    labels = np.array([int(row["label"]) for row in result.predictions])
    scores = np.array([row["score"] for row in result.predictions])
    threshold = result.details["thresholds"]["line"]
    assert result.figures["line.f1"] == binary_figures(labels, scores, threshold, 7)["f1"]
