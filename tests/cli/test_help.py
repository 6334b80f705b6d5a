"""`--help` teaches: what each command does, with examples, and at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from isochrone.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


def test_without_arguments_it_shows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo comes first: it shows all of it."""
    run()
    printed = capsys.readouterr()
    shown = printed.out + printed.err
    names = ("demo", "up", "call", "status", "misses", "explain", "check", "simulate", "token", "version", "models")
    places = [shown.index(f"│ {name} ") for name in names]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "command",
    [
        *(["demo"], ["up"], ["call"], ["status"], ["misses"], ["explain"], ["check"], ["simulate"], ["token"]),
        *(["models", "build"], ["models", "list"]),
    ],
)
def test_every_command_has_examples_to_type(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    """Each begins with the command itself."""
    assert run(*command, "--help") == 0
    shown = capsys.readouterr().out
    assert f"isochrone {' '.join(command)}" in shown.partition("Examples")[2]
    assert "$ " in shown


def test_a_mistyped_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, as for any wrong command line."""
    assert run("statsu") == 2
    assert "Did you mean 'status'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [("call", "Toy/Echo", "--timeout-ms"), ("page", "--timeout-ms"), ("status", "--interval"), ("demo", "--seconds")],
)
@pytest.mark.parametrize("number", ["inf", "nan", "-1", "0", "1e999", "soon"])
def test_times_that_nobody_can_wait_for(
    command: tuple[str, ...], number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that names the option, and nothing is begun."""
    assert run(*command, number) == 2
    assert f"Invalid value for '{command[-1]}'" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    """It answers before a person notices: no gRPC, pydantic, redis, aiohttp, torch."""
    code = (
        "import sys, isochrone.cli\n"
        "heavy = {'grpc', 'pydantic', 'redis', 'aiohttp', 'torch', 'numpy', 'asyncio', 'yaml', 'google.protobuf'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert found.stdout == "[]\n"


def test_version_names_the_libraries_it_stands_on(capsys: pytest.CaptureFixture[str]) -> None:
    """For reports of bugs."""
    assert run("version") == 0
    assert "grpcio" in capsys.readouterr().out
