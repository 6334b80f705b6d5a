"""Where the commands write: answers on stdout, everything said about them on stderr."""

from __future__ import annotations

from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def examples(*lines: tuple[str, str]) -> str:
    """The epilog of a command's help: what each example does, and the line to type."""
    told = [f"[dim]# {what}[/]\n\n[cyan]$ {line}[/]" for what, line in lines]
    return "[bold]Examples[/]\n\n" + "\n\n".join(told)
