"""Where the commands write: answers on stdout, everything said about them on stderr."""

from __future__ import annotations

from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
_WIDE = 160


def wide() -> Console:
    """stdout for tables. A pipe has no width of its own, so there they have the room they need."""
    return out if out.is_terminal else Console(highlight=False, width=max(out.width, _WIDE))


def examples(*lines: tuple[str, str]) -> str:
    """The epilog of a command's help: what each example does, and the line to type."""
    return "[bold]Examples[/]" + "".join(f"\n  [dim]# {what}[/]\n  [cyan]$ {line}[/]" for what, line in lines)
