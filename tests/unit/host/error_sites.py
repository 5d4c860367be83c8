"""Every place in rum.host that makes an error for people, read from the source: its class, its text, its hint."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
SOURCES = sorted((CHECKOUT / "rum/host").rglob("*.py"))

UNSEEN = {
    "NotReadyError",
    "RefusedError",
    "RangeRefusedError",
    "CidInUseError",
    "EndingError",
}
"""Taken by whoever tries again; at most they become a clause of another sentence."""

FAMILIES = {"ConfigError": "config", "HostError": "host", "GuestError": "guest", "RumError": "internal"}

PASSES_ON = {"str", "repr", "len", "sorted", "show_size", "seconds", "shortened", "quote", "_spelled", "spelled"}
"""Functions that show their argument in another form."""

ERRNO = "reason"
"""What the operating system says: `strerror`."""


@dataclass(frozen=True)
class Site:
    """One construction of an error. `where`: file and line; `hint` is None where there is none."""

    kind: str
    code: str | None
    text: str
    hint: str | None
    where: str


@functools.cache
def class_tree() -> dict[str, str]:
    """Every class of rum.host that is an error for people, with its base."""
    bases = {
        node.name: ast.unparse(node.bases[0])
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef) and node.bases
    }
    return {name: base for name, base in bases.items() if root_of(name, bases) == "RumError"}


@functools.cache
def class_values(attribute: str) -> dict[str, str]:
    """What every class has for a text attribute: its own, or its base's."""
    tree = class_tree()
    own = {
        node.name: ast.literal_eval(statement.value)
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == attribute
    }

    def value(name: str) -> str:
        return own.get(name) or (value(tree[name]) if name in tree else "")

    return {name: value(name) for name in tree}


def class_codes() -> dict[str, str]:
    """The code of every kind."""
    codes = class_values("code")
    return {**codes, "UsageError": codes["ConfigError"], "interrupted": "interrupted"}


def family_of(site: Site) -> str:
    """Which of the page's tables it is in."""
    tree = class_tree()
    name = "ConfigError" if site.kind == "UsageError" else site.kind
    while tree.get(name, "RumError") not in ("RumError", "Exception"):
        name = tree[name]
    return FAMILIES.get(name, "run")


def root_of(name: str, bases: dict[str, str]) -> str:
    while name in bases and name != "RumError":
        name = bases[name]
    return name


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@functools.cache
def sites() -> tuple[Site, ...]:
    """All of them, in the order of the source."""
    return tuple(found_sites())


def found_sites() -> Iterator[Site]:
    for path in SOURCES:
        tree = parsed(path)
        for function, call in calls(tree):
            scope = Scope(tree, function, call.lineno)
            kind = kind_of(call, scope)
            if kind and call.args:
                site = read(kind, call, scope, f"{path.relative_to(CHECKOUT)}:{call.lineno}")
                if site.kind != "Outcome" or site.code:
                    yield site


def kind_of(call: ast.Call, scope: Scope) -> str | None:
    """The class that a call makes one of, also where a variable holds the class."""
    kinds = {*class_tree(), "UsageError", "Outcome", "interrupted"} - UNSEEN
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    if name in kinds:
        # `interrupted` itself makes an Outcome of what it is given.
        return None if isinstance(scope.function, ast.FunctionDef) and scope.function.name in kinds else name
    held = scope.value(name)
    return (
        next((node.id for node in ast.walk(held) if isinstance(node, ast.Name) and node.id in kinds), None)
        if held
        else None
    )


@functools.cache
def said_by_classes() -> dict[str, tuple[str, str | None]]:
    """The text and the hint of the classes that make their text themselves."""
    found = {}
    for node in (node for path in SOURCES for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)):
        for call in (call for call in ast.walk(node) if isinstance(call, ast.Call)):
            if ast.unparse(call.func) == "super().__init__" and call.args and isinstance(call.args[0], ast.JoinedStr):
                scope = Scope(node, node, call.lineno)
                hint = next((keyword.value for keyword in call.keywords if keyword.arg == "hint"), None)
                found[node.name] = (scope.spelled(call.args[0]), scope.spelled(hint) if hint else None)
    return found


def calls(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Every call with the function that it is in."""

    def walk(node: ast.AST, function: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield function, child
            inside = child if isinstance(child, ast.FunctionDef) else function
            yield from walk(child, inside)

    yield from walk(tree, tree)


def read(kind: str, call: ast.Call, scope: Scope, where: str) -> Site:
    """What a call says."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    text = scope.spelled(call.args[0])
    hint = given.get("hint")
    code = given.get("code")
    if kind == "Outcome":
        code = call.args[2] if len(call.args) > 2 else code
        hint = call.args[3] if len(call.args) > 3 else hint
    elif kind == "interrupted":
        hint = call.args[1] if len(call.args) > 1 else hint
    spelled_code = code.value if isinstance(code, ast.Constant) else None
    spelled_hint = None if hint is None else scope.spelled(hint)
    text, spelled_hint = said_by_classes().get(kind, (text, spelled_hint))
    advice = class_values("advice").get(kind)
    return Site(kind, None if spelled_code is None else str(spelled_code), text, spelled_hint or advice or None, where)


@dataclass(frozen=True)
class Scope:
    """A function, in which names may stand for texts, up to a line of it."""

    module: ast.AST
    function: ast.AST
    line: int

    def spelled(self, node: ast.expr) -> str:
        """An expression as people see it: what is filled in stands in braces."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.Constant(value=None):
                return ""
            case ast.JoinedStr(values=values):
                return "".join(map(self.part, values))
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.spelled(left) + self.spelled(right)
            case ast.Name(id=name) if (assigned := self.assigned(name)) is not None:
                return self.spelled(assigned)
            case ast.IfExp(body=body, orelse=orelse):
                return " / ".join(filter(None, (self.spelled(body), self.spelled(orelse))))
            case _:
                return f"{{{named(node)}}}"

    def part(self, part: ast.expr) -> str:
        """A part of an f-string; a text that was put together before is spelled out."""
        match part:
            case ast.FormattedValue(value=ast.Name(id=name)) if isinstance(self.assigned(name), ast.JoinedStr):
                return self.spelled(part.value)
            case ast.FormattedValue(value=value):
                return f"{{{named(value)}}}"
            case _:
                return self.spelled(part)

    def assigned(self, name: str) -> ast.expr | None:
        """The text that a name stands for."""
        found = self.value(name)
        is_text = isinstance(found, ast.Constant) and isinstance(found.value, str)
        return found if is_text or isinstance(found, ast.JoinedStr | ast.IfExp) or is_remedy(found) else None

    def value(self, name: str) -> ast.expr | None:
        """What a name was last given before that line, in the function or the module."""
        found = None
        for node in [*ast.iter_child_nodes(self.module), *ast.walk(self.function)]:
            if isinstance(node, ast.Assign) and name in names_of(node.targets[0]) and node.lineno < self.line:
                found = node.value
        match found:
            case ast.Call(func=ast.Attribute(value=ast.JoinedStr() as text, attr="rstrip")):
                return text
        return found


def is_remedy(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("remedies.")


def names_of(target: ast.expr) -> list[str]:
    return [target.id] if isinstance(target, ast.Name) else []


def named(node: ast.expr) -> str:
    """A word for what is filled in."""
    match node:
        case ast.Attribute(attr="strerror") | ast.Name(id="exc"):
            return ERRNO
        case ast.Attribute(attr=attr):
            return attr.strip("_")
        case ast.Name(id=name):
            return name.strip("_").lower()
        case ast.Call():
            return named_call(node)
        case ast.IfExp(body=ast.Constant(value=str(one)), orelse=ast.Constant(value=str(other))):
            return f"{one}/{other}"
    if isinstance(node, ast.JoinedStr):
        return "command"
    if isinstance(node, ast.BoolOp):
        return named(node.values[0])
    inner = next((getattr(node, field) for field in ("value", "left", "elt", "body") if hasattr(node, field)), None)
    return named(inner) if isinstance(inner, ast.expr) else ast.unparse(node)


def named_call(call: ast.Call) -> str:
    """What a call comes to: the word for its argument, or the function's."""
    match call:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="remedies"), attr=attr)):
            return f"remedies.{attr}"
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=key), *_]):
            return str(key)
        case ast.Call(func=ast.Attribute(attr="join" | "get"), args=[first, *_]):
            return named(first)
        case ast.Call(func=ast.Name(id="map"), args=[_, first]):
            return named(first)
        case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in PASSES_ON:
            return named(first)
        case ast.Call(func=ast.Attribute(value=value, attr="strip" | "decode" | "format")):
            return named(value)
    return named(call.func)
