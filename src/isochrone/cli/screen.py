"""Where the commands write: answers on stdout, everything said about them on stderr."""

from __future__ import annotations

from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def examples(*lines: tuple[str, str]) -> str:
    """The epilog of a command's help: what each example does, and the line to type."""
    return "[bold]Examples[/]" + "".join(f"\n  [dim]# {what}[/]\n  [cyan]$ {line}[/]" for what, line in lines)
