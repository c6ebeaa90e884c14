"""Python source without what is gone: cut at the lines and columns that `ast` gives, so that all else stays as it is.

A file loses the imports of what is gone, the entries of its tables that name it, and, if it holds tests, the functions
and constants that use it. A test that needs a task without using or naming it says so: `@pytest.mark.task("detect")`,
or `pytestmark` for all tests of a file. A file whose tests share a fixture that is gone (`autouse`) goes as well.
"""

import ast
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Literal = ast.List | ast.Tuple | ast.Set | ast.Dict
Edit = tuple[int, int, bytes]


@dataclass(frozen=True)
class Gone:
    """What a project does without."""

    modules: frozenset[str] = frozenset()  # dotted names
    symbols: frozenset[tuple[str, str]] = frozenset()  # (module, name) of what a module that stays has no more
    words: frozenset[str] = frozenset()  # names of tasks, heads, ... as strings have them
    paths: frozenset[str] = frozenset()  # of files and folders

    @functools.cached_property
    def mentioned(self) -> frozenset[str]:
        """Words of which a file that needs any of this has one."""
        names = {name for _, name in self.symbols} | {module.rpartition(".")[2] for module in self.modules}
        stems = {path.rpartition("/")[2].partition(".")[0] for path in self.paths}
        return frozenset(names | stems | self.words)

    def has(self, module: str, name: str = "") -> bool:
        """Whether a module is gone, or a name in it."""
        return module in self.modules or (module, name) in self.symbols or f"{module}.{name}" in self.modules


@dataclass
class Cut:
    """A file's source without what is gone, and the names at its top level that went."""

    text: str
    names: set[str] = field(default_factory=set)


SPREAD = re.compile(r"^(@pytest\.mark\.parametrize\()\n +(.*[^,\n])\n\)$", re.MULTILINE)  # over three lines


def _joined(call: re.Match[str]) -> str:
    """Return a decorator in one line if it fits there, as ruff has it."""
    line = f"{call[1]}{call[2]})"
    return line if len(line) <= 120 else call[0]


class StillUsed(Exception):
    """A function of a house uses what is gone: only a person can say what it should do instead."""


@functools.cache
def parse(text: str) -> ast.Module:
    """Return the tree of source."""
    return ast.parse(text)


@functools.cache
def words_of(text: str) -> frozenset[str]:
    """Return all words of a text."""
    return frozenset(re.findall(r"\w+", text))


def cut(text: str, gone: Gone, tests: bool = False, where: str = "") -> Cut:
    """Return source without what is gone; of tests, without the functions that use it as well.

    Raises:
        StillUsed: a function, and not a table or a test, uses what is gone.
    """
    names: set[str] = set()
    if not gone.mentioned & words_of(text):
        return Cut(text)
    while True:
        source = _Source(text, gone, tests, where, names)
        shorter = source.without_gone()
        names |= source.lost
        if source.needs_gone:
            return Cut("", names.union(*map(_bound, source.tree.body)))
        if shorter == text:
            return Cut(text.lstrip("\n"), names)  # where all imports of a first group went
        text = without_unused_imports(text, shorter)


class _Source:
    """One file, on its way to being shorter."""

    def __init__(self, text: str, gone: Gone, tests: bool, where: str, lost: set[str]) -> None:
        self.tree = parse(text)
        self.data = text.encode()
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.gone, self.tests, self.where = gone, tests, where
        self.lost = set(lost)
        self.edits: list[Edit] = []
        self.needs_gone = False  # every test here

    # ---- places ----

    def start(self, node: ast.AST) -> int:
        return self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        return self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    # ---- what is gone ----

    def without_gone(self) -> str:
        self.find_lost_imports()
        for statement in self.tree.body:
            self.visit(statement)
        return self.edited()

    def edited(self) -> str:
        """Return the source with the edits made; of edits that overlap, the longest insertion counts."""
        merged: list[Edit] = []
        for start, end, instead in sorted(self.edits):
            if merged and start < merged[-1][1]:
                before = merged.pop()
                start, end, instead = before[0], max(end, before[1]), max(instead, before[2], key=len)
            merged.append((start, end, instead))
        data = self.data
        for start, end, instead in reversed(merged):
            data = data[:start] + instead + data[end:]
        text = re.sub(r"\n{3,}(?=(?:import|from) )", "\n\n", data.decode())
        text = SPREAD.sub(lambda call: _joined(call) if self.edits else call[0], text)
        return text.strip("\n") + "\n" if text.strip() else ""

    def find_lost_imports(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                self.lost |= {a.asname or a.name for a in node.names if self.gone.has(node.module, a.name)}

    def visit(self, statement: ast.stmt) -> None:
        match statement:
            case ast.ImportFrom() | ast.Import():
                self.visit_import(statement)
            case (
                ast.Assign(value=ast.List() | ast.Tuple() | ast.Set() | ast.Dict() as value)
                | ast.AnnAssign(value=ast.List() | ast.Tuple() | ast.Set() | ast.Dict() as value)
            ):
                is_all = "__all__" in _bound(statement)
                if not self.visit_literal(value, is_all) and self.tests:
                    self.drop(statement)
            case ast.FunctionDef() if self.tests:
                self.visit_test(statement)
            case ast.If() if not statement.orelse and all(map(self.is_lost_import, statement.body)):
                self.drop(statement)
            case ast.If():
                for inner in statement.body:
                    if isinstance(inner, ast.ImportFrom | ast.Import):
                        self.visit_import(inner)
            case _ if self.tests and self.touches(statement):
                self.drop(statement)
        if not self.tests and not self.edits:
            self.check_use(statement)

    def check_use(self, statement: ast.stmt) -> None:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in self.lost and isinstance(node.ctx, ast.Load):
                raise StillUsed(f"{self.where}:{node.lineno} uses {node.id}, which is gone")
            if isinstance(node, ast.ImportFrom) and node.module and node is not statement:
                for alias in node.names:
                    if self.gone.has(node.module, alias.name):
                        raise StillUsed(f"{self.where}:{node.lineno} imports {node.module}, which is gone")

    def is_lost_import(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.ImportFrom) and node.module:
            return all(self.gone.has(node.module, alias.name) for alias in node.names)
        return isinstance(node, ast.Import) and all(self.gone.has(alias.name) for alias in node.names)

    def visit_import(self, node: ast.ImportFrom | ast.Import) -> None:
        module = node.module if isinstance(node, ast.ImportFrom) else None
        gone = [a for a in node.names if (self.gone.has(module, a.name) if module else self.gone.has(a.name))]
        if len(gone) == len(node.names):
            self.drop(node)
        else:
            self.drop_elements([(alias, alias) for alias in node.names], gone)

    def visit_literal(self, literal: Literal, is_all: bool = False) -> bool:
        """Cut the elements of a table that name what is gone; return whether any are left, or none were there."""
        elements = _elements(literal)
        gone = [first for first, last in elements if self.is_gone_entry(first, last, is_all)]
        if gone and len(gone) == len(elements) and self.tests:
            return False
        self.drop_elements(elements, gone, is_tuple=isinstance(literal, ast.Tuple))
        return True

    def is_gone_entry(self, first: ast.expr, last: ast.expr, is_all: bool) -> bool:
        if is_all:
            return isinstance(first, ast.Constant) and first.value in self.lost
        return self.touches(first) or (last is not first and self.touches(last))

    def visit_test(self, function: ast.FunctionDef) -> None:
        if any(self.touches(part) for part in (function.args, *function.body)):
            self.drop(function)
            return
        for decorator in function.decorator_list:
            if (
                isinstance(decorator, ast.Call)
                and ast.unparse(decorator.func).endswith("parametrize")
                and isinstance(values := decorator.args[1], ast.List | ast.Tuple)
            ):
                if not self.visit_literal(values):
                    self.drop(function)
                    return
            elif self.touches(decorator):
                self.drop(function)
                return

    def touches(self, node: ast.AST) -> bool:
        """Whether code uses or names what is gone."""
        docstrings = _docstrings(node)
        return any(self.is_gone(inner) for inner in ast.walk(node) if inner not in docstrings)

    def is_gone(self, node: ast.AST) -> bool:
        match node:
            case ast.Name(id=name) | ast.arg(arg=name):
                return name in self.lost
            case ast.Import():
                return any(self.gone.has(alias.name) for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                return any(self.gone.has(module, alias.name) for alias in node.names)
            case ast.Attribute():
                return _dotted(node) in self.gone.modules
            case ast.Constant(value=str(text)):
                return self.is_gone_text(text)
        return False

    def is_gone_text(self, text: str) -> bool:
        if text in self.gone.words:
            return True
        if not self.tests:
            return False
        words = set(re.split(r"[\s=,:;'\"\[\]{}()]+", text))
        module = re.match(r"[\w.]+", text)
        of_module = module is not None and "." in module[0] and not self.gone.modules.isdisjoint(packages(module[0]))
        is_setting = "--" in text or "name:" in text
        return of_module or bool(words & self.gone.paths) or (is_setting and bool(words & self.gone.words))

    # ---- cutting ----

    def drop(self, statement: ast.stmt) -> None:
        """Cut a statement with its decorators, the comment right above it, and blank lines on one side."""
        self.lost |= set(_bound(statement))
        decorators = getattr(statement, "decorator_list", [])
        self.needs_gone |= "pytestmark" in _bound(statement) or "autouse=True" in "".join(map(ast.unparse, decorators))
        first = min(node.lineno for node in (statement, *decorators)) - 1
        last = statement.end_lineno or first  # exclusive
        lines = self.data.splitlines(keepends=True)
        while first > 0 and lines[first - 1].startswith(b"#") and not lines[first - 1].startswith((b"#!", b"# ----")):
            first -= 1
        above, below = first, last
        while above > 0 and not lines[above - 1].strip():
            above -= 1
        while below < len(lines) and not lines[below].strip():
            below += 1
        blank = max(first - above, below - last) if below < len(lines) and above > 0 else 0
        self.edits.append((self.starts[above], self.starts[below], b"\n" * blank))

    def drop_elements(
        self, elements: Sequence[tuple[ast.AST, ast.AST]], gone: Sequence[ast.AST], is_tuple: bool = False
    ) -> None:
        """Cut elements of a literal or names of an import, each with its comma."""
        kept = [last for first, last in elements if first not in gone]
        comma = b"," if is_tuple and len(kept) == 1 else b""
        for i, (first, last) in enumerate(elements):
            if first not in gone:
                continue
            start, end = self.start(first), self.end(last)
            if getattr(first, "is_spread", False):
                start = self.data.rindex(b"**", 0, start)
            line_start = self.data.rindex(b"\n", 0, start) + 1
            line_end = self.data.index(b"\n", end)
            if not self.data[line_start:start].strip() and re.fullmatch(rb",\s*(#.*)?", self.data[end:line_end]):
                self.edits.append((line_start, line_end + 1, b""))  # whole lines
            elif i + 1 < len(elements):
                self.edits.append((start, self.start(elements[i + 1][0]), b""))
            elif kept:
                self.edits.append((self.end(kept[-1]), end, comma))
            else:
                alone = re.match(rb",?", self.data[end:])  # a tuple's only element has a comma
                self.edits.append((start, end + len(alone[0] if alone else b""), b""))
        if gone and comma and elements[-1][0] not in gone and self.data[self.end(kept[0]) :].startswith(b")"):
            self.edits.append((self.end(kept[0]), self.end(kept[0]), comma))


def _elements(literal: Literal) -> list[tuple[ast.expr, ast.expr]]:
    """Return the first and the last part of each element: of a dictionary key and value, else the same."""
    if isinstance(literal, ast.Dict):
        pairs = []
        for key, value in zip(literal.keys, literal.values, strict=True):
            if key is None:
                value.is_spread = True  # type: ignore[attr-defined]
            pairs.append((key or value, value))
        return pairs
    return [(element, element) for element in literal.elts]


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement at the top level binds."""
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            for target in targets:
                yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name for alias in names)


def _docstrings(node: ast.AST) -> set[ast.AST]:
    found: set[ast.AST] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant):
            found.add(inner.value)
    return found


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


# ---- imports ----


def packages(name: str) -> Iterator[str]:
    """Yield a dotted name's packages, from the outermost, and itself; a single word is none."""
    parts = name.split(".")
    yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


def _free_names(node: ast.AST, own: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the names that code reads, but for the parameters of the function around it."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in own:
        yield node.id
    for field_name, value in ast.iter_fields(node):
        inner = own
        if isinstance(node, ast.FunctionDef) and field_name == "body":
            inner = own | {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.AST):
                yield from _free_names(part, inner)


@functools.cache
def used_names(text: str) -> frozenset[str]:
    """Return the names that source uses, other than by importing them."""
    tree = parse(text)
    used = set(_free_names(tree))
    for node in ast.walk(tree):
        quoted: list[ast.AST | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            quoted = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            quoted = [node.returns]
        elif isinstance(node, ast.Assign) and "__all__" in _bound(node):
            quoted = [node.value]
        elif isinstance(node, ast.Call) and _dotted(node.func).endswith("cast"):
            quoted = [node.args[0]]
        for part in quoted:
            for inner in ast.walk(part) if part else ():
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    used |= set(re.findall(r"[A-Za-z_]\w*", inner.value))
    return frozenset(used)


def without_unused_imports(before: str, after: str) -> str:
    """Return `after` without the imports that `before` used and `after` does not."""
    unused = used_names(before) - used_names(after)
    source = _Source(after, Gone(), False, "", set())
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            gone: list[ast.AST] = [a for a in node.names if (a.asname or a.name.partition(".")[0]) in unused]
            if len(gone) == len(node.names) and node in source.tree.body:
                source.drop(node)
            elif gone and len(gone) < len(node.names):
                source.drop_elements([(alias, alias) for alias in node.names], gone)
    return source.edited()


def imports(text: str, known: Mapping[str, str]) -> Iterator[str]:
    """Yield those of the known modules that source imports, by an import or by a name in quotes, and their packages."""
    yield from (name for name in _imported(text) if name in known)


@functools.cache
def _imported(text: str) -> frozenset[str]:
    names: list[str] = []
    for node in ast.walk(parse(text)):
        found: Iterable[str] = ()
        if isinstance(node, ast.Import):
            found = (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found = (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            found = (node.value,)
        names += found
    return frozenset(part for name in names for part in packages(name))


def defined(statement: ast.stmt) -> Iterator[str]:
    """Yield the names of a function, a class or a constant; none of other statements."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign | ast.AugAssign):
        yield from _bound(statement)


def without_definitions(text: str, names: Iterable[str]) -> str:
    """Return source without what defines these names at its top level, and the imports that only that used."""
    source = _Source(text, Gone(), False, "", set())
    for node in source.tree.body:
        own = set(defined(node))
        if own and own <= set(names):
            source.drop(node)
    return without_unused_imports(text, source.edited())
