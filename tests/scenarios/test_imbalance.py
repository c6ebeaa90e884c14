"""Classes that are rare: weights in the loss, and training on them as often as on the others."""

import lightning.pytorch as pl
import pytest
import torch

from engine.contract.parts import load_task
from engine.data.balance import balanced_weights
from engine.data.sampler import EpochBatchSampler
from engine.errors import RunError, UsageError
from engine.files.folders import FolderDataModule
from engine.inference import evaluate
from engine.inputs.letterbox import IGNORE
from engine.resume.checkpoint_file import read_checkpoint
from project.data.mnist import MNISTDataModule
from project.tasks.classifier import LitClassifier
from scripts import train
from tests.own_data import WRITERS, write_class_folders
from tests.runs import run, same

BRIEF = ("--max_epochs", 2, "--optim.schedule", "constant")


@pytest.fixture(autouse=True)
def _(workplace):
    pass


def weights_in(path):
    return read_checkpoint(path)["hyper_parameters"]["class_weights"]


def test_an_epoch_draws_each_index_as_often_as_its_weight_says_and_the_same_each_time():
    weights = torch.tensor([1.0] * 900 + [9.0] * 100)
    samplers = [EpochBatchSampler(1000, 50, True, 3, rank, 2, weights=weights) for rank in (0, 1)]
    drawn = torch.tensor([index for sampler in samplers for batch in sampler for index in batch])
    assert len(drawn) == 1000 and 420 < int((drawn >= 900).sum()) < 580  # five standard deviations
    again = [index for sampler in samplers for batch in sampler for index in batch]
    assert drawn.tolist() == again
    samplers[0].set_epoch(1)
    assert next(iter(samplers[0])) != again[:25]


def test_weights_of_zero_are_never_drawn():
    weights = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])
    sampler = EpochBatchSampler(5, 5, True, 0, weights=weights)
    for epoch in range(50):
        sampler.set_epoch(epoch)
        assert set(next(iter(sampler))) <= {1, 3}


@pytest.mark.task("classify")
def test_balanced_weights_are_kept_with_the_checkpoint_and_resumed():
    options = ("--task.class_weights", "balanced", *BRIEF)
    run("--name", "whole", *options)
    data = MNISTDataModule(val_size=60, batch_size=30)
    data.prepare_data()
    data.setup("fit")
    counts = data.class_counts()
    assert counts.sum() == 300
    expected = [round(300 / (10 * count), 6) for count in counts.tolist()]
    assert weights_in("checkpoints/whole/last.ckpt") == expected == weights_in("checkpoints/whole/best.ckpt")
    run("--name", "cut", *options, "--max_steps", 7)
    run("--ckpt_path", "checkpoints/cut/last.ckpt", "--max_steps", -1)
    assert same(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut")))


def test_weights_of_ones_own_weigh_the_loss():
    logits, labels = torch.zeros(2, 10), torch.tensor([0, 1])
    logits[0, 0] = 5  # right, and wrong
    task = LitClassifier(class_weights=[3.0] + [1.0] * 9, label_smoothing=0.0)
    right, wrong = (task.criterion(logits[k : k + 1], labels[k : k + 1]) for k in (0, 1))
    torch.testing.assert_close(task.criterion(logits, labels), (3 * right + wrong) / 4)


@pytest.mark.parametrize("task", ["classify", "segment", "detect"])
def test_each_task_weighs_the_classes_of_a_folder(workplace, task):
    folder = WRITERS[task](workplace / "own")
    flags = ["--task", task, "--data", folder, "--data.image_size", 64, "--max_epochs", 1, "--wandb", "disabled"]
    train.main([*map(str, flags), "--name", "a", "--task.class_weights", "balanced", "--data.batch_size", "4"])
    weights = weights_in("checkpoints/a/best.ckpt")
    assert len(weights) == len(read_checkpoint("checkpoints/a/best.ckpt")["hyper_parameters"]["class_names"])
    assert max(weights) > min(weights) > 0
    evaluate.main(["checkpoints/a/best.ckpt"])


def test_samples_are_drawn_by_the_rarest_class_that_they_show():
    shown = [torch.tensor(classes, dtype=torch.int64) for classes in ([0, 0, 1], [0], [], [0], [2, 0], [1, 1])]
    weights = balanced_weights(shown, 4)
    assert weights.tolist() == [1 / 2, 1 / 4, 1 / 4, 1 / 4, 1, 1 / 2]


@pytest.mark.parametrize("task", ["segment", "detect"])
def test_the_classes_that_an_image_shows_are_those_of_its_target(workplace, task):
    data = FolderDataModule(str(WRITERS[task](workplace / "own")), task, image_size=[48, 40], balance=True)
    data.setup("fit")
    store = data.stores["train"]
    targets = [store.read(index)[1] for index in range(len(store))]
    labels = [target["labels"] if task == "detect" else target[target != IGNORE] for target in targets]
    expected = balanced_weights([one.as_subclass(torch.Tensor).long() for one in labels], len(data.class_names))
    assert torch.equal(data.train_dataloader().batch_sampler.weights, expected) and len(set(expected.tolist())) > 1
    counts = torch.cat([one.flatten().long() for one in labels]).bincount(minlength=len(data.class_names))
    assert torch.equal(data.class_counts(), counts.as_subclass(torch.Tensor))


@pytest.mark.parametrize("task", ["segment", "detect"])
def test_balanced_training_of_a_folder_is_resumed_bit_for_bit(workplace, task):
    folder = WRITERS[task](workplace / "own")
    flags = ["--task", task, "--data", folder, "--data.image_size", 48, "--data.balance", "true", *BRIEF]
    flags = [*map(str, flags), "--data.batch_size", "4", "--data.num_workers", "0", "--wandb", "disabled"]
    train.main([*flags, "--name", "whole"])
    train.main([*flags, "--name", "cut", "--max_steps", "7"])
    train.main(["--ckpt_path", "checkpoints/cut/last.ckpt", "--max_steps", "-1"])
    assert same(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut")))


def test_training_on_classes_equally_often_is_for_classes(workplace):
    folder = WRITERS["translate"](workplace / "own")
    with pytest.raises(UsageError, match="balance is for images with classes, and the task is translate"):
        train.main(["--task", "translate", "--data", str(folder), "--data.balance", "true"])


@pytest.mark.task("classify")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task.class_weights", "1,2"], "for each of the 10 classes .0, 1, 2, .*, got .1.0, 2.0."),
        (["--task.class_weights", "ballanced"], "task.class_weights is balanced|.NUMBER, ....; got .ballanced."),
        (["--task.class_weights", "0,0,0,0,0,0,0,0,0,0"], "for each of the 10 classes"),
        (["--task.focal", "-1"], "focal is 0 or more, got -1.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags, message):
    with pytest.raises(UsageError, match=message):
        run("--name", "a", *flags)


@pytest.mark.task("classify")
def test_a_class_without_an_image_has_no_balanced_weight(workplace):
    folder = write_class_folders(workplace / "own")
    with pytest.raises(RunError, match="no training image shows class cow; give a number for each class"):
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
        classes = ",".join([*names, "cow"])
        train.main(["--data", str(folder), "--data.classes", classes, "--task.class_weights", "balanced"])


@pytest.mark.task("classify")
def test_balanced_training_is_resumed_bit_for_bit():
    options = ("--data.balance", "true", *BRIEF)
    run("--name", "whole", *options)
    run("--name", "cut", *options, "--max_steps", 7)
    run("--ckpt_path", "checkpoints/cut/last.ckpt", "--max_steps", -1)
    assert same(*(read_checkpoint(f"checkpoints/{name}/last.ckpt") for name in ("whole", "cut")))


@pytest.mark.task("classify")
def test_the_loss_measured_with_weights_does_not_depend_on_the_batches(workplace):
    weights = "[5, 1, 1, 1, 1, 1, 1, 1, 1, 0.1]"
    run("--name", "a", "--task.class_weights", weights, "--task.label_smoothing", 0, "--max_epochs", 1)
    task, data = load_task("checkpoints/a/best.ckpt"), MNISTDataModule(val_size=60, batch_size=60)
    losses = []
    for size in (60, 7):
        data = MNISTDataModule(val_size=60, batch_size=size)
        quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
        trainer = pl.Trainer(accelerator="cpu", **quiet)
        losses.append(trainer.validate(task, data, verbose=False)[0]["val/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_an_image_that_comes_twice_in_an_epoch_is_varied_twice():
    weights = torch.tensor([1.0, 1e-9, 1e-9, 1e-9])
    sampler = EpochBatchSampler(4, 4, True, 0, name_epoch=True, weights=weights)
    assert sorted(next(iter(sampler))) == [(0, 0, place) for place in range(4)]


@pytest.mark.task("classify")
def test_balance_and_overfitting_do_not_go_together():
    with pytest.raises(RunError, match="balance draws images, and --overfit_batches takes the first ones"):
        run("--name", "a", "--data.balance", "true", "--overfit_batches", 2)
