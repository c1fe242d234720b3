"""Groups whose commands are imported when they are called: asking for one does not wait for what all the others need."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


@dataclass(frozen=True)
class Lazy:
    """A command, or a group of them, that is not imported yet.

    ``where`` is ``module:attribute``, a function or a typer app; ``cls`` names the function's class of command in that
    module, where it has one. ``line`` is what the group's help shows: the first paragraph of the command's own help.
    """

    name: str
    where: str
    line: str
    cls: str | None = None


class LazyGroup(TyperGroup):
    """Lists its ``table`` from the table alone. Whatever goes on with a command (calling, its help, completion) loads it."""

    table: ClassVar[tuple[Lazy, ...]] = ()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for lazy in self.table:
            self.add_command(TyperCommand(lazy.name, help=lazy.line))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        for lazy in self.table:
            if lazy.name == name:
                command = self._load(lazy)
        return name, command, rest

    def _load(self, lazy: Lazy) -> Any:
        module_name, _, attribute = lazy.where.partition(":")
        module = import_module(module_name)
        found = getattr(module, attribute)
        # Typer makes commands only of what an app holds.
        holder = typer.Typer(add_completion=False, rich_markup_mode=self.rich_markup_mode)
        holder.callback()(lambda: None)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=lazy.name)
        else:
            holder.command(lazy.name, cls=getattr(module, lazy.cls) if lazy.cls else None)(found)
        group: Any = get_command(holder)
        return group.commands[lazy.name]
