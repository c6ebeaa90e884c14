"""Outlines of a project's parts, read from their source, so that --help and a misspelt flag need not wait for torch.

An outline is an empty class with the original's parents, docstring and constructor signature. If the source alone
does not tell a part's options, `Unclear` is raised, and the project has to be imported.
"""

import ast
import builtins
import copy
import dataclasses
import functools
import importlib
import sys
from pathlib import Path
from typing import Any

from engine.contract.parts import Parts

ROOT = Path(__file__).parents[2]  # the folder of engine/ and the project


class Unclear(Exception):
    """The source alone does not tell: import the project."""


class _Namespace(type):
    def __getattr__(cls, name: str) -> type["Outside"]:
        if name.startswith("_"):
            raise AttributeError(name)
        return Outside


class Outside(metaclass=_Namespace):
    """Stand-in for a parent class or parameter type from another package, which is not imported."""


def parts_in_source(project: str) -> Parts:
    """Return outlines of the parts that a project's `__init__.py` hands over.

    Raises:
        Unclear: the source does not tell.
    """
    optim = "engine.contract.optim"
    options = {"optimisers": outline(optim, "OPTIMISERS"), "training_options": outline(optim, "training_options")}
    call = _handed_over(project)
    options |= {str(keyword.arg): _value(keyword.value, project) for keyword in call.keywords}
    own = Parts(*(_value(argument, project) for argument in call.args), **options)
    for registry in (own.backbones, own.heads, own.tasks, own.data, own.optimisers):
        for name, part in registry.items():
            if isinstance(part, type) and all(vars(kind).get("passes_on", True) for kind in part.__mro__):
                raise Unclear(f"{name} has options of another package's class")
    return dataclasses.replace(own, find_backbone=own.backbones.__getitem__)


def _handed_over(project: str) -> ast.Call:
    for statement in _tree(project).body:
        match statement:
            case ast.Expr(ast.Call(ast.Name("hand_over"), [ast.Call(ast.Name("Parts")) as call])):
                return call
    raise Unclear(f"{project} hands over no Parts(...)")


def outline(module: str, name: str) -> Any:
    """Return what a name means in a module: an outline of ours, the object if it is Python's, else `Outside`.

    Raises:
        Unclear: only running the module would tell.
    """
    if _file(module) is None:
        is_pythons = module.partition(".")[0] in sys.stdlib_module_names
        return getattr(importlib.import_module(module), name) if is_pythons else Outside
    return _outline(module, name)


@functools.cache
def _outline(module: str, name: str) -> Any:
    if name == "__file__":
        return str(_file(module))
    statement, alias = _bound(module).get(name, (None, ""))
    if isinstance(statement, ast.ImportFrom) and statement.module is not None and not statement.level:
        return outline(statement.module, alias)
    if isinstance(statement, ast.Import):
        return importlib.import_module(alias) if alias in sys.stdlib_module_names else Outside
    if isinstance(statement, ast.FunctionDef):
        return _function(statement, module)
    if isinstance(statement, ast.ClassDef):
        return _class(statement, module)
    if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
        return _value(statement.value, module)
    raise Unclear(f"{name} in {module}")


def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _tree(module: str) -> ast.Module:
    file = _file(module)
    if file is None:
        raise Unclear(f"there is no source of {module} in {ROOT}")
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def _bound(module: str) -> dict[str, tuple[ast.stmt, str]]:
    """Return the statement that binds each name of a module, and for an import the imported name."""
    bound: dict[str, tuple[ast.stmt, str]] = {}
    for statement in _tree(module).body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            bound |= {alias.asname or alias.name: (statement, alias.name) for alias in statement.names}
        elif isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            bound[statement.name] = (statement, "")
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            bound |= dict.fromkeys(_assigned(statement), (statement, ""))
    return bound


def _assigned(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _names(node: ast.AST, module: str) -> dict[str, Any]:
    """Return the meaning of each name in a piece of source."""
    used = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    return {name: outline(module, name) for name in used if name in _bound(module) or not hasattr(builtins, name)}


def _value(expression: ast.expr, module: str) -> Any:
    return eval(compile(ast.Expression(expression), module, "eval"), _names(expression, module))


def _function(function: ast.FunctionDef, module: str) -> Any:
    """Return an empty function with the same signature and docstring."""
    if function.decorator_list:
        raise Unclear(f"{function.name} in {module} is decorated")
    empty = copy.copy(function)
    empty.returns = None
    empty.body = [ast.Expr(ast.Constant(ast.get_docstring(function) or ...))]
    names = _names(empty, module)
    exec(compile(ast.fix_missing_locations(ast.Module([empty], [])), module, "exec"), names)
    return names[function.name]


def _class(node: ast.ClassDef, module: str) -> type:
    """Return an empty class with the same constructor, `asked`, `formats` and parents of ours."""
    parents = [_value(base, module) for base in node.bases]
    ours = tuple(parent for parent in parents if parent is not Outside)
    if node.decorator_list or node.keywords:
        raise Unclear(f"{node.name} in {module}")
    inner: dict[str, Any] = {"__doc__": ast.get_docstring(node), "passes_on": True}
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            inner["__init__"] = _function(statement, module)
            inner["passes_on"] = statement.args.vararg is not None or statement.args.kwarg is not None
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value:
            for name in {"asked", "formats"} & set(_assigned(statement)):
                inner[name] = _value(statement.value, module)
            if "input_type" in _assigned(statement) and ast.unparse(statement.value) != "ImageInput":
                raise Unclear(f"{node.name} in {module} has an input whose options follow from the data")
    if inner["passes_on"] and ours and len(ours) < len(parents):
        raise Unclear(f"{node.name} in {module} may pass options on to a class that is not seen")
    return type(node.name, ours, inner)
