"""`isochrone token`, and the token that other commands show."""

from __future__ import annotations

import re

import pytest
import yaml

from isochrone.cli import main
from isochrone.cli.token import token_of_environment
from isochrone.config import CallerConfig
from isochrone.credentials import could_be_token, hash_of
from isochrone.errors import InvalidRequest


def test_a_token_is_printed_once_and_its_hash_is_what_the_configuration_gets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The token alone on stdout, so that it can go into a file; nothing of it on stderr."""
    with pytest.raises(SystemExit) as left:
        main(["token", "shop"])
    assert not left.value.code
    printed = capsys.readouterr()
    token = printed.out.strip()
    assert could_be_token(token)
    assert token not in printed.err
    section = yaml.safe_load(printed.err[printed.err.index("callers:") :])
    assert CallerConfig.model_validate(section["callers"]["shop"]).tokens == (hash_of(token),)


def test_no_two_tokens_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is made of 256 bits that nobody has seen."""
    for _ in range(2):
        with pytest.raises(SystemExit):
            main(["token"])
    one, other = capsys.readouterr().out.split()
    assert one != other
    assert all(re.fullmatch(r"iso_[\w-]{43}", token) for token in (one, other))


def test_commands_take_it_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one; never from the command line, which others can read."""
    monkeypatch.delenv("ISOCHRONE_TOKEN", raising=False)
    assert token_of_environment() is None
    monkeypatch.setenv("ISOCHRONE_TOKEN", "iso_abc")
    assert token_of_environment() == "iso_abc"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("two words", "has letters, digits and -._~+/ alone"),
        ("ümlaut", "has letters, digits and -._~+/ alone"),
        (" iso_abc", "there is white space before or after it"),
        ("iso_abc\n", "there is white space before or after it"),
        ("Bearer iso_abc", "Bearer is put before it"),
        (hash_of("iso_abc"), "that is a token's hash, which is for the configuration"),
        ("x" * 600, "it has 600 characters, over 512"),
    ],
)
def test_what_is_no_token_is_told_why(given: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistakes that are easily made; without the token, which may be one all the same."""
    monkeypatch.setenv("ISOCHRONE_TOKEN", given)
    with pytest.raises(InvalidRequest, match="ISOCHRONE_TOKEN can't be shown as a token: ") as caught:
        token_of_environment()
    assert said in caught.value.message
    assert given not in caught.value.message
