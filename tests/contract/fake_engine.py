"""A container engine that runs its containers as plain processes of this machine, for the contract tests.

It speaks the command lines of Docker, Podman and Apptainer as far as our runners do, keeps images and containers
in ``$FAKE_ENGINE``, and shows mounted paths to the box's program by replacing them in its arguments.  What it
does not know it refuses: an option that a runner begins to use has to be looked at here.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

STATE = Path(os.environ["FAKE_ENGINE"])
MARK = "FAKE_CONTAINER"
FLAGS = {
    *(
        "--rm",
        "--init",
        "--cleanenv",
        "--containall",
        "--no-eval",
        "--quiet",
        "--force",
        "--force-rm",
        "--fakeroot",
    ),
    "--stream=false",
    "--no-privs",
}
VALUES = {
    *("--pull", "--name", "--user", "--cap-drop", "--security-opt", "--mount", "--env", "--label", "--userns"),
    *("--home", "--workdir", "--tag", "--file", "--time", "--group-add", "--build-arg"),
    *("--since", "--until", "--filter", "--format"),
}


def parsed(words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Options and the words after them."""
    options: dict[str, list[str]] = {}
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in VALUES:
            options.setdefault(option, []).append(words.pop(0))
        elif option in FLAGS:
            options[option] = []
        else:
            fail(f"unknown flag: {option}")
    return options, words


def fail(message: str) -> NoReturn:
    """End as the engine does when it could not do its work."""
    beginning = {"docker": "docker: Error response from daemon: ", "podman": "Error: "}.get(ENGINE, "FATAL:   ")
    sys.stderr.write(f"{beginning}{message}\n")
    sys.exit(255 if ENGINE == "apptainer" else 125)


def image_file(name: str) -> Path:
    """What is known of an image."""
    return Path(name) if "/" in name else STATE / f"image-{name}"


def build(words: list[str]) -> None:
    """Remember which directory an image was built from."""
    options, (*rest, last) = parsed(words)
    name = options["--tag"][0] if "--tag" in options else rest[0]
    if "FAKE_BUILD" in os.environ:  # what a test wants to happen in place of a build
        sys.exit(subprocess.run(["sh", "-c", os.environ["FAKE_BUILD"], "sh", name], check=False).returncode)
    image_file(name).write_text(json.dumps(str(Path(last).parent if ENGINE == "apptainer" else last)))


def run(words: list[str]) -> None:
    """Run the box's program until it ends, or somebody ends it."""
    options, (image, *arguments) = parsed(words)
    if not image_file(image).exists():
        fail({"docker": f"No such image: {image}", "podman": f"{image}: image not known"}.get(ENGINE, "no image"))
    name = options.get("--name", [f"apptainer-{os.getpid()}"])[0]
    mounts = [
        dict(word.partition("=")[::2] for word in next(csv.reader([text]))) for text in options.get("--mount", [])
    ]
    places = {mount.get("target") or mount["destination"]: mount["source"] for mount in mounts}
    for place in sorted(places, key=len, reverse=True):
        arguments = [word.replace(f"={place}", f"={places[place]}", 1) for word in arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": str(STATE), MARK: name}
    for text in options.get("--env", []):
        key, equals, value = text.partition("=")
        if key != "HOME" and (equals or key in os.environ):
            environment[key] = value if equals else os.environ[key]
    prefix = "APPTAINERENV_"
    environment |= {key.removeprefix(prefix): value for key, value in os.environ.items() if key.startswith(prefix)}
    program = Path(json.loads(image_file(image).read_text()), "act.py")
    command = [sys.executable, str(program), *arguments]
    child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    (STATE / f"started-{name}").touch()
    signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
    status = child.wait()
    kill(name)
    sys.exit(status if status >= 0 else 128 - status)


def kill(name: str) -> None:
    """End every process of a container."""
    mark = f"{MARK}={name}".encode()
    quiet = 0
    while quiet < 3:  # a process that is just being started shows no environment for a moment
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        quiet = 0 if found else quiet + 1
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def main() -> None:
    """Do what the command line says."""
    words = [word for word in sys.argv[2:] if word != "--quiet"]
    with (STATE / "calls").open("a") as calls:
        calls.write(json.dumps([ENGINE, *words]) + "\n")
    command = words.pop(0)
    if command == "run":
        run(words)
    elif command == "build":
        build(words)
    elif command == "events":
        for name in parsed(words)[0]["--filter"]:
            if (STATE / f"started-{name.removeprefix('container=')}").exists():
                print("start")
    elif command in ("kill", "rm"):
        kill(parsed(words)[1][0])
    else:
        fail(f"unknown command {command!r}")


if __name__ == "__main__":
    ENGINE = sys.argv[1]
    main()
