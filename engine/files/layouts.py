"""Recognising how a folder of images is laid out, from its file names and annotations.

Only three kinds of files are opened for that: masks without class names, a few images whose proportions tell whether
they are two images side by side, and the heads of images whose boxes are relative to their size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.contract.errors import UserError
from engine.files.class_folders import class_folders
from engine.files.coco import coco_layout
from engine.files.cvat import cvat_layout
from engine.files.flag_table import flag_table
from engine.files.image_pairs import joined_pairs, pair_folders, pairs_by_name
from engine.files.label_table import table_layout
from engine.files.labelme import labelme_layout
from engine.files.listing import KINDS, Layout, data_set_within
from engine.files.mask_folders import mask_folders
from engine.files.number_table import number_table
from engine.files.other_tools import refuse_other_tools
from engine.files.voc import voc_layout
from engine.files.voc_masks import voc_masks
from engine.files.yolo import yolo_layout
from engine.inputs.folder import Findings, Folder, nfc


@dataclass(frozen=True)
class Known:
    """A layout that is known.

    Args:
        task: the task it is for.
        recognise: returns a folder's layout, or None if it has another; gets the folder, the findings, and `takes`.
        files: how its files lie, for users.
        takes: the options of `recognise` below that this layout has; the others are refused or ignored.
        is_doubtful: whether such a folder may have another layout as well; the one for the requested task counts.
        is_guess: whether it is only guessed, and no reason to change the task.
    """

    task: str
    recognise: Callable[..., Layout | None]
    files: str = ""
    takes: tuple[str, ...] = ()
    is_doubtful: bool = False
    is_guess: bool = False


OF_TABLE = ("labels", "task", "classes")
LAYOUTS = (  # the first that recognises a folder counts
    Known("detect", coco_layout, "COCO"),
    Known("detect", cvat_layout, "CVAT"),
    Known("segment", voc_masks, "JPEGImages/ and SegmentationClass/ of Pascal VOC", ("task", "classes", "ignore")),
    Known("detect", voc_layout, "JPEGImages/ and Annotations/ of Pascal VOC"),
    Known("segment", mask_folders, "images/ and masks/, or train/ and train_masks/", takes=("classes", "ignore")),
    Known("detect", yolo_layout, "images/ and labels/ of YOLO"),
    Known("detect", labelme_layout, "labelme"),
    Known("multilabel", flag_table, "labels.csv with several labels per image", OF_TABLE, is_doubtful=True),
    Known("regress", number_table, "labels.csv with columns of numbers", OF_TABLE, is_doubtful=True),
    Known("classify", table_layout, "labels.csv", takes=("labels",)),
    Known("translate", pairs_by_name, "trainA/ and trainB/"),
    Known("translate", pair_folders, "A/ and B/", is_doubtful=True),  # A and B may be classes
    Known("classify", class_folders, "CLASS/*.jpg, with or without train/, val/ and test/ around the classes"),
    Known("detect", refuse_other_tools),
    Known("translate", joined_pairs, "files with two images side by side", is_guess=True),
)


class ForOtherTask(UserError):
    """A folder's images are for another task, `task`, than the requested one."""

    def __init__(self, message: str, task: str) -> None:
        super().__init__(message)
        self.task = task


def recognise(
    path: Path,
    classes: Sequence[str] | None = None,
    findings: Findings | None = None,
    task: str | None = None,
    ignore: int | str | None = None,
    labels: str | None = None,
) -> Layout:
    """Return what a folder holds.

    Args:
        path: the folder.
        classes: class names in the order of their numbers, if not the folder's own.
        findings: collects faulty files, which are left out; by default the first one raises.
        task: the requested task, if any.
        ignore: a class of masks to ignore, by number, name or colour, as in '0 0 0'.
        labels: a table of the images' classes or numbers; by default labels.csv in the folder, if it has no other
            annotations.

    Raises:
        UserError: the folder does not exist, has no known layout, or holds a faulty file.
        ForOtherTask: its layout is for another task.
    """
    findings = findings or Findings()
    path = path.expanduser()
    if not path.is_dir():
        raise UserError(f"there is no folder {path}" if not path.exists() else f"{path} is a file, not a folder")
    root = Folder(str(path))
    given = {"classes": classes, "ignore": ignore, "labels": labels, "task": task}
    doubtful: Layout | None = None
    for known in LAYOUTS if labels is None else [known for known in LAYOUTS if "labels" in known.takes]:
        if doubtful is not None and known.task != task:
            continue
        layout = known.recognise(root, findings, **{name: given[name] for name in known.takes})
        if layout is None:
            continue
        if ignore is not None and "ignore" not in known.takes:
            raise UserError(f"ignore is for masks, and {path} holds {layout.kind}: leave it out")
        if task is not None and layout.task != task:
            if known.is_doubtful:
                doubtful = layout
                continue
            error = _other_task(path, layout, task)
            raise UserError(str(error)) if known.is_guess else error
        layout = layout if classes is None else layout.with_classes(classes, root.path)
        _check_names(layout, root)
        return layout
    if doubtful is not None and task is not None:
        raise _other_task(path, doubtful, task)
    raise UserError(f"{path} holds {_contents(root)}; what can be trained on: {_known_layouts()}")


def _other_task(path: Path, layout: Layout, task: str) -> ForOtherTask:
    message = f"{path} holds {layout.kind} ({layout.counted()}), for task {layout.task}, not {task}"
    return ForOtherTask(message, layout.task)


def _known_layouts() -> str:
    by_task = {
        task: [known.files for known in reversed(LAYOUTS) if known.task == task and known.files] for task in KINDS
    }
    return "; ".join(f"{', or '.join(files)} ({task})" for task, files in by_task.items())


def _contents(root: Folder) -> str:
    """Describe a folder that was not recognised."""
    if not root.files and not root.folders:
        return "nothing"
    images = len(root.own())
    said = [f"{images} image{'s' * (images != 1)}"] if images else []
    if len(root.files) > images:
        said.append(f"{len(root.files) - images} other files")
    if root.folders:
        names = [f"{name}/" for name in root.folders]
        said.append("the folders " + " ".join(names[:6]) + (" ..." if len(names) > 6 else ""))
    if len(root.folders) == 1 and not images:
        inner = next(iter(root.folders.values()))
        said[-1] = (
            f"one folder only, {inner.name}/: if that is the data set, give {inner.path}; there must be two classes "
            "or more"
        )
    elif within := data_set_within(root):
        said[-1] += f", of which {within} may be the data set: give that path then"
    return ", ".join(said)


def _check_names(layout: Layout, root: Folder) -> None:
    """Refuse classes without a name, and warn of names that differ in case or spaces only.

    Raises:
        UserError: a class has no name.
    """
    alike: dict[str, str] = {}
    for name in layout.class_names:
        key = " ".join(nfc(name).casefold().split())
        if not key:
            raise UserError(f"{root.path} has a class whose name is {name!r}: give it a name")
        if key in alike:
            message = (
                f"classes {alike[key]!r} and {name!r} differ only in case or spaces: merge them if they are the same"
            )
            layout.findings.add("warning", message)
        alike[key] = name
