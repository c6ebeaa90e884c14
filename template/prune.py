"""The template without what a project did not ask for: kept is what the kept entries of its registries reach."""

import ast
import functools
import re
from collections.abc import Iterator

from template.pages import cut_page, cut_requirements, cut_settings, links
from template.parts import FEATURES, NEED, TEMPLATES_OWN, Catalogue, Tree, module_of, modules, read_catalogue, suits
from template.source import Gone, cut, imports, parse, used_names, without_functions, words_of

TABLES = ("engine/files/layouts.py", "engine/files/listing.py")  # of the engine, which name tasks
HOUSES = ("project/", "engine/", "scripts/", "benchmarks/")


def prune(tree: Tree, tasks: list[str], backbones: list[str], without: list[str]) -> Tree:
    """Return the files of a project of these tasks and backbones, without these features."""
    catalogue = read_catalogue(tree)
    without = [*without, *(feature for feature, task in NEED.items() if task not in tasks and feature not in without)]
    words, symbols = _dropped(catalogue, tasks, backbones)
    gone_paths = (*TEMPLATES_OWN, *(path for feature in without for path in FEATURES[feature]))
    kept = {path: data for path, data in tree.items() if not path.startswith(gone_paths) and not _is_of(path, words)}
    lost = _prune_houses(tree, kept, words, symbols)
    _prune_configs(kept, words)
    names = {*tasks, *catalogue.heads_for(tasks), *catalogue.data_for(tasks), *backbones, *set(FEATURES) - set(without)}
    names |= {_stem(path) for path in kept if path.startswith("scripts/")}
    _prune_pages(tree, kept, names, words | set(without) | {symbol for _, symbol in symbols})
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
    while True:
        known = modules(kept)
        missing = frozenset(all_modules) - frozenset(known)
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
        unreached = (set(known) & before) - _reached(kept)
        for module in unreached:
            del kept[known[module]]
        if not changed and not unreached:
            return lost


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
    _drop_unused_helpers(tree, kept)


def _page_name(path: str) -> str:
    return path.rpartition("/")[2] if re.fullmatch(r"(?:docs|tests/fixtures|configs(?:/defaults)?)/[^/]+", path) else ""


def _tests(tree: Tree) -> list[str]:
    return [path for path in tree if path.startswith("tests/") and path.endswith(".py")]


def _drop_unused_helpers(tree: Tree, kept: Tree) -> None:
    """Cut functions and constants of tests that were used and are not any more."""
    used_before = {name for path in _tests(tree) for name in _used(tree[path])}
    while True:
        unused = used_before - {name for path in _tests(kept) for name in _used(kept[path])}
        changed = False
        for path in _tests(kept):
            text = kept[path].decode()
            own = {
                node.name: node
                for node in parse(text).body
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("test_")
            }
            dead = unused & set(own)
            if dead:
                kept[path] = without_functions(text, dead).encode()
                changed = True
        if not changed:
            return


@functools.cache
def _used(data: bytes) -> frozenset[str]:
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


# ---- other files ----


def _prune_configs(kept: Tree, words: set[str]) -> None:
    """Drop the recipes of what is gone."""
    for path in [path for path in kept if path.startswith("configs/")]:
        named = set(re.findall(r"\bname:\s*(\w+)", kept[path].decode()))
        if named & words:
            del kept[path]


def _prune_pages(tree: Tree, kept: Tree, names: set[str], words: set[str]) -> None:
    """Cut the pages, and drop those of which nothing is left, and the pictures that none shows."""
    classes = {word for word in words if word[:1].isupper()}
    for path in [path for path in kept if path.endswith(".ipynb") and words_of(kept[path].decode()) & classes]:
        del kept[path]
    pages = [path for path in kept if path.endswith(".md")]
    for path in (*pages, *pages):  # twice, as one links to another
        if path in kept:
            gone = {part for one in tree if one not in kept for part in _with_folders(one, kept)}
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
