"""No password and no token is shown, and what is none is shown whole."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from mlcommons_box.command import CallerVariable, Command, redacted, redacted_words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("API_TOKEN=swordfish", "API_TOKEN=***"),
        ("HF_TOKEN=a=b", "HF_TOKEN=***"),
        ("githubToken=swordfish", "githubToken=***"),
        ("AWS_SECRET_ACCESS_KEY=swordfish", "AWS_SECRET_ACCESS_KEY=***"),
        ("DB_PASSWORD=sword\nfish", "DB_PASSWORD=***"),
        ("PASSWD=swordfish", "PASSWD=***"),
        ("--api-key=swordfish", "--api-key=***"),
        ("--api_key=swordfish", "--api_key=***"),
        ("-apikey=swordfish", "-apikey=***"),
        ("--private-key=swordfish", "--private-key=***"),
        ("--access-key=swordfish", "--access-key=***"),
        ("APPTAINERENV_TOKEN=swordfish", "APPTAINERENV_TOKEN=***"),
        ("credentials=swordfish", "credentials=***"),
        ("ssh.passphrase=swordfish", "ssh.passphrase=***"),
        ("http://ada:swordfish@proxy:3128", "http://***@proxy:3128"),
        ("https_proxy=http://ada:swordfish@proxy:3128/", "https_proxy=http://***@proxy:3128/"),
        ("git+https://swordfish@host/x https://b:swordfish@y", "git+https://***@host/x https://***@y"),
    ],
)
def test_secrets_are_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "swordfish",
        "token",
        "TOKEN=",
        "--tokenizer=/mlbox_io0/tokenizer.json",
        "TOKENIZERS_PARALLELISM=false",
        "--max-tokens=512",
        "TOKENISATION=on",
        "--key=1",
        "KEYBOARD=de",
        "PASS=1",
        "docker://python@sha256:0123",
        "docker://registry:5000/a/python@sha256:0123",
        "https://host/@scope/x",
        "https://host/?a=b@c",
        "a@b",
        "--source=/mlbox_io0/token=x",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("--token swordfish --rm", "--token *** --rm"),
        ("-password swordfish", "-password ***"),
        ("--API-KEY swordfish x", "--API-KEY *** x"),
        ("--docker-password swordfish", "--docker-password ***"),
        ("--secret swordfish", "--secret ***"),
        ("--secret id=a,src=/b", "--secret id=a,src=/b"),
        ("--token a=b", "--token ***"),
        ("--token http://x", "--token ***"),
        ("--token", "--token"),
        ("--token --rm image", "--token --rm image"),
        ("--password-stdin --rm", "--password-stdin --rm"),
        ("--env API_TOKEN image", "--env API_TOKEN image"),
        ("--env API_TOKEN=swordfish image", "--env API_TOKEN=*** image"),
        ("--tokenizer bert --max-tokens 512", "--tokenizer bert --max-tokens 512"),
        ("--token=swordfish image", "--token=*** image"),
        ("docker run image token x", "docker run image token x"),
    ],
)
def test_a_secret_may_be_the_word_after_its_name(words: str, shown: str) -> None:
    assert redacted_words(words.split()) == shown.split()
    assert shlex.split(Command(argv=tuple(words.split())).shell({})) == shown.split()


def test_an_empty_word_after_a_name_is_no_secret() -> None:
    assert redacted_words(["--token", "", "x"]) == ["--token", "", "x"]
    assert redacted_words([]) == []


CALLER = {"MINE": "swordfish", "PATH": "/bin"}


def test_a_variable_of_the_caller_is_shown_by_its_name_where_it_is_set() -> None:
    command = Command(
        argv=("tool", "a b"),
        added=(
            ("PLAIN", "x y"),
            ("OTHER", CallerVariable(name="MINE")),
            ("NOT_SET", CallerVariable(name="NOT_SET")),
            ("API_TOKEN", "swordfish"),
        ),
    )
    assert command.shell(CALLER) == "env PLAIN='x y' OTHER=\"$MINE\" API_TOKEN='***' tool 'a b'"
    assert command.variables(CALLER) == {**CALLER, "PLAIN": "x y", "OTHER": "swordfish", "API_TOKEN": "swordfish"}


def test_an_environment_of_its_own_is_all_that_is_shown_and_given() -> None:
    command = Command(
        argv=("tool",),
        directory=Path("/a b"),
        environment=(("MINE", None), ("NOT_SET", None), ("SEED", "1")),
        added=(("NAMED", CallerVariable(name="MINE")),),
    )
    assert command.shell(CALLER) == '(cd \'/a b\' && env -i MINE="$MINE" SEED=1 NAMED="$MINE" tool)'
    assert command.variables(CALLER) == {"MINE": "swordfish", "SEED": "1", "NAMED": "swordfish"}


def test_an_empty_environment_and_an_untouched_one_are_told_apart() -> None:
    assert Command(argv=("tool",), environment=()).shell(CALLER) == "env -i tool"
    assert Command(argv=("tool",), environment=()).variables(CALLER) == {}
    assert Command(argv=("tool",)).shell(CALLER) == "tool"
    assert Command(argv=("tool",)).variables(CALLER) == CALLER
