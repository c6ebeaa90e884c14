import os
import signal

import pytest

from engine.contract.backbone import Backbone
from engine.errors import Stopped
from engine.inference import evaluate
from engine.resume.checkpoint_file import read_checkpoint
from engine.resume.compare import differences
from engine.resume.stops import StopSignals, requeue
from tests.runs import after_each_save, read_summary, run


def send(number):
    os.kill(os.getpid(), number)


def test_a_signal_is_only_noted_while_training_and_the_first_one_counts():
    signals = StopSignals()
    signals.training = True
    with signals.caught():
        send(signal.SIGUSR1)
        send(signal.SIGTERM)
        assert signals.received == signal.SIGUSR1


def test_a_second_interrupt_ends_the_run_at_once():
    signals = StopSignals()
    signals.training = True
    with signals.caught():
        send(signal.SIGINT)
        with pytest.raises(Stopped) as stop:
            send(signal.SIGINT)
    assert stop.value.status == 130


def test_an_interrupt_ends_an_evaluation_with_its_own_status(workplace, monkeypatch):
    run("--name", "a", "--max_epochs", 1)
    forward = Backbone.__call__

    def interrupted(self, images):
        send(signal.SIGINT)
        return forward(self, images)

    monkeypatch.setattr(Backbone, "__call__", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped) as stop:
        evaluate.main(["checkpoints/a/best.ckpt"])
    assert stop.value.status == 130 and signal.getsignal(signal.SIGINT) is before


def test_outside_training_a_signal_ends_the_run_at_once():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals().caught(), pytest.raises(Stopped) as stop:
        send(signal.SIGTERM)
    assert stop.value.status == 143 and signal.getsignal(signal.SIGTERM) is before


def test_a_job_is_put_back_in_the_queue(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert requeue() == "job 17 could not be put back in the queue: there is no scontrol here"
    program = tmp_path / "scontrol"
    program.write_text(f"#!/bin/sh\necho $@ > {tmp_path}/asked\n")
    program.chmod(0o755)
    assert requeue() == "job 17 is back in the queue"
    assert (tmp_path / "asked").read_text() == "requeue 17\n"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    requeue()
    assert (tmp_path / "asked").read_text() == "requeue 5_3\n"


def test_a_requeued_job_goes_on_by_itself_from_what_it_saved(workplace, monkeypatch, capsys):
    run("--name", "whole", "--max_epochs", 3)

    def be_told_to_end(trainer):
        if trainer.current_epoch == 1:
            trainer.checkpoint_callback.signals.received = signal.SIGUSR1

    command = ["--name", "job", "--max_epochs", 3]
    with after_each_save(be_told_to_end), pytest.raises(Stopped) as stop:
        run(*command)
    assert stop.value.status == 138 and read_summary("job")["status"] == "stopped"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run(*command)
    assert "resume    checkpoints/job/last.ckpt: 2 epochs" in capsys.readouterr().out
    assert differences(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "job"))) == []


def test_a_requeued_job_that_had_saved_nothing_starts_anew(workplace, monkeypatch):
    (workplace / "checkpoints" / "job").mkdir(parents=True)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run("--name", "job", "--max_epochs", 1)
    assert read_summary("job")["status"] == "finished"
