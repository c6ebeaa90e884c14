"""The loops that our runs are compared with: the lecture's, and a bare one over our data and network.

N images, (H, W) size in pixels.
"""

import time
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from engine.contract.data import DataModule
from engine.contract.optim import build_optimiser, rate_factor
from engine.contract.task import Task
from engine.data.sampler import mix
from engine.inference.predict import best_device


class LectureNet(nn.Module):
    """The lecture's network: two convolutions without padding, each with pooling; two linear layers. 21,840 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 10) for normalised images (N, 1, 28, 28)."""
        x = F.relu(F.max_pool2d(self.conv1(images), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def lecture_loader(root: str, train: bool) -> DataLoader[Any]:
    """Return the lecture's loader: batches of 100, shuffled, each image converted and normalised by itself."""
    convert = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    return DataLoader(MNIST(root, train=train, transform=convert), batch_size=100, shuffle=True)


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished, since its operations run asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class LectureLoop:
    """The lecture's training: cross-entropy, plain gradient descent at 0.01, a test after each epoch.

    It runs on the fastest device of the machine, like our own runs.

    Args:
        root: folder that holds MNIST/raw/.
        seed: determines weights and order.
    """

    def __init__(self, root: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.train_loader = lecture_loader(root, train=True)
        self.test_loader = lecture_loader(root, train=False)
        self.device = torch.device(best_device())
        self.model = LectureNet().to(self.device)
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=0.01)

    def epoch(self, batches: int | None = None) -> float:
        """Train for one epoch, or for its first `batches` batches; return the seconds."""
        start = time.perf_counter()
        self.model.train()
        for images, labels in islice(self.train_loader, batches):
            images, labels = images.to(self.device), labels.to(self.device)
            self.optimiser.zero_grad()
            loss = F.cross_entropy(self.model(images), labels)
            loss.backward()
            self.optimiser.step()
        synchronize(self.device)
        return time.perf_counter() - start

    @torch.no_grad()
    def accuracy(self) -> float:
        """Return the test accuracy, in 0..1."""
        self.model.eval()
        right = 0
        for images, labels in self.test_loader:
            right += int((self.model(images.to(self.device)).argmax(1).cpu() == labels).sum())
        return right / len(self.test_loader.dataset)  # type: ignore[arg-type]


def bare_fit(data: DataModule, task: Task, config: dict[str, Any]) -> float:
    """Train a task in a loop without Lightning, logs, checks and checkpoints; return the seconds.

    It does only the arithmetic of a run: the same images, augmentation, network, loss, optimiser, schedule and
    precision, and a validation after each epoch.
    """
    start = time.perf_counter()
    device = torch.device(best_device())
    task.to(device)
    optimiser, training = build_optimiser(task, **config["optim"])
    batches = config["limit_train_batches"]
    loader, validation = data.train_dataloader(), data.val_dataloader()
    epochs = config["max_epochs"]
    steps = epochs * (batches or len(loader))
    schedule = LambdaLR(optimiser, lambda step: rate_factor(training["schedule"], training["warmup"], step / steps))
    smoothing = task.hparams["label_smoothing"]
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=config["precision"] == "bf16-mixed")
    step = 0
    for epoch in range(epochs):
        task.train()
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        for images, labels in islice(loader, batches):
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            varied = data.augment(images, torch.Generator().manual_seed(mix(data.seed, step, 0)))
            inputs = data.input.prepare(varied)
            with autocast:
                loss = F.cross_entropy(task(inputs), labels, label_smoothing=smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
        task.eval()
        right = torch.zeros((), device=device)  # not read, but counting is part of a validation
        with torch.no_grad(), autocast:
            for images, labels in validation:
                images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
                right += (task(data.input.prepare(images)).argmax(1) == labels).sum()
    synchronize(device)
    return time.perf_counter() - start
