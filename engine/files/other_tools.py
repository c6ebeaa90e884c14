"""Recognising other tools' annotations, which are not read here: the error names the tool and how to export from it."""

from collections.abc import Callable
from pathlib import Path

from engine.contract.errors import UserError
from engine.files.listing import SPLITS
from engine.inputs.folder import Findings, Folder
from engine.inputs.reading import regular

LOOKED_AT = 5  # files of one kind in a folder
HEAD = 2**16  # bytes of each
PLACES = {"annotations", "labels", "json", "images", "jpegimages", "obj_train_data", *SPLITS}  # folders to look into
EXPORT = "export COCO JSON or Pascal VOC from the tool that drew them"


# The file's suffix, a test of its first bytes, and the remedy.
TOOLS: dict[str, tuple[str, Callable[[str], bool], str]] = {
    "the VGG Image Annotator's JSON": (".json", lambda text: '"shape_attributes"' in text, EXPORT),
    "a table of boxes": (".csv", lambda text: "xmin" in text.partition("\n")[0].lower(), EXPORT),
}


def refuse_other_tools(root: Folder, findings: Findings) -> None:
    """Refuse a folder with annotations of these tools.

    Opens a few files of the folder and of its subfolders with usual names.

    Raises:
        UserError: names the tool, a file and the remedy.
    """
    near = [root, *(folder for name, folder in root.folders.items() if name.lower() in PLACES)]
    within = [inner for folder in near[1:] for name, inner in folder.folders.items() if name.lower() in PLACES]
    for what, (suffix, is_of_it, way) in TOOLS.items():
        for folder in (*near, *within):
            for name in folder.own({suffix})[:LOOKED_AT]:
                if is_of_it(_beginning(Path(folder.path) / name)):
                    raise UserError(
                        f"{root.path} holds annotations in {what} ({folder.within(name)}), which are not read: {way}, "
                        "for --task detect"
                    )


def _beginning(path: Path) -> str:
    try:
        with open(regular(path), "rb") as file:
            return file.read(HEAD).decode("utf-8-sig", "replace")
    except OSError:
        return ""
