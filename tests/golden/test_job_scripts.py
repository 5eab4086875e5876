"""Whole scripts of runs on another host, but for the parts that are the same for every run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from mlcommons_box import machine
from mlcommons_box.command import Command
from mlcommons_box.definition.loader import load_box, load_platform, load_run_configuration
from mlcommons_box.model import Platform
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.runners import job, job_script
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.ssh import SshRunner
from mlcommons_box.runners.there import There
from tests.conftest import MakeBox
from tests.golden.container_plans import RUN_ID

OUTER = "schema_type: mlbox_ssh\nschema_version: 1.1.0\nhost: lab\nplatform: inner\n"
INNER = {
    "local": "schema_type: mlbox_local\nschema_version: 1.1.0\n",
    "docker": "schema_type: mlbox_docker\nschema_version: 1.1.0\nimage: a/b:1\ndocker_runtime: docker\n",
    "podman": "schema_type: mlbox_docker\nschema_version: 1.1.0\nimage: a/b:1\ndocker_runtime: podman\n",
    "apptainer": "schema_type: mlbox_singularity\nschema_version: 1.1.0\nimage: /images/a.sif\n",
}
ODD = 'it\'s $(touch x)\n-e `y` "ü" \\ 数据'


def there(box: str = "/home/ada/box") -> There:
    programs = ("docker", "podman", "apptainer", "rsync", "python3")
    return There(
        box=Path(box),
        workspace=Path(box, "workspace"),
        caller=Caller(uid=1001, gid=1002, groups=(27,)),
        environ={"HOME": "/home/ada", "PATH": "/usr/bin:/bin", "https_proxy": "http://ada:geheim@proxy:3128"},
        programs={name: f"/usr/bin/{name}" for name in programs},
        python="python3",
        python_identity="cpython-311 there",
        sent=frozenset(),
    )


def script(root: Path, where: There | None = None, timeout: float | None = None) -> str:
    """The script of ``run/copy.yaml``, with words for its constant parts."""
    runner, plan = runner_and_plan(root, timeout)
    text, _ = runner._script(plan, where or there())
    for name in ("_FRAME", "_PREPARE", "_RUN"):
        text = text.replace(getattr(job_script, name), f"{name[1:]}")
    return text.replace(machine.SCRIPT, "MACHINE")


def runner_and_plan(root: Path, timeout: float | None = None) -> tuple[SshRunner, RunPlan]:
    platform: Platform = load_platform(root / "platforms/lab.yaml")
    box = load_box(root)
    plan = plan_run(
        box, load_run_configuration(root / "run/copy.yaml", box), platform, run_id=RUN_ID, timeout=timeout
    )
    return SshRunner(platform, {"TOKEN": ODD, "HOME": "/root", "PATH": "/nowhere"}), plan


def box_for(make_box: MakeBox, inner: str, outer: str = "", **more: str) -> Path:
    files = {"platforms/lab.yaml": OUTER + outer, "platforms/inner.yaml": INNER[inner], **more}
    return make_box({**files, "build/Dockerfile": "FROM x\n", "build/Singularity.recipe": "Bootstrap: docker\n"})


LOCAL = """\
#!/bin/sh
# The run RUN-ID of the task copy of the box echo.
mlbox_run=JOB
mlbox_time_limit=91 mlbox_grace=10 mlbox_asks=all mlbox_mark=MLCOMMONS_BOX_RUN=RUN-ID
FRAME
stop() {
:
}
after() {
:
}
need python3
see -f BOX/workspace/in.txt source
mkdir -p -- BOX/workspace/logs BOX/workspace/out 2>>"$mlbox_run/preparation.log" || ended outputs 73
is_ready() {
(
exec test -f ENV/complete.json
) &&
(
exec test -x ENV/bin/python
)
}
prepare() {
(
exec rm -rf -- ENV
) &&
(
exec python3 -m venv --without-pip ENV
) &&
(
exec touch -- ENV/complete.json
)
exit "$?"
}
mlbox_lock=ENV.lock
PREPARE
task() {
cd BOX/build || exit 73
for mlbox_name in $(env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'); do
  case "$mlbox_name" in (HOME|MLCOMMONS_BOX_RUN|PATH|PYTHONPYCACHEPREFIX|PYTHONUNBUFFERED|VIRTUAL_ENV|https_proxy) \
;; (*) unset "$mlbox_name" ;; esac
done
export HOME
export https_proxy
PATH=ENV/bin:/usr/bin:/bin
export PATH
VIRTUAL_ENV=ENV
export VIRTUAL_ENV
PYTHONUNBUFFERED=1
export PYTHONUNBUFFERED
PYTHONPYCACHEPREFIX=ENV/pycache
export PYTHONPYCACHEPREFIX
MLCOMMONS_BOX_RUN=RUN-ID
export MLCOMMONS_BOX_RUN
exec ${mlbox_session}ENV/bin/python BOX/build/echo.py copy --source=BOX/workspace/in.txt \
--target=BOX/workspace/out/copy.txt --logs=BOX/workspace/logs
}
identify() {
MACHINE
echo mlbox:uses
(
exec cat -- ENV/pyvenv.cfg
)
(
exec find ENV/lib -maxdepth 3 -name '*.dist-info'
)
: >"$mlbox_run/identified"
}
RUN
"""
DOCKER = """\
#!/bin/sh
# The run RUN-ID of the task copy of the box echo.
mlbox_run=JOB
mlbox_time_limit= mlbox_grace=10 mlbox_asks=first mlbox_mark=''
FRAME
stop() {
(
exec docker rm --force mlbox-RUN-ID
) >/dev/null 2>&1
}
after() {
:
}
need docker
see -f BOX/workspace/in.txt source
mkdir -p -- BOX/workspace/logs BOX/workspace/out 2>>"$mlbox_run/preparation.log" || ended outputs 73
is_ready() {
(
exec docker image inspect a/b:1
)
}
prepare() {
(
exec rm -rf -- MADE
) &&
(
exec docker build --force-rm --tag a/b:1 --build-arg https_proxy --file BOX/build/Dockerfile BOX/build
) &&
(
exec mkdir -p -- MADE/DIGEST
)
exit "$?"
}
mlbox_lock=LOCK
PREPARE
task() {
exec ${mlbox_session}docker run --rm --init --pull never --name mlbox-RUN-ID --user 1001:1002 --group-add 27 \
--cap-drop ALL --security-opt no-new-privileges \
--mount type=bind,source=BOX/workspace/in.txt,target=/mlbox_io0/in.txt,readonly \
--mount type=bind,source=BOX/workspace/out,target=/mlbox_io1 \
--mount type=bind,source=BOX/workspace/logs,target=/mlbox_io2/logs \
--env HOME=/tmp --env USER=box --env LOGNAME=box --env https_proxy \
--label org.mlcommons.box.box=echo --label org.mlcommons.box.task=copy --label org.mlcommons.box.run=RUN-ID \
a/b:1 copy --source=/mlbox_io0/in.txt --target=/mlbox_io1/copy.txt --logs=/mlbox_io2/logs
}
identify() {
MACHINE
echo mlbox:uses
(
exec docker image inspect --format 'image {{.Id}}{{range .RepoDigests}}{{println}}digest {{.}}{{end}}' a/b:1
)
(
exec docker version --format 'engine docker {{.Server.Version}}'
)
(
exec find MADE
)
: >"$mlbox_run/identified"
}
RUN
"""


def shortened(text: str, box: str = "/home/ada/box") -> str:
    """A script without what is long and told elsewhere."""
    import re

    for old, new in (
        (f"{box}/workspace/.mlbox/runs/{RUN_ID}/job", "JOB"),
        (r"/home/ada/\.cache/mlcommons-box/environments/[0-9a-f]{24}", "ENV"),
        (r"/home/ada/\.cache/mlcommons-box/locks/[a-z]+-[0-9a-f]+", "LOCK"),
        (r"/home/ada/\.cache/mlcommons-box/(builds|images)/[0-9a-f]+\.made-from", "MADE"),
        (r"MADE/[0-9a-f]{64}", "MADE/DIGEST"),
        (box, "BOX"),
        (RUN_ID, "RUN-ID"),
    ):
        text = re.sub(old, new, text)
    return text


def test_a_local_run(make_box: MakeBox) -> None:
    assert shortened(script(box_for(make_box, "local"), timeout=90.5)) == LOCAL


def test_a_run_with_docker(make_box: MakeBox) -> None:
    assert shortened(script(box_for(make_box, "docker"))) == DOCKER


def test_podman_keeps_the_number_of_the_user_over_there(make_box: MakeBox) -> None:
    lines = script(box_for(make_box, "podman")).splitlines()
    task = next(line for line in lines if line.startswith("exec ${mlbox_session}"))
    assert "podman run --rm --init --pull never --name mlbox-" in task
    assert " --userns keep-id --user 1001:1002 " in task
    assert "exec podman kill mlbox-20200102T030405-0a1b2c3d" in lines
    assert "exec podman version --format 'engine podman {{.Client.Version}}'" in lines


def test_apptainer_has_its_scratch_directory_made_and_removed(make_box: MakeBox) -> None:
    lines = script(box_for(make_box, "apptainer")).splitlines()
    scratch = f"/tmp/mlbox-{RUN_ID}"
    assert "need apptainer singularity" in lines
    assert f"exec mkdir -p -m 700 -- {scratch}/home {scratch}/work" in lines
    assert lines[lines.index("after() {") + 2] == f"exec rm -rf -- {scratch}"
    assert "exec mv -f -- /images/.a.sif.partial /images/a.sif" in lines
    identify = lines[lines.index("echo mlbox:uses") :]
    assert [shortened(line) for line in identify if line.startswith("exec ")] == [
        "exec apptainer --version",
        "exec sha256sum -- /images/a.sif",
        "exec find MADE",
    ]


@pytest.mark.parametrize("inner", INNER)
def test_a_variable_of_the_caller_is_handed_over_by_its_name(make_box: MakeBox, inner: str) -> None:
    text = script(box_for(make_box, inner, "environment: {TOKEN: , NOT_SET: }\n"))
    assert text.count(shlex.quote(ODD)) == 1
    assert f"export TOKEN={shlex.quote(ODD)}\n" in text
    assert "TOKEN" in text.replace(f"export TOKEN={shlex.quote(ODD)}", "")
    assert "export NOT_SET" not in text


@pytest.mark.parametrize("inner", INNER)
def test_what_is_shown_has_no_secrets(make_box: MakeBox, inner: str) -> None:
    root = box_for(make_box, inner, "environment: {TOKEN: , MY_TOKEN: geheim, PLAIN: visible}\n")
    runner, plan = runner_and_plan(root)
    shown = "\n".join(command.shell({}) for command in runner.commands(plan))
    assert "visible" in shown
    assert "MY_TOKEN=" in shown
    assert "geheim" not in shown
    assert "touch x" not in shown


@pytest.mark.parametrize("inner", INNER)
def test_odd_values_are_one_word_each(make_box: MakeBox, inner: str) -> None:
    """A parser of shell words finds every one of them again, whole."""
    odd = f"{ODD} -rf"
    root = box_for(make_box, inner)
    (root / "run/copy.yaml").write_text(
        (root / "run/copy.yaml").read_text().replace("$WORKSPACE/in.txt", "$WORKSPACE/it's $(x)/-e \\n")
    )
    text = script(root, there(f"/home/ada/{odd}"))
    words = shlex.split(text.replace("${mlbox_session}", "").replace("()", "").replace("<<", ""), comments=False)
    place = f"/home/ada/{odd}/workspace"
    assert f"mlbox_run={place}/.mlbox/runs/{RUN_ID}/job" in words
    assert f"{place}/it's $(x)/-e \\n" in words
    assert {f"{place}/logs", f"{place}/out"} <= set(words)


def test_the_comment_at_the_top_stays_one_line() -> None:
    assert job_script._comment("a\nb $(x)\t\u2028c") == "a b $(x) c"


def test_the_time_limit_is_in_whole_seconds_and_never_0(make_box: MakeBox) -> None:
    assert "mlbox_time_limit=1 " in script(box_for(make_box, "local"), timeout=0.01)


def test_the_job_of_a_command_with_everything() -> None:
    shown = job._without_secrets(
        Command(argv=("a", "--password", "geheim"), environment=(("A", None), ("API_KEY", "geheim"), ("B", "c=d")))
    )
    assert shown.argv == ("a", "--password", "***")
    assert shown.environment == (("A", None), ("API_KEY", "***"), ("B", "c=d"))
