"""The command line of a process, as a value, and what of it is secret."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlcommons_box.value import Value

_END_OF_INPUT = "MLBOX"


class CallerVariable(Value):
    """The value of a variable of the caller, by its name, so that it never appears in a command that is shown."""

    name: str


class Command(Value):
    """One process to start: arguments, working directory, environment.

    ``environment`` is all that the process gets; a value of None is the caller's own variable of that name.
    ``environment`` of None is the caller's whole environment.  ``added`` comes on top of either.  A variable
    that the caller does not have is left out, and so are those of the caller that are ``removed``.
    ``input`` is what it reads from its standard input, which is empty unless given.
    """

    argv: tuple[str, ...]
    directory: Path | None = None
    environment: tuple[tuple[str, str | None], ...] | None = None
    added: tuple[tuple[str, str | CallerVariable], ...] = ()
    removed: tuple[str, ...] = ()
    input: bytes | None = None

    def shell(self, caller: Mapping[str, str] = os.environ) -> str:
        """The command as a line to paste into a shell; secrets in it are replaced by ``***``."""
        variables = [f"--unset={shlex.quote(name)}" for name in self.removed]
        for name, value in self._values():
            if isinstance(value, str):
                variables.append(f"{name}={shlex.quote(redacted(f'{name}={value}').partition('=')[2])}")
            elif value.name in caller:
                variables.append(f'{name}="${value.name}"')
        words = [*variables, *(shlex.quote(word) for word in redacted_words(self.argv))]
        if self.environment is not None:
            words = ["env", "-i", *words]
        elif variables:
            words = ["env", *words]
        line = " ".join(words)
        if self.directory is not None:
            line = f"(cd {shlex.quote(str(self.directory))} && {line})"
        if self.input is not None:
            text = self.input.decode("utf-8", "replace").removesuffix("\n")
            line += f" <<'{_END_OF_INPUT}'\n{text}\n{_END_OF_INPUT}"
        return line

    def variables(self, caller: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The environment that the process gets."""
        variables = dict(caller) if self.environment is None else {}
        for name in self.removed:
            variables.pop(name, None)
        for name, value in self._values():
            found = value if isinstance(value, str) else caller.get(value.name)
            if found is not None:
                variables[name] = found
        return variables

    def _values(self) -> Iterator[tuple[str, str | CallerVariable]]:
        for name, value in self.environment or ():
            yield name, CallerVariable(name=name) if value is None else value
        yield from self.added


_TELLING = r"(?i)token(?!s|i[sz])|secret|passw(?:or)?d|passphrase|credential|(?:api|access|private)[_-]?key"
"""What is in the name of a secret; ``tokens`` and ``tokenizer`` are words of machine learning."""
_IN_URL = r"(?i)(?<=[a-z0-9+.-])://[^\s/@]+@(?!sha\d+:)"
"""A password in a URL, but not the digest of an image."""


def redacted(text: str) -> str:
    """One word of a command line, or ``NAME=value``, without the passwords and tokens in it.

    Each pattern goes through a text once: a stranger's may have a million characters.
    """
    if "=" not in text and "://" not in text:
        return text
    import re

    name, _, value = text.partition("=")
    if value and _is_telling(name):
        return f"{name}=***"
    return re.sub(_IN_URL, "://***@", text)


def _is_telling(name: str) -> bool:
    """Whether a name, of a variable or an option, is that of a secret."""
    import re

    return re.fullmatch(r"[\w.-]+", name) is not None and re.search(_TELLING, name) is not None


def redacted_words(words: Sequence[str]) -> list[str]:
    """A command line without the passwords and tokens in it, those of ``--name value`` included."""
    shown = []
    for before, word in zip(("", *words), words, strict=False):
        named = word and not word.startswith("-") and before.startswith("-") and _is_telling(before)
        is_name = before == "--secret" and word.startswith("id=")  # what a builder calls it, and not the secret
        shown.append("***" if named and not is_name else redacted(word))
    return shown
