"""Which keywords a method of somebody else's reads, where its signature ends in ``**kwargs``."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FURTHEST = 8
"""Calls that are followed, one out of the other."""


class Keywords(NamedTuple):
    """What is known of the keywords of a method.

    Attributes:
        names: Those that it reads: its parameters, what it takes out of its ``**kwargs``, and the same of the methods
            that it passes these on to.
        closed: There are no others. Where it is false, ``**kwargs`` go to where they cannot be followed.
    """

    names: frozenset[str]
    closed: bool

    @classmethod
    def of(cls, method: Callable[..., Any]) -> Keywords:
        """Read a bound method's signature and source, and those of what it calls with its ``**kwargs``."""
        names: set[str] = set()
        closed = True
        waiting: list[tuple[Callable[..., Any], frozenset[str]]] = [(method, frozenset())]
        seen: set[Callable[..., Any]] = set()
        while waiting and len(seen) < _FURTHEST:
            bound, given = waiting.pop()
            function = inspect.unwrap(getattr(bound, "__func__", bound))
            if function in seen:
                continue
            seen.add(function)
            source = _source(function)
            if source is None:
                closed = False
                continue
            names |= source.names - given
            closed &= source.followed
            for call in source.calls:
                called = _called(call, function, getattr(bound, "__self__", None), source.owner)
                if called is None:
                    closed = False
                else:
                    # What it is given by name cannot come by ``**kwargs`` as well: that is a ``TypeError``.
                    waiting.append((called, given | {each.arg for each in call.keywords if each.arg}))
        return cls(frozenset(names), closed and not waiting)


class _Source(NamedTuple):
    """What the source of one function says.

    Attributes:
        names: The keywords that it reads itself.
        calls: Those to which it passes its ``**kwargs``.
        followed: It does nothing else with them.
        owner: What it calls its own object.
    """

    names: frozenset[str]
    calls: tuple[ast.Call, ...]
    followed: bool
    owner: str | None


@lru_cache(maxsize=256)
def _source(function: Callable[..., Any]) -> _Source | None:
    """Return what a function's source says; ``None`` where there is no source."""
    try:
        parameters = inspect.signature(function).parameters.values()
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, ValueError, SyntaxError):
        return None
    names = {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    owner = next((each.name for each in parameters), None)
    rest = next((each.name for each in parameters if each.kind is each.VAR_KEYWORD), None)
    calls: list[ast.Call] = []
    followed = True
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for use in ast.walk(tree):
        if not isinstance(use, ast.Name) or use.id != rest:
            continue
        above = parents[use]
        if (name := _taken(use, above, parents)) is not None:
            names.add(name)
        elif isinstance(above, ast.keyword) and above.arg is None and isinstance(parents[above], ast.Call):
            calls.append(parents[above])  # type: ignore[arg-type]  # seen in the line above
        else:
            followed = False
    return _Source(frozenset(names), tuple(calls), followed, owner)


def _taken(use: ast.Name, above: ast.AST, parents: dict[ast.AST, ast.AST]) -> str | None:
    """Return the keyword that is taken out of ``**kwargs``, or asked for, by its name as it stands there."""
    match above:
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case ast.Compare(left=ast.Constant(value=str(name)), comparators=[only]) if only is use:
            return name
        case ast.Attribute(attr="get" | "pop" | "setdefault"):
            call = parents[above]
            if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant):
                return str(call.args[0].value)
    return None


def _called(call: ast.Call, function: Callable[..., Any], owner: Any, name: str | None) -> Callable[..., Any] | None:
    """Return the method that is called, itself or by another function or thread that is given it."""
    classes = function.__qualname__.split(".")[-2:-1]
    private = f"_{classes[0].lstrip('_')}" if classes else ""
    for expression in (call.func, *call.args):
        path = list(_path(expression))
        if len(path) > 1 and path[0] in (name, "super()"):
            try:
                found = owner if path[0] == name else super(_class_of(function, owner), owner)
                for step in path[1:]:
                    found = getattr(found, f"{private}{step}" if step.startswith("__") else step)
            except Exception:  # noqa: BLE001, S112 - a property of somebody else's: then it is not known
                continue
            if inspect.ismethod(found):
                return found
    return None


def _path(expression: ast.expr) -> Iterator[str]:
    """Yield the names of ``self.client.search``, or of ``super().search``; of anything else, none."""
    match expression:
        case ast.Name(id=name):
            yield name
        case ast.Call(func=ast.Name(id="super")):
            yield "super()"
        case ast.Attribute(value=value, attr=name):
            yield from _path(value)
            yield name


def _class_of(function: Callable[..., Any], owner: Any) -> type:
    """Return the class in which a method is defined."""
    qualified = function.__qualname__.rpartition(".")[0]
    return next(each for each in type(owner).__mro__ if each.__qualname__ == qualified)
