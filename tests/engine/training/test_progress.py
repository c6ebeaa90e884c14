import pytest

from engine.training.progress import EpochLines, by_importance, fitting, measured_rows, percent_or_number

MANY = ["train/adversary", "train/loss", "val/l1", "val/loss", "val/psnr", "val/ssim"]


def test_only_shares_are_percentages():
    assert percent_or_number("test/iou/cat", 0.5) == "50.00 %" == percent_or_number("val/acc", 0.5)
    assert percent_or_number("test/length/cat", 12.5) == "12.5" == percent_or_number("test/length", 12.5)


def test_what_a_person_looks_at_first_stands_first():
    assert by_importance(MANY, "val/psnr") == [
        *("train/loss", "val/loss", "val/psnr", "val/l1", "val/ssim", "train/adversary")
    ]
    assert by_importance(["train/loss", "train/acc"], "val/acc") == ["train/loss", "train/acc"]


@pytest.mark.parametrize(("width", "count"), [("200", 6), ("80", 5), ("40", 1), ("10", 1)])
def test_as_many_columns_are_kept_as_fit(monkeypatch, width, count):
    monkeypatch.setenv("COLUMNS", width)
    assert fitting(by_importance(MANY, "val/psnr"), 11) == by_importance(MANY, "val/psnr")[:count]


class Trainer:
    """As much of a Trainer as an epoch's line looks at."""

    max_epochs = 12


class Module:
    best_metric = "val/acc"


def test_lines_stand_under_a_header_which_comes_again_when_there_is_more_to_show(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    lines, trainer = EpochLines(), Trainer()
    for epoch, validated in enumerate((False, True, False)):
        trainer.current_epoch = epoch
        trainer.callback_metrics = {"train/loss": 0.5, "val/acc": 0.9, "val/loss": 0.25}
        lines.on_train_epoch_start(trainer, Module())
        if validated:
            lines.on_validation_end(trainer, Module())
        lines.on_train_epoch_end(trainer, Module())
    lines.on_train_end(trainer, Module())
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in printed] == [
        ["train/loss", "seconds"],
        ["epoch", "1/12", "0.5", "0.0"],
        ["train/loss", "val/loss", "val/acc", "seconds"],
        ["epoch", "2/12", "0.5", "0.25"],
        ["epoch", "3/12", "0.5", "0.0"],
    ]
    assert len({len(line) for line in printed[2:]}) == 1 and len(printed[2]) <= 60


def test_what_others_reach_stands_beside():
    metrics = {"test/psnr": 20.0, "test/source_psnr": 15.0, "test/bicubic_psnr": 18.5, "test/loss": 0.1}
    assert measured_rows(metrics) == [("test/psnr", "20   (source 15, bicubic 18.5)"), ("test/loss", "0.1")]
    classes = {"test/map_50": 0.5, "test/map/a_50": 0.4, "test/map/50": 0.3}
    assert [name for name, _ in measured_rows(classes)] == list(classes)


def test_shares_are_percentages():
    assert percent_or_number("val/acc", 0.5) == percent_or_number("test/iou/cat", 0.5) == "50.00 %"
    assert percent_or_number("val/loss", 0.123456) == "0.1235"


def test_a_measure_that_is_no_number_is_not_shown_as_one():
    assert [percent_or_number(name, float("nan")) for name in ("val/miou", "val/sharpness")] == ["no value"] * 2
