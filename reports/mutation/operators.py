"""Faults: every place in a module's syntax tree where one can be planted, and the tree with one of them in it.

A fault changes one expression or statement: an integer constant by one, a truth value, a comparison (boundary,
negated), `+` and `−`, `<<` and `>>`, `&` and `|`, `·` to `+`, `and` and `or`, an inversion or a minus sign taken away,
the arms of a choice (`Mux`, a conditional expression, `min` and `max`, `any` and `all`), an `m.If` negated or always
true, an assignment (`.eq`) or a state's successor (`m.next`) left out. No fault is planted in what is not arithmetic
or control: documentation, types, decorators, messages, and checks that refuse a parameter (`__post_init__`,
`if …: raise`).
"""

import ast
import hashlib
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARKER = "__planted__"
"""Name of the function that a planted expression passes through: one never run is told from one without effect."""
CHECKS = ("__post_init__", "_check", "check_")
"""How functions that only refuse parameters begin."""
OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Mult: ast.Add,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
COMPARISONS: dict[type[ast.AST], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}
EXCHANGED = {"min": "max", "max": "min", "any": "all", "all": "any"}
NOT_ARITHMETIC = {
    "strict",
    "cache",
    "nogil",
    "inline",
    "name",
    "domain",
    "slots",
    "frozen",
    "kw_only",
    "copy",
}
"""Keyword arguments that decide nothing about a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One fault."""

    path: str
    """File, from the project's root, with `/`."""
    number: int
    """Place among the faults of the file."""
    line: int
    kind: str
    """What was done, in a word or two."""
    before: str
    after: str
    key: str
    """Hash of the file's code, whatever its documentation and layout, and of the fault."""

    @property
    def module(self) -> str:
        """Dotted name of the file's module."""
        return self.path.removesuffix(".py").replace("/", ".")

    @property
    def change(self) -> str:
        """One line that says it."""
        return f"{self.kind}: {self.before} → {self.after}" if self.after else f"{self.kind}: {self.before}"


@dataclass(frozen=True, slots=True)
class Site:
    """A node, what takes its place, and what to call that."""

    node: ast.AST
    replacement: ast.AST
    kind: str
    after: str


def mutants(root: Path, path: str) -> list[Mutant]:
    """Every fault of the file `path` below `root`, in the order of the text."""
    text = (root / path).read_text()
    code, found = ast.dump(_Undocumented().visit(ast.parse(text))), []
    for number, site in enumerate(_sites(ast.parse(text))):
        before = _brief(ast.unparse(site.node))
        identity = f"{path}\n{number}\n{site.kind}\n{before}\n{site.after}\n{code}"
        found.append(
            Mutant(
                path=path,
                number=number,
                line=getattr(site.node, "lineno", 0),
                kind=site.kind,
                before=before,
                after=site.after,
                key=hashlib.sha256(identity.encode()).hexdigest()[:16],
            )
        )
    return found


def planted(text: str, number: int, *, marked: bool = True) -> ast.Module:
    """Syntax tree of the module `text` with its fault `number` in it, `marked` or as a compiler takes it."""
    tree = ast.parse(text)
    site = list(_sites(tree))[number]
    changed: ast.Module = _Planter(site).visit(tree)
    return ast.fix_missing_locations(changed if marked else _Unmarked().visit(changed))


class _Undocumented(ast.NodeTransformer):
    """Leaves out what is only a string."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else node


class _Unmarked(ast.NodeTransformer):
    """Leaves out the marks."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        return node.args[0] if isinstance(node.func, ast.Name) and node.func.id == MARKER else node


class _Planter(ast.NodeTransformer):
    def __init__(self, site: Site) -> None:
        self.site = site

    def visit(self, node: ast.AST) -> Any:
        if node is not self.site.node:
            return self.generic_visit(node)
        return ast.copy_location(self.site.replacement, node)


def _sites(node: ast.AST) -> Iterator[Site]:
    """Faults of `node` and of what is below it; docstrings are the only strings and have none."""
    yield from _faults(node)
    for name, value in ast.iter_fields(node):
        if name in ("decorator_list", "annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _exempt(child):
                yield from _sites(child)


def _exempt(node: ast.AST) -> bool:
    """Whether nothing is planted in `node`."""
    if isinstance(node, ast.FunctionDef):
        return node.name.startswith(CHECKS)
    if isinstance(node, ast.keyword):
        return node.arg in NOT_ARITHMETIC
    if isinstance(node, ast.If):
        return all(isinstance(statement, ast.Raise) for statement in node.body)
    if isinstance(node, ast.Call):
        return _called(node).startswith(CHECKS)
    return isinstance(node, (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.arguments))


def _faults(node: ast.AST) -> Iterator[Site]:
    if isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Compare):
        yield from _comparisons(node)
    elif isinstance(node, (ast.BinOp, ast.BoolOp)):
        other = OPERATORS.get(type(node.op))
        if other is not None:
            yield _changed(node, "operator", op=other())
    elif isinstance(node, ast.AugAssign):
        yield from _augmented(node)
    elif isinstance(node, ast.UnaryOp):
        if not isinstance(node.operand, ast.Constant):
            yield _site(node, node.operand, "sign or inversion left out")
    elif isinstance(node, ast.IfExp):
        yield _changed(node, "arms exchanged", body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Assign) and _is_next(node.targets[0]):
        value = _marked(ast.Constant(None))
        yield Site(node, ast.Expr(value), "state's successor left out", "")


def _constants(node: ast.Constant) -> Iterator[Site]:
    if isinstance(node.value, bool):
        yield _site(node, ast.Constant(not node.value), "truth value")
    elif isinstance(node.value, int):
        for step in (1, -1):
            yield _site(node, ast.Constant(node.value + step), "constant")


def _comparisons(node: ast.Compare) -> Iterator[Site]:
    if len(node.ops) == 1:
        for other in COMPARISONS.get(type(node.ops[0]), ()):
            yield _changed(node, "comparison", ops=[other()])
        return
    for n, op in enumerate(node.ops):
        for other in COMPARISONS.get(type(op), ())[:1]:
            yield _changed(node, "comparison", ops=[*node.ops[:n], other(), *node.ops[n + 1 :]])


def _augmented(node: ast.AugAssign) -> Iterator[Site]:
    """`m.d.sync += …` adds statements, not numbers."""
    other = OPERATORS.get(type(node.op))
    if other is None or "m.d." in ast.unparse(node.target):
        return
    changed = deepcopy(node)
    changed.op = other()  # type: ignore[assignment]
    after = _brief(ast.unparse(changed))
    changed.value = _marked(changed.value)
    yield Site(node, changed, "operator", after)


def _calls(node: ast.Call) -> Iterator[Site]:
    name = _called(node)
    if name == "Mux" and len(node.args) == 3:
        choice, one, other = node.args
        yield _changed(node, "arms exchanged", args=[choice, other, one])
    elif name in EXCHANGED:
        function = deepcopy(node.func)
        if isinstance(function, ast.Attribute):
            function.attr = EXCHANGED[name]
        elif isinstance(function, ast.Name):
            function.id = EXCHANGED[name]
        yield _changed(node, "choice", func=function)
    elif name in ("If", "Elif") and isinstance(node.func, ast.Attribute):
        condition = node.args[0]
        negated = ast.Compare(condition, [ast.Eq()], [ast.Constant(0)])
        yield _site(condition, negated, "condition negated")
        yield Site(condition, _marked(ast.Constant(1)), f"{name} condition left out", "")
    elif name == "eq" and isinstance(node.func, ast.Attribute) and len(node.args) == 1:
        yield Site(node, _marked(ast.List([], ast.Load())), "assignment left out", "")


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _is_next(target: ast.AST) -> bool:
    return isinstance(target, ast.Attribute) and target.attr == "next"


def _changed(node: ast.expr, kind: str, **fields: object) -> Site:
    """`node` with other fields."""
    changed = deepcopy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return _site(node, changed, kind)


def _site(node: ast.AST, replacement: ast.expr, kind: str) -> Site:
    return Site(node, _marked(replacement), kind, _brief(ast.unparse(replacement)))


def _marked(expression: ast.expr) -> ast.expr:
    """The expression, passed through the marker."""
    return ast.Call(ast.Name(MARKER, ast.Load()), [deepcopy(expression)], [])


def _brief(text: str, length: int = 72) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
