"""The command line's tree: which subcommands there are, in the order a newcomer meets them."""

from __future__ import annotations

import typer

from isochrone.cli import (
    call,
    certificates,
    check,
    demo,
    explain,
    misses,
    models,
    page,
    simulate,
    status,
    token,
    up,
    version,
)

_HELP = """
A gRPC inference mesh that keeps its latency promises.

[bold]isochrone demo[/] shows all of it in a minute.
Then [bold]check[/] a mesh's file, bring it [bold]up[/], [bold]call[/] a method, ask for a [bold]page[/],
watch its [bold]status[/], look at its [bold]misses[/] and have one [bold]explain[/]ed.
How many nodes it takes, [bold]simulate[/] says before there are any.
"""

_EPILOG = "Every command has examples: [bold]isochrone call --help[/]"

app = typer.Typer(
    name="isochrone",
    help=_HELP,
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo", epilog=demo.EPILOG)(demo.demo)
app.command("up", epilog=up.EPILOG)(up.up)
app.command("call", epilog=call.EPILOG)(call.call)
app.command("page", epilog=page.EPILOG)(page.page)
app.command("status", epilog=status.EPILOG)(status.status)
app.command("misses", epilog=misses.EPILOG)(misses.misses)
app.command("explain", epilog=explain.EPILOG)(explain.explain)
app.command("check", epilog=check.EPILOG)(check.check)
app.command("simulate", epilog=simulate.EPILOG)(simulate.simulate)
app.command("token", epilog=token.EPILOG)(token.token)
app.command("certificates", epilog=certificates.EPILOG)(certificates.certificates)
app.add_typer(models.app, name="models")
app.command("version")(version.version)
