"""Small data sets in the layouts that people keep their own images in, made here: easy to learn, and quick.

Images are 40 x 48 (wide x high) with noise on them, and show coloured things: a red block and a blue one, at random
places. Each function fills a folder, which need not exist, and returns it.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (48, 40)  # (H, W) in pixels
COLOURS = {"blue": (40, 40, 230), "green": (40, 200, 40), "red": (230, 40, 40)}
CATEGORY_IDS = {"blue": 3, "red": 7}  # as COCO's, with gaps


def write_class_folders(folder: Path, num: int = 24, split: bool = False, suffix: str = ".png") -> Path:
    """Write CLASS/N.png, the classes being the colours; with `split` below train/, val/ and test/."""
    names = list(COLOURS)
    for part, i in _parts(num, split):
        _save(folder / part / names[i % 3] / f"{i}{suffix}", _coloured(i))
    return folder


def write_table(folder: Path, num: int = 24, split: bool = False) -> Path:
    """Write images/N.png and labels.csv, the labels being the colours; with `split` a column of that name."""
    lines = [f"file,label{',split' * split}"]
    for part, i in _parts(num, split):
        _save(folder / "images" / f"{i}.png", _coloured(i))
        lines.append(f"{i}.png,{list(COLOURS)[i % 3]}{f',{part}' * split}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_with_table(
    folder: Path,
    text: str | bytes,
    name: str = "labels.csv",
    images: Sequence[str] = ("a.jpg", "b.jpg", "deep/c.jpg", "deep/d.jpg"),
) -> Path:
    """Write small images, all different, and a table of this text."""
    for image in images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), len(image) + ord(image[-5])).save(folder / image)
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def write_numbers(folder: Path, num: int = 24, split: bool = False) -> Path:
    """Write images/N.png and labels.csv: how many blocks an image shows, and their pixels; with `split` as above."""
    lines = [f"file,blocks,pixels{',split' * split}"]
    for part, i in _parts(num, split):
        image, boxes = _scene(i)
        _save(folder / "images" / f"{i}.png", image)
        pixels = sum((x1 - x0) * (y1 - y0) for _, (x0, y0, x1, y1) in boxes)
        lines.append(f"{i}.png,{len(boxes)},{pixels}.5{f',{part}' * split}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_label_lists(folder: Path, num: int = 24, split: bool = False) -> Path:
    """Write images/N.png and labels.csv with a list of the blocks that an image shows; with `split` as above."""
    lines = [f"file,label{',split' * split}"]
    for part, i in _parts(num, split):
        image, boxes = _scene(i)
        _save(folder / "images" / f"{i}.png", image)
        lines.append(f"{i}.png,{';'.join(name for name, _ in boxes)}{f',{part}' * split}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_masks(folder: Path, num: int = 24, split: bool = False, classes: bool = True) -> Path:
    """Write images/N.png and masks/N.png of classes 0 (background), 1 (blue) and 2 (red), the border of things 255.

    With `split` the two folders are below train/, val/ and test/; with `classes` there is a classes.txt.
    """
    for part, i in _parts(num, split):
        image, boxes = _scene(i)
        mask = np.zeros(SIZE, np.uint8)
        for name, (x0, y0, x1, y1) in boxes:
            mask[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1] = 255
            mask[y0:y1, x0:x1] = list(CATEGORY_IDS).index(name) + 1
        _save(folder / part / "images" / f"{i}.png", image)
        _save(folder / part / "masks" / f"{i}.png", mask)
    if classes:
        (folder / "classes.txt").write_text("background\nblue\nred\n", encoding="utf-8")
    return folder


def write_voc(folder: Path, num: int = 24, split: bool = False) -> Path:
    """Write JPEGImages/N.png and Annotations/N.xml with boxes of blue and red; with `split` also ImageSets/Main."""
    lists: dict[str, list[str]] = {}
    for part, i in _parts(num, split):
        image, boxes = _scene(i)
        _save(folder / "JPEGImages" / f"{i}.png", image)
        path = folder / "Annotations" / f"{i}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(voc_xml(boxes), encoding="utf-8")
        lists.setdefault(part, []).append(str(i))
    for part, stems in lists.items() if split else ():
        path = folder / "ImageSets" / "Main" / f"{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(stems) + "\n", encoding="utf-8")
    return folder


def voc_xml(boxes: Sequence[tuple[str, Sequence[float]]], size: Sequence[int] = SIZE) -> str:
    """Return an annotation of these (name, xyxy) for an image of `size` = (H, W): VOC counts pixels from 1."""
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax>"
        f"<ymax>{y1}</ymax></bndbox></object>"
        for name, (x0, y0, x1, y1) in boxes
    )
    width, height = size[1], size[0]
    return (
        "<annotation><filename>wrong.jpg</filename>"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{objects}</annotation>"
    )


def write_coco(folder: Path, num: int = 24, split: bool = False) -> Path:
    """Write images/N.png and annotations/instances.json; with `split` images/SPLIT/ and instances_SPLIT.json."""
    content: dict[str, dict[str, Any]] = {}
    for part, i in _parts(num, split):
        image, boxes = _scene(i)
        _save(folder / "images" / part / f"{i}.png", image)
        categories = [{"id": number, "name": name} for name, number in CATEGORY_IDS.items()]
        own = content.setdefault(part, {"images": [], "annotations": [], "categories": categories})
        own["images"].append({"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]})
        for name, (x0, y0, x1, y1) in boxes:
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            number = len(own["annotations"]) + 1
            own["annotations"].append({"id": number, "image_id": i, "category_id": CATEGORY_IDS[name], **box})
    (folder / "annotations").mkdir()
    for part, own in content.items():
        name = f"instances_{part}.json" if part else "instances.json"
        (folder / "annotations" / name).write_text(json.dumps(own), encoding="utf-8")
    return folder


def write_yolo(folder: Path, num: int = 24, split: bool = False, within: bool = False) -> Path:
    """Write images/N.png and labels/N.txt, none for images without boxes, and data.yaml.

    With `split` as images/SPLIT/ and labels/SPLIT/, or SPLIT/images/ and SPLIT/labels/ if `within`.
    """
    for part, i in _parts(num, split):
        image, boxes = _scene(i)
        images, labels = (folder / part / name if within else folder / name / part for name in ("images", "labels"))
        _save(images / f"{i}.png", image)
        labels.mkdir(parents=True, exist_ok=True)
        if boxes:
            (labels / f"{i}.txt").write_text("".join(map(yolo_line, boxes)), encoding="utf-8")
    (folder / "data.yaml").write_text("train: images\nval: images\nnc: 2\nnames: [blue, red]\n", encoding="utf-8")
    return folder


def yolo_line(named_box: tuple[str, Sequence[float]]) -> str:
    """Return the line of a (name, xyxy)."""
    name, (x0, y0, x1, y1) = named_box
    height, width = SIZE
    shares = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return f"{list(CATEGORY_IDS).index(name)} {' '.join(f'{share:.6f}' for share in shares)}\n"


def write_labelme(folder: Path, num: int = 24, split: bool = False) -> Path:
    """Write N.png and N.json with rectangles, polygons and circles in turn; with `split` below train/, val/, test/."""
    for part, i in _parts(num, split):
        image, boxes = _scene(i)
        _save(folder / part / f"{i}.png", image)
        content = {
            "version": "5.4.1",
            "flags": {},
            "shapes": [labelme_shape(name, box) for name, box in boxes],
            "imagePath": f"{i}.png",
            "imageData": None,
            "imageHeight": SIZE[0],
            "imageWidth": SIZE[1],
        }
        (folder / part / f"{i}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def labelme_shape(name: str, box: Sequence[float]) -> dict[str, Any]:
    """Return a shape around a box: a circle for a square, a polygon for a high one, and a rectangle for a wide one."""
    x0, y0, x1, y1 = map(float, box)
    kind, points = "rectangle", [[x1, y0], [x0, y1]]
    if x1 - x0 == y1 - y0:
        kind, points = "circle", [[(x0 + x1) / 2, (y0 + y1) / 2], [x1, (y0 + y1) / 2]]
    elif x1 - x0 < y1 - y0:
        kind, points = "polygon", [[x0, (y0 + y1) / 2], [(x0 + x1) / 2, y0], [x1, y1 - 1], [x0 + 1, y1]]
    return {"label": name, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


def write_cvat(folder: Path, num: int = 24, split: bool = False) -> Path:
    """Write images/N.png and annotations.xml of "CVAT for images 1.1"; with `split` images/SPLIT/ and subsets."""
    images = []
    for part, i in _parts(num, split):
        image, boxes = _scene(i)
        _save(folder / "images" / part / f"{i}.png", image)
        subset = f' subset="{ {"val": "Validation"}.get(part, part.title()) }"' if part else ""
        shapes = "".join(
            f'<box label="{name}" occluded="0" xtl="{x0}.00" ytl="{y0}.00" xbr="{x1}.00" ybr="{y1}.00"></box>'
            for name, (x0, y0, x1, y1) in boxes
        )
        images.append(f'<image id="{i}" name="{i}.png"{subset} width="{SIZE[1]}" height="{SIZE[0]}">{shapes}</image>')
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task/></meta>'
    (folder / "annotations.xml").write_text(f"{head}{''.join(images)}</annotations>", encoding="utf-8")
    return folder


def write_pairs(folder: Path, num: int = 24, split: bool = False, joined: bool = False) -> Path:
    """Write A/N.png and B/N.png, which is A with its colours swapped; `joined`: N.png, with A to the left of B."""
    for part, i in _parts(num, split):
        source, _ = _scene(i)
        target = source[:, :, ::-1]
        if joined:
            _save(folder / part / f"{i}.png", np.concatenate([source, target], axis=1))
        else:
            _save(folder / part / "A" / f"{i}.png", source)
            _save(folder / part / "B" / f"{i}.png", target)
    return folder


def _parts(num: int, split: bool) -> Iterator[tuple[str, int]]:
    """Yield each image's split, '' without, and its number."""
    for i in range(num):
        share = (i + 0.5) / num
        yield ("train" if share < 0.5 else "val" if share < 0.75 else "test") if split else "", i


def _coloured(i: int) -> np.ndarray:
    """Return an image with a large block of the colour at place i % 3."""
    image = _noise(i, 90)
    image[8:40, 6:34] += np.array(list(COLOURS.values())[i % 3]) // 2
    return image


def _noise(seed: int, most: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(30, most, (*SIZE, 3))


def _scene(seed: int) -> tuple[np.ndarray, list[tuple[str, list[int]]]]:
    """Return an image of one or two blocks, in different halves, and their names and boxes xyxy; every 8th has none."""
    generator = np.random.default_rng(1000 + seed)
    image = _noise(seed)
    boxes: list[tuple[str, list[int]]] = []
    halves = [] if seed % 8 == 7 else [[0], [1], [0, 1]][seed % 3]
    for half in halves:
        name = ("blue", "red")[int(generator.integers(2))]
        width, height = generator.integers(10, 17, 2)
        x0, y0 = 20 * half + generator.integers(2, 19 - width), generator.integers(2, 46 - height)
        image[y0 : y0 + height, x0 : x0 + width] = COLOURS[name] + generator.integers(-20, 20, 3)
        boxes.append((name, [int(x0), int(y0), int(x0 + width), int(y0 + height)]))
    return image, boxes


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


# A layout of each task.
WRITERS = {
    "classify": write_class_folders,
    "segment": write_masks,
    "detect": write_voc,
    "translate": write_pairs,
    "regress": write_numbers,
    "multilabel": write_label_lists,
}
