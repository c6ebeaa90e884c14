import csv
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import wandb

from engine.record.metrics_csv import MetricsCsv
from engine.record.redact import redact, redacted_command
from engine.record.tracking import Tracker, choose_mode, open_tracker
from scripts import train
from tests.tiny import QUICK

TRACKED = [flag for flag in QUICK if flag not in ("--wandb", "disabled")]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_of_a_step_share_a_line_and_late_columns_are_added(tmp_path):
    log = MetricsCsv(tmp_path / "metrics.csv")
    log.log_metrics({"epoch": 0, "a": 1.0}, step=0)
    log.log_metrics({"epoch": 0, "a": 2.0}, step=5)
    log.save()
    log.log_metrics({"epoch": 0, "b": 3.0}, step=5)
    log.save()
    log.log_metrics({"epoch": 1, "a": 4.0}, step=9)
    log.finalize("success")
    assert [tuple(row.values()) for row in rows(log.path)] == [
        ("0", "0", "1.0", ""),
        ("0", "5", "2.0", "3.0"),
        ("1", "9", "4.0", ""),
    ]


def test_a_resumed_run_forgets_what_it_will_log_again(tmp_path):
    first = MetricsCsv(tmp_path / "metrics.csv")
    for step in (0, 5, 9):
        first.log_metrics({"a": float(step)}, step=step)
    first.save()
    with open(first.path, "a") as file:
        file.write("0,1")  # cut short by a kill
    second = MetricsCsv(first.path)
    second.rewind(9)
    second.log_metrics({"a": 0.5}, step=9)
    second.save()
    assert [(row["step"], row["a"]) for row in rows(first.path)] == [("0", "0.0"), ("5", "5.0"), ("9", "0.5")]


def fill_with(content):
    return lambda path: path.write_bytes(content)


def as_a_folder(path):
    path.unlink()
    path.mkdir()


GOOD = b"epoch,step,a\r\n0,0,1.0\r\n0,5,2.0\r\n"
DAMAGED = {
    "zeros": (fill_with(GOOD + bytes(100)), ["0", "5"]),
    "zeros-in-a-line": (fill_with(GOOD + b"0,6,\0\0\r\n0,7,3.0\r\n"), ["0", "5", "7"]),
    "long": (fill_with(GOOD + b"0,6," + b"1" * 200_000 + b"\r\n0,7,3.0\r\n"), ["0", "5", "7"]),
    "steps": (fill_with(GOOD + "0,²,3.0\r\n0,x,3.0\r\n0,,3.0\r\n0,1e400,1\r\n".encode()), ["0", "5"]),
    "huge-step": (fill_with(GOOD + b"0," + b"9" * 400 + b",3.0\r\n"), ["0", "5"]),
    "no-text": (fill_with(GOOD + b"\xff\xfe\r\n0,7,3.0\r\n"), ["0", "5", "7"]),
    "no-columns": (fill_with(bytes(50)), []),
    "other-columns": (fill_with(b"a,b\r\n1,2\r\n"), []),
    "folder": (as_a_folder, []),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_table_keeps_its_readable_lines_and_is_kept_beside(tmp_path, capsys, kind):
    path = tmp_path / "metrics.csv"
    path.touch()
    damage, steps = DAMAGED[kind]
    damage(path)
    log = MetricsCsv(path)
    log.rewind(9)
    log.log_metrics({"a": 0.5}, step=9)
    log.save()
    assert [row["step"] for row in rows(path)] == [*steps, "9"]
    assert (err := capsys.readouterr().err).count("\n") == 1 and "metrics.csv is damaged" in err
    assert (tmp_path / "metrics.csv.damaged-1").exists()


def test_a_line_that_a_kill_cut_short_is_no_damage(tmp_path, capsys):
    path = tmp_path / "metrics.csv"
    for content in (GOOD + b"0,9", GOOD + b"0", b"epoch,step,a\r\n0,0,1.0\r\n0,5,2.0", b""):
        path.write_bytes(content)
        MetricsCsv(path).rewind(9)
        assert not capsys.readouterr().err


def test_secrets_are_blotted_out():
    config = {"optim": {"lr": 1}, "api_key": "abc", "hub": {"access_token": "x"}, "secret": None}
    assert redact(config) == {"optim": {"lr": 1}, "api_key": "***", "hub": {"access_token": "***"}, "secret": None}
    words = ["train.py", "--lr", "1", "--api_key", "abc", "--token=x", "--name", "a b"]
    assert redacted_command(words) == "train.py --lr 1 --api_key '***' '--token=***' --name 'a b'"


@pytest.fixture
def no_settings(monkeypatch, tmp_path):
    """No key, no mode, no server."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()
    yield monkeypatch
    wandb.teardown()


def test_without_a_key_it_is_offline(no_settings):
    assert choose_mode("auto") == ("offline", "no key is set up: wandb login")
    assert choose_mode("online")[0] == "offline"
    assert choose_mode("disabled") == ("disabled", "")
    no_settings.setenv("WANDB_MODE", "online")
    assert choose_mode("auto") == ("offline", "no key is set up: wandb login")  # and no question for one


def test_with_a_key_it_is_online_only_if_the_server_answers(no_settings, tmp_path):
    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404)
            self.end_headers()

        def log_message(self, *rest):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{server.server_port}"
    no_settings.setenv("WANDB_BASE_URL", f"http://{address}")
    (tmp_path / "netrc").write_text(f"machine {address}\n  login user\n  password {'a' * 40}\n")
    assert choose_mode("auto") == ("online", "")
    server.shutdown()
    server.server_close()
    wandb.teardown()
    assert choose_mode("auto") == ("offline", "its server does not answer")


def inspect(folder):
    """Return every record of an offline run, as `wandb leet inspect --json` prints them."""
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.task("classify")
def test_an_offline_run_holds_losses_accuracy_and_configuration_and_resumes_as_the_same_run(workplace, capsys):
    train.main([*TRACKED, "--name", "a", "--max_epochs", "2", "--wandb", "offline", "--log_every_n_steps", "5"])
    said = capsys.readouterr().out
    assert "look at it     wandb leet checkpoints/a/wandb/offline-run-" in said
    assert "test/precision " in said and "use it         python" in said  # in the same column
    train.main(["--ckpt_path", "last", "--max_epochs", "3"])
    folders = sorted(p for p in (workplace / "checkpoints" / "a" / "wandb").glob("offline-run-*") if p.is_dir())
    # Within one second, a second folder is told from the first by a number at its end.
    assert len(folders) == 2 and len({folder.name.split("-")[3] for folder in folders}) == 1
    text = inspect(folders[0])
    for name in ("train/loss", "train/loss_step", "val/acc", "val/loss", "test/acc", "batch_size", "max_epochs"):
        assert name in text


def test_a_tracker_that_fails_is_said_once_and_changes_nothing(workplace, monkeypatch, capsys):
    train.main([*TRACKED, "--name", "a", "--max_epochs", "2", "--wandb", "disabled"])

    def fail(*arguments, **options):
        raise ConnectionError("gone")

    monkeypatch.setattr(wandb, "init", fail)
    train.main([*TRACKED, "--name", "b", "--max_epochs", "2", "--wandb", "offline"])
    assert capsys.readouterr().err.count("Weights & Biases failed (gone); training goes on without it") == 1
    results = [json.loads(Path(f"checkpoints/{name}/summary.json").read_text()) for name in ("a", "b")]
    assert results[0]["metrics"] == results[1]["metrics"]


def test_starting_online_fails_over_to_offline(tmp_path, monkeypatch, capsys):
    modes = []

    def init(**options):
        modes.append(options["mode"])
        if options["mode"] == "online":
            raise TimeoutError("no answer")
        return object()

    monkeypatch.setattr(wandb, "init", init)
    tracker = Tracker(tmp_path, "abc", "a", online=True)
    assert tracker.experiment is not None
    assert "offline, as starting online failed (no answer)" in capsys.readouterr().err
    assert modes == ["online", "offline"] and tracker.failure is None and not tracker.online


def test_a_tracker_that_fails_is_closed_so_that_the_next_run_has_its_own(no_settings, tmp_path, capsys):
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    no_settings.setattr(subprocess, "Popen", Recorded)
    first = Tracker(tmp_path / "a", "id1", "a", online=False)
    first.log_metrics({"x": 1.0}, step=0)
    (service,) = [process for process in started if "wandb-core" in str(process.args)]
    service.kill()
    service.wait()  # wandb does not, of one that it finds dead, and Python would warn of that in any later test
    while first.failure is None:
        first.log_metrics({"x": 1.0}, step=1)
    first.finish(1)
    second = Tracker(tmp_path / "b", "id2", "b", online=False)
    second.log_metrics({"x": 2.0}, step=0)
    assert second.failure is None and wandb.run.id == "id2"
    second.finish(0)
    assert capsys.readouterr().err.count("Weights & Biases failed") == 1


def test_the_best_weights_are_an_artifact_on_request_offline_as_well(no_settings, workplace, capsys):
    short = [*TRACKED, "--max_epochs", "1", "--limit_train_batches", "2", "--wandb", "offline"]
    train.main([*short, "--name", "a", "--upload_best", "true"])
    train.main([*short, "--name", "b"])
    tracked = {name: inspect(next(Path(f"checkpoints/{name}/wandb").glob("offline-run-*"))) for name in ("a", "b")}
    assert '"type":"model"' in tracked["a"] and "best.ckpt" in tracked["a"] and "failed" not in capsys.readouterr().err
    assert '"type":"model"' not in tracked["b"]


@pytest.mark.parametrize(("name", "value"), [("WANDB_MODE", "garbage"), ("WANDB_BASE_URL", "garbage")])
def test_settings_that_make_no_sense_leave_a_run_untracked(no_settings, tmp_path, name, value):
    no_settings.setenv(name, value)
    tracker, what = open_tracker("auto", tmp_path, "id", "name", {})
    assert tracker is None and what.startswith("disabled, as it cannot be set up (")


@pytest.mark.parametrize("key", ["", "a" * 40])
@pytest.mark.parametrize("kind", ["pipe", "latin-1", "folder"])
def test_a_netrc_that_cannot_be_read_is_put_aside(no_settings, tmp_path, kind, key, capsys):
    no_settings.setenv("WANDB_API_KEY", key)
    if kind == "pipe":
        os.mkfifo(tmp_path / "netrc")
    elif kind == "folder":
        (tmp_path / "netrc").mkdir()
    else:
        (tmp_path / "netrc").write_bytes(b"machine \xe9")
    expected = ("online", "") if key else ("offline", "no key is set up: wandb login")
    assert choose_mode("online") == choose_mode("online") == expected
    assert capsys.readouterr().err.count("is not read: ") == 1 and os.environ["NETRC"] == os.devnull


def test_flags_win_over_variables_for_where_a_run_is_tracked_and_a_resumed_one_goes_on_counting(no_settings, workplace):
    for name, value in {"PROJECT": "p1", "ENTITY": "e1", "RUN_GROUP": "g1", "TAGS": "t1"}.items():
        no_settings.setenv(f"WANDB_{name}", value)
    short = [*TRACKED, "--max_epochs", "1", "--limit_train_batches", "2", "--wandb", "offline"]
    train.main([*short, "--name", "a"])
    flags = {"project": "p2", "entity": "e2", "group": "g2", "tags": "t2,t3"}
    train.main([*short, "--name", "b", *(word for k, v in flags.items() for word in (f"--wandb_{k}", v))])
    train.main(["--ckpt_path", "checkpoints/b/last.ckpt", "--max_epochs", "2"])
    parts = [
        inspect(path) for name in ("a", "b") for path in sorted(Path(f"checkpoints/{name}/wandb").glob("offline-*"))
    ]
    values = [
        {value for value in ("p1", "e1", "g1", "t1", "p2", "e2", "g2", "t2", "t3") if f'"{value}"' in text}
        for text in parts
    ]
    assert values == [{"p1", "e1", "g1", "t1"}, *[{"p2", "e2", "g2", "t2", "t3"}] * 2]
    steps = [
        [
            json.loads(line)["history"]["step"]["num"]
            for line in text.splitlines()
            if '"type":"history"' in line and "num" in json.loads(line)["history"].get("step", {})
        ]
        for text in parts
    ]
    assert max(steps[1]) < min(steps[2])


@pytest.mark.task("classify")
def test_a_report_is_shown_with_the_same_pictures_and_its_tables_and_a_failure_there_is_said(
    workplace, reports, monkeypatch, capsys
):
    short = [*TRACKED, "--max_epochs", "1", "--limit_train_batches", "2", "--wandb", "offline"]
    train.main([*short, "--name", "a"])
    folder = workplace / "checkpoints" / "a"
    drawn = {path.stem for path in (folder / "plots").glob("*.png")}
    shown = {path.name.rpartition("_")[0].partition("_")[0] for path in (folder / "wandb").rglob("report/*.*")}
    assert drawn | {"classes"} <= shown

    def fail(*arguments, **options):
        raise ValueError("no luck")

    monkeypatch.setattr(wandb, "Image", fail)
    train.main([*short, "--name", "b"])
    assert "Weights & Biases failed (no luck)" in capsys.readouterr().err
    assert "confusion matrix" in Path("checkpoints/b/report.html").read_text()


def test_without_a_data_folder_of_the_users_own_the_report_is_shown_all_the_same(
    workplace, reports, monkeypatch, capsys
):
    (workplace / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(workplace / "file"))
    train.main([*TRACKED, "--name", "a", "--max_epochs", "1", "--wandb", "offline"])
    assert "wandb leet checkpoints/a/wandb/offline-run-" in capsys.readouterr().out
    assert list((workplace / "checkpoints" / "a" / "wandb").glob("offline-run-*/*.wandb"))
