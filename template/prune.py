"""The template without what a project did not ask for: kept is what the kept entries of its registries reach."""

import ast
import functools
import re
from collections.abc import Iterator

from template.pages import cut_page, cut_requirements, cut_settings, links
from template.parts import FEATURES, NEED, TEMPLATES_OWN, Catalogue, Tree, module_of, modules, read_catalogue, suits
from template.source import Gone, cut, defined, imports, parse, used_names, without_definitions, words_of

TABLES = ("engine/files/layouts.py", "engine/files/listing.py")  # of the engine, which name tasks
HOUSES = ("project/", "engine/", "scripts/", "benchmarks/")


def prune(tree: Tree, tasks: list[str], backbones: list[str], without: list[str]) -> Tree:
    """Return the files of a project of these tasks and backbones, without these features."""
    catalogue = read_catalogue(tree)
    there = {*tasks, *set(FEATURES) - set(without)}
    without = [*without, *(one for one, needed in NEED.items() if one in there and not there.issuperset(needed))]
    words, symbols = _dropped(catalogue, tasks, backbones)
    gone_paths = (*TEMPLATES_OWN, *(path for feature in without for path in FEATURES[feature]))
    kept = {path: data for path, data in tree.items() if not path.startswith(gone_paths) and not _is_of(path, words)}
    lost = _prune_houses(tree, kept, words, symbols)
    _prune_configs(kept, words)
    names = {*tasks, *catalogue.heads_for(tasks), *catalogue.data_for(tasks), *backbones, *set(FEATURES) - set(without)}
    names |= {_stem(path) for path in kept if path.startswith("scripts/")}
    lost_files = [path for feature in without for path in FEATURES[feature]]  # what a run writes, too
    _prune_pages(tree, kept, names, words | set(without) | {symbol for _, symbol in symbols}, lost_files)
    _prune_tests(tree, kept, words | set(without), lost)
    _prune_settings(tree, kept)
    _drop_empty_packages(kept)
    return dict(sorted(kept.items()))


def _dropped(catalogue: Catalogue, tasks: list[str], backbones: list[str]) -> tuple[set[str], set[tuple[str, str]]]:
    """Return the names of the entries that go, and where their classes are."""
    heads, data = catalogue.heads_for(tasks), catalogue.data_for(tasks)
    gone = [
        *(entry for name, entry in catalogue.tasks.items() if name not in tasks),
        *(entry for name, entry in catalogue.heads.items() if name not in heads),
        *(entry for name, entry in catalogue.data.items() if name not in data),
        *(entry for name, entry in catalogue.backbones.items() if name not in backbones),
        *(entry for entry in catalogue.own_data.values() if not suits(entry, tasks)),
    ]
    return {entry.name for entry in gone}, {(entry.module, entry.symbol) for entry in gone}


def _stem(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]


def _is_of(path: str, words: set[str]) -> bool:
    """Whether a file that is no module, a recipe or a fixture say, is named after what is gone."""
    return path.startswith(("configs/", "tests/fixtures/")) and _stem(path) in words


# ---- modules ----


def _prune_houses(tree: Tree, kept: Tree, words: set[str], symbols: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Drop modules that nothing reaches any more, cut the rest; return the names that went, each with its module."""
    lost: set[tuple[str, str]] = set()
    all_modules = modules(tree)
    before = _reached(tree)
    used_before = _all_used(tree, HOUSES)
    shown = {word for path in tree if path.endswith(".md") for word in _shown(tree[path].decode())}
    while True:
        known = modules(kept)
        unreached = (set(known) & before) - _reached(kept)
        for module in unreached:
            del kept[known[module]]
        missing = frozenset(all_modules) - frozenset(modules(kept))
        changed = False
        for path in [path for path in kept if path.startswith(HOUSES) and path.endswith(".py")]:
            is_table = (path.startswith("project/") and path.endswith("/__init__.py")) or path in TABLES
            gone = Gone(
                missing,
                frozenset(symbols) if is_table else frozenset(),
                frozenset(words) if is_table else frozenset(),
            )
            text = kept[path].decode()
            result = cut(text, gone, where=path)
            lost |= {(module_of(path), name) for name in result.names}
            changed |= result.text != text
            kept[path] = result.text.encode()
        if not changed and not unreached:
            unused = _drop_unused(kept, HOUSES, used_before - shown)
            if not unused:
                return lost
            lost |= unused


def _reached(tree: Tree) -> set[str]:
    """Return the modules of the houses that a script, or a module that is run by itself, imports, one over another."""
    known = {module: path for module, path in modules(tree).items() if path.startswith(HOUSES)}
    queue = [m for m, path in known.items() if path.startswith("scripts/") or b'__name__ == "__main__"' in tree[path]]
    reached: set[str] = set()
    while queue:
        module = queue.pop()
        if module not in reached:
            reached.add(module)
            queue += imports(tree[known[module]].decode(), known)
    return reached


def _drop_empty_packages(kept: Tree) -> None:
    """Drop the folders that hold nothing but an empty __init__.py."""
    while True:
        folders = {path.rpartition("/")[0] for path in kept}
        empty = [
            path
            for path, data in kept.items()
            if path.endswith("/__init__.py")
            and not data.strip()
            and not any(other != path and other.startswith(path.removesuffix("__init__.py")) for other in kept)
        ]
        for path in empty:
            del kept[path]
        if not empty or not folders:
            return


# ---- tests ----


def _prune_tests(tree: Tree, kept: Tree, words: set[str], lost: set[tuple[str, str]]) -> None:
    """Cut the tests that need what is gone, and the helpers that only those needed."""
    known = modules(tree)
    for path in _tests(kept):  # of a module that is gone: tests/engine/files/test_coco.py of engine/files/coco.py
        tested = re.sub(r"^tests/(.*)test_(\w+\.py)$", r"\1\2", path)
        if tested in tree and tested not in kept:
            del kept[path]
    while True:
        missing = frozenset(known) - frozenset(modules(kept))
        paths = frozenset(one for path in tree if path not in kept for one in (path, _page_name(path)) if one)
        gone = Gone(missing, frozenset(lost), frozenset(words), paths)
        changed = False
        for path in _tests(kept):
            text = kept[path].decode()
            result = cut(text, gone, tests=True, where=path)
            lost |= {(module_of(path), name) for name in result.names}
            changed |= result.text != text
            kept[path] = result.text.encode()
            is_test = _stem(path).startswith("test_")
            if (is_test and "def test_" not in result.text) or (text.strip() and not result.text.strip()):
                del kept[path]
                changed = True
        if not changed:
            break
    _drop_unused(kept, ("tests/",), _all_used(tree, ("tests/",)))


def _page_name(path: str) -> str:
    return path.rpartition("/")[2] if re.fullmatch(r"(?:docs|tests/fixtures|configs(?:/defaults)?)/[^/]+", path) else ""


def _tests(tree: Tree) -> list[str]:
    return [path for path in tree if path.startswith("tests/") and path.endswith(".py")]


# ---- names ----


def _drop_unused(kept: Tree, folders: tuple[str, ...], used_before: set[str]) -> set[tuple[str, str]]:
    """Cut functions, classes and constants that were used and are not any more; return them, each with its module."""
    dropped: set[tuple[str, str]] = set()
    while True:
        unused = used_before - _all_used(kept, folders)
        changed = False
        for path in [path for path in kept if path.startswith(folders) and path.endswith(".py")]:
            text = kept[path].decode()
            own = [names for node in parse(text).body if (names := set(defined(node)))]
            dead = {name for names in own if names <= unused for name in names if not name.startswith(("test_", "__"))}
            if dead:
                kept[path] = without_definitions(text, dead).encode()
                dropped |= {(module_of(path), name) for name in dead}
                changed = True
        if not changed:
            return dropped


def _all_used(tree: Tree, folders: tuple[str, ...]) -> set[str]:
    return {name for path in tree if path.startswith(folders) and path.endswith(".py") for name in _used(tree[path])}


@functools.cache
def _used(data: bytes) -> frozenset[str]:
    """Return the names that source uses, from wherever they are."""
    text = data.decode()
    used = set(used_names(text))
    for node in ast.walk(parse(text)):
        if isinstance(node, ast.ImportFrom):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.arg):
            used.add(node.arg)
    return frozenset(used)


def _shown(page: str) -> Iterator[str]:
    """Yield the words of a page's blocks of Python, which show what a project's own parts may use."""
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        yield from words_of(block)


# ---- other files ----


def _prune_configs(kept: Tree, words: set[str]) -> None:
    """Drop the recipes of what is gone."""
    for path in [path for path in kept if path.startswith("configs/")]:
        named = set(re.findall(r"\bname:\s*(\w+)", kept[path].decode()))
        if named & words:
            del kept[path]


def _prune_pages(tree: Tree, kept: Tree, names: set[str], words: set[str], lost: list[str]) -> None:
    """Cut the pages, and drop those of which nothing is left, and the pictures that none shows."""
    classes = {word for word in words if word[:1].isupper()}
    for path in [path for path in kept if path.endswith(".ipynb") and words_of(kept[path].decode()) & classes]:
        del kept[path]
    pages = [path for path in kept if path.endswith(".md")]
    for path in (*pages, *pages):  # twice, as one links to another
        if path in kept:
            gone = {part for one in (*tree, *lost) if one not in kept for part in _with_folders(one, kept)}
            text = cut_page(kept[path].decode(), names, words, gone)
            kept[path] = text.encode()
            if not text.strip():
                del kept[path]
    shown = {name for path in kept if path.endswith(".md") for name in links(path, kept[path].decode())}
    for path in [path for path in kept if path.startswith("docs/pictures/") and path not in shown]:
        del kept[path]


def _with_folders(path: str, kept: Tree) -> Iterator[str]:
    """Yield a path that is gone, and those of its folders of which nothing is kept."""
    yield path
    parts = path.split("/")
    for i in range(1, len(parts)):
        folder = "/".join(parts[:i]) + "/"
        if not any(one.startswith(folder) for one in kept):
            yield folder


def _prune_settings(tree: Tree, kept: Tree) -> None:
    """Cut the folders that are gone from the settings, and the requirements that no source speaks of any more."""
    gone = {one.partition("/")[0] for one in tree} - {one.partition("/")[0] for one in kept}
    before, after = (b"\n".join(d for p, d in t.items() if p.endswith(".py") and p != "setup.py") for t in (tree, kept))
    for path in ("requirements.txt", "setup.py", "pyproject.toml"):
        if path in kept:
            text = cut_settings(kept[path].decode(), gone, [_stem(one) for one in kept if one.startswith("scripts/")])
            kept[path] = cut_requirements(text, before.decode(), after.decode()).encode()
