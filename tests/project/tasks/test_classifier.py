import shutil
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryPrecisionRecallCurve

from engine.contract.errors import UserError
from engine.files.folders import FolderDataModule
from engine.resume.checkpoint_file import read_checkpoint
from project.tasks.classifier import LitClassifier, best_threshold
from scripts import train
from tests.own_data import write_class_folders
from tests.runs import cut_after, read_summary, same

LECTURE = {
    "backbone": {"name": "cnn", "widths": [10, 20], "padding": "valid", "norm": "none"},
    "head": {"name": "dense", "grid": 4, "hidden": 50},
}


def quiet_trainer(**options):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **options,
    )  # fmt: skip


def test_lectures_network_has_its_number_of_weights():
    task = LitClassifier(**LECTURE)
    assert sum(p.numel() for p in task.parameters()) == 21_840


def test_lectures_network_is_the_lectures():
    """The same function as the layers of the lecture's slides, one after the other, given the same weights."""
    task = LitClassifier(**LECTURE).eval()
    a, b = (block[0] for block in task.backbone.blocks)
    c, d = task.head.layers[0], task.head.layers[2]
    images = torch.randn(3, 1, 28, 28)
    x = torch.relu(torch.max_pool2d(a(images), 2))
    x = torch.relu(torch.max_pool2d(b(x), 2))
    expected = d(torch.relu(c(x.flatten(1))))
    torch.testing.assert_close(task(images), expected)


def test_the_threshold_has_the_highest_f1_and_lies_halfway_to_the_next():
    curve = BinaryPrecisionRecallCurve()
    curve.update(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
    assert best_threshold(*curve.compute()) == pytest.approx((0.1 + 0.35) / 2)  # F1 is 4/5; from 0.8 on it is 2/3
    curve.reset()
    curve.update(torch.tensor([0.2, 0.6]), torch.tensor([1, 1]))
    assert best_threshold(*curve.compute()) == pytest.approx(0.1)
    curve.reset()
    curve.update(torch.tensor([0.0, 0.0]), torch.tensor([0, 1]))
    assert 0 < best_threshold(*curve.compute()) < 1


def test_the_threshold_decides_between_two_classes():
    outputs = {"probabilities": torch.tensor([[0.7, 0.3], [0.85, 0.15], [0.2, 0.8]])}
    told = [LitClassifier(["a", "b"], threshold=value).answers(outputs, [(1, 1)] * 3) for value in (None, 0.25)]
    assert [[answer["class"] for answer in answers] for answers in told] == [["a", "a", "b"], ["b", "a", "b"]]
    assert told[1][0] == {"class": "b", "probability": 0.3, "probabilities": {"a": 0.7, "b": 0.3}}


@pytest.mark.parametrize(
    ("names", "threshold", "message"),
    [
        ("abc", "auto", "threshold is for two classes, and there are 3: leave it out"),
        ("ab", 1.0, r"threshold is a probability in \(0, 1\), or auto, got 1.0"),
    ],
)
def test_what_is_no_threshold_is_refused(names, threshold, message):
    with pytest.raises(UserError, match=message):
        LitClassifier(list(names), threshold=threshold)


def test_a_validation_chooses_the_threshold_which_the_test_and_the_resumed_run_take(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_class_folders(Path("own"), num=60)
    shutil.rmtree("own/green")
    flags = ["--data", "own", "--data.test_size", "0.3", "--wandb", "disabled", "--precision", "32-true"]
    flags += ["--data.image_size", "16", "--data.batch_size", "6", "--max_epochs", "3", "--optim.lr", "0.0005"]
    train.main([*flags, "--name", "whole", "--task.threshold", "auto"])
    with cut_after(1):
        train.main([*flags, "--name", "cut", "--task.threshold", "auto"])
    train.main(["--ckpt_path", "checkpoints/cut/last.ckpt"])
    assert same(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut")))
    best = read_checkpoint("checkpoints/whole/best.ckpt")
    threshold = best["hyper_parameters"]["threshold"]
    tested = read_summary("whole")["metrics"]
    assert 0 < threshold < 1 and threshold != 0.5 and tested["test/threshold"] == pytest.approx(threshold)
    train.main([*flags, "--name", "plain"])
    plain = read_checkpoint("checkpoints/plain/best.ckpt")
    assert all(torch.equal(value, best["state_dict"][name]) for name, value in plain["state_dict"].items())
    task = LitClassifier.load_from_checkpoint("checkpoints/whole/best.ckpt")
    data = FolderDataModule("own", "classify", image_size=[16], test_size=0.3)
    data.setup("test")
    images, labels = data.prepare(data.stores["test"].__getitems__(list(range(len(data.stores["test"])))))
    with torch.no_grad():
        predicted = (task(images).softmax(dim=1)[:, 1] >= threshold).long()
    assert tested["test/acc"] == pytest.approx(float((predicted == labels).float().mean()))
    metrics = quiet_trainer().test(task, data, verbose=False)[0]
    assert metrics["test/f1"] == pytest.approx(tested["test/f1"])


def test_one_batch_is_overfitted():
    pl.seed_everything(0, verbose=False)
    images, labels = torch.randn(32, 1, 28, 28), torch.arange(32) % 10
    task = LitClassifier(optim={"schedule": "constant", "lr": 0.003}, label_smoothing=0.0)
    quiet_trainer(max_steps=60).fit(task, DataLoader(TensorDataset(images, labels), batch_size=32))
    with torch.no_grad():
        assert (task(images).argmax(dim=1) == labels).all()  # still in training mode: the batch's own statistics
        assert torch.nn.functional.cross_entropy(task(images), labels) < 0.05


def test_same_seed_same_losses_other_seed_others():
    def losses(seed):
        pl.seed_everything(seed, verbose=False)
        images, labels = torch.randn(64, 1, 28, 28), torch.arange(64) % 10
        task = LitClassifier(head={"name": "dense", "dropout": 0.5})
        seen = []
        task.on_train_batch_end = lambda outputs, *rest: seen.append(outputs["loss"].item())
        quiet_trainer(max_epochs=2).fit(task, DataLoader(TensorDataset(images, labels), batch_size=16))
        return seen

    first = losses(1)
    assert len(first) == 8 and first == losses(1) and first != losses(2)


def test_metrics_by_hand():
    """Two batches of different size: accuracy and loss are means over images, not over batches."""
    torch.manual_seed(0)
    images, labels = torch.randn(10, 1, 28, 28), torch.arange(10)
    task = LitClassifier(label_smoothing=0.0)
    trainer = quiet_trainer()
    result = trainer.test(task, DataLoader(TensorDataset(images, labels), batch_size=7), verbose=False)[0]
    with torch.no_grad():
        logits = task.eval()(images)
    assert result["test/acc"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert result["test/loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), abs=1e-5)


def test_the_test_measures_classes_by_hand(monkeypatch):
    """Images of a, a, b, which are taken for a, b, b; of c there is none. Each with probability 0.8."""
    task = LitClassifier(class_names=["a", "b", "c"])
    monkeypatch.setattr(task, "forward", lambda images: images[:, 0, 0, :3])
    images = torch.zeros(3, 1, 28, 28)
    images[:, 0, 0, :3] = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]]).log()
    loader = DataLoader(TensorDataset(images, torch.tensor([0, 0, 1])), batch_size=2)
    result = quiet_trainer().test(task, loader, verbose=False)[0]
    expected = {"f1/a": 2 / 3, "f1/b": 2 / 3, "f1": 2 / 3, "precision": (1 + 1 / 2) / 2, "recall": (1 / 2 + 1) / 2}
    expected |= {"ece": 0.8 - 2 / 3, "acc": 2 / 3}
    measured = {name.removeprefix("test/"): value for name, value in result.items() if name != "test/loss"}
    assert measured == pytest.approx(expected)
    assert {"val/f1", "val/f1/a"} <= quiet_trainer().validate(task, loader, verbose=False)[0].keys()
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(LitClassifier(class_names=["a", "b", "c"]), loader, loader)
    assert {name for name in trainer.callback_metrics if name.startswith("val/")} == {"val/acc", "val/loss"}


def test_training_means_cover_the_epochs_images():
    images, labels = torch.randn(10, 1, 28, 28), torch.arange(10)
    task = LitClassifier(optim={"lr": 1e-12, "schedule": "constant"}, backbone=LECTURE["backbone"], label_smoothing=0.0)
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(task(images), labels).item()
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(task, DataLoader(TensorDataset(images, labels), batch_size=7))
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(expected, abs=1e-5)
    assert task.images_seen == 10


def test_a_schedule_needs_to_know_the_runs_length():
    task = LitClassifier()
    loader = DataLoader(TensorDataset(torch.randn(4, 1, 28, 28), torch.arange(4)))
    with pytest.raises(ValueError, match="schedule one_cycle needs the length of the run"):
        quiet_trainer(max_epochs=-1).fit(task, loader)


def test_wrong_options_are_refused_when_it_is_built():
    with pytest.raises(ValueError, match=r"label_smoothing is a share in \[0, 1\), got 1.5"):
        LitClassifier(label_smoothing=1.5)
    with pytest.raises(ValueError, match="optimiser sgd has no option 'momentun'; did you mean momentum"):
        LitClassifier(optim={"name": "sgd", "momentun": 0.1})


@pytest.mark.parametrize(
    ("rank", "processes", "sums"), [(0, 2, [2.0, 4.0]), (1, 2, [7.0, 3.0]), (0, 1, [9.0, 7.0]), (2, 3, [0.0, 0.0])]
)
def test_each_process_goes_on_from_its_own_sums(monkeypatch, rank, processes, sums):
    """Added up in another order, the means of a resumed epoch would differ in the last digit; none is lost."""
    task = LitClassifier()
    task.trainer = quiet_trainer()
    task._means.add("train/loss", torch.tensor(0.5), 4)
    other = torch.tensor([[7.0, 3.0]])
    monkeypatch.setattr(type(task.trainer), "world_size", 2)
    monkeypatch.setattr(task, "all_gather", lambda sums: torch.stack([sums, other]))
    checkpoint = {}
    task.on_save_checkpoint(checkpoint)
    again = LitClassifier()
    again.trainer = task.trainer
    monkeypatch.setattr(type(task.trainer), "world_size", processes)
    monkeypatch.setattr(LitClassifier, "global_rank", rank)
    again.on_load_checkpoint(checkpoint)
    assert again._means.totals(torch.device("cpu")).tolist() == [sums]


def test_means_in_the_form_of_earlier_versions_are_taken_over():
    task = LitClassifier()
    task.trainer = quiet_trainer()
    task.on_load_checkpoint({"epoch_means": {"names": ["loss", "acc"], "sums": torch.tensor([[6.0, 3.0, 4.0]])}})
    assert task._means.names == ["train/loss", "train/acc"]
    assert task._means.totals(torch.device("cpu")).tolist() == [[6.0, 4.0], [3.0, 4.0]]
