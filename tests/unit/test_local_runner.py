"""What the local runner decides before it starts anything."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mlcommons_box.cache import cache_directory
from mlcommons_box.definition.loader import load_box
from mlcommons_box.errors import EX_CONFIGURATION, ConfigurationError, PreparationError
from mlcommons_box.model import Box, DockerOptions, LocalOptions, Platform, Resources
from mlcommons_box.planning import SetupPlan, plan_setup
from mlcommons_box.runners.local import _PASSED, LocalRunner
from mlcommons_box.runners.python_environment import python_environment
from tests.conftest import REPOSITORY, MakeBox, write_files


def runner_with(**settings: object) -> LocalRunner:
    platform = Platform(name="local", runner="local", options=LocalOptions(**settings))  # type: ignore[arg-type]
    return LocalRunner(platform, {"MLCOMMONS_BOX_INSTALLER": "pip", "MLCOMMONS_BOX_CACHE": "/cache"})


def setup(root: Path) -> SetupPlan:
    return plan_setup(load_box(root), Platform(name="local", runner="local", options=LocalOptions()))


@pytest.mark.parametrize(
    ("files", "program"),
    [
        ({"build/echo.py": "", "build/main.py": ""}, "echo.py"),
        ({"build/echo.py": None, "build/main.py": "", "build/other.py": ""}, "main.py"),
        ({"build/echo.py": None, "build/other.py": ""}, "other.py"),
    ],
)
def test_the_program_is_found_by_convention(make_box: MakeBox, files: dict[str, str | None], program: str) -> None:
    plan = setup(make_box(files))
    runner = runner_with()
    interpreter = str(runner.environment(plan).interpreter)
    assert runner.entrypoint(plan) == (interpreter, str(plan.box.build / program))


def test_a_box_name_with_dashes_finds_a_module_with_underscores(make_box: MakeBox) -> None:
    root = make_box({"build/echo.py": None, "build/my_box.py": "", "build/setup.py": ""})
    box_file = root / "mlbox.yaml"
    box_file.write_text(box_file.read_text().replace("name: echo", "name: my-box"))
    assert runner_with().entrypoint(setup(root))[1].endswith("/my_box.py")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"build/echo.py": None}, "there is no Python file"),
        ({"build/echo.py": None, "build/a.py": "", "build/b.py": ""}, "found a.py, b.py"),
    ],
)
def test_a_box_without_an_obvious_program_says_what_to_do(
    make_box: MakeBox, files: dict[str, str | None], found: str
) -> None:
    with pytest.raises(ConfigurationError, match=found) as caught:
        runner_with().entrypoint(setup(make_box(files)))
    assert "entrypoint" in str(caught.value.hint)


def test_a_named_entry_point_is_a_script_a_program_in_build_or_a_program_on_the_path(make_box: MakeBox) -> None:
    plan = setup(make_box({"build/tool.sh": "#!/bin/sh\n"}))
    build = str(plan.box.build)
    interpreter = str(runner_with().environment(plan).interpreter)
    assert runner_with(entrypoint=("echo.py",)).entrypoint(plan) == (interpreter, f"{build}/echo.py")
    assert runner_with(entrypoint=("tool.sh", "-x")).entrypoint(plan) == (f"{build}/tool.sh", "-x")
    assert runner_with(entrypoint=("python", "-m", "echo")).entrypoint(plan) == (interpreter, "-m", "echo")
    assert runner_with(entrypoint=("torchrun", "echo.py")).entrypoint(plan) == ("torchrun", "echo.py")
    for missing in (("nothing.py",), ("sub/tool",)):
        with pytest.raises(ConfigurationError, match="there is no program"):
            runner_with(entrypoint=missing).entrypoint(plan)


def test_what_it_cannot_do_is_refused_and_not_ignored(make_box: MakeBox) -> None:
    plan = setup(make_box())
    platform = Platform(
        name="local",
        runner="local",
        options=LocalOptions(),
        resources=Resources(cpus=2, memory=10**9, time=60),
        network="none",
        user="root",
        arguments=("--shm-size=8g",),
    )
    problems = LocalRunner(platform, {}).check(plan)
    assert {problem.exit_status for problem in problems} == {EX_CONFIGURATION}
    asked = ["'cpus'", "'memory'", "'user'", "'arguments'", "'network: none'"]
    assert [word in problem.message for word, problem in zip(asked, problems, strict=True)] == [True] * 5


def test_it_takes_local_platforms_only() -> None:
    with pytest.raises(TypeError):
        LocalRunner(Platform(name="docker", runner="docker", options=DockerOptions(image="x")))


def test_the_cache_is_where_the_user_wants_it() -> None:
    assert cache_directory({"MLCOMMONS_BOX_CACHE": "/c"}) == Path("/c")
    assert cache_directory({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/mlcommons-box")
    assert cache_directory({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == Path("/h/.cache/mlcommons-box")
    assert cache_directory({"HOME": "/h"}) == Path("/h/.cache/mlcommons-box")


class TestEnvironmentKey:
    """Equal content shares an environment; anything that changes the content makes another."""

    @staticmethod
    def directory(build: Path, requirements: str | None = "requirements.txt", python: str | None = None) -> Path:
        environment = python_environment(
            build,
            requirements=build / requirements if requirements else None,
            python=python,
            environ={"MLCOMMONS_BOX_CACHE": "/cache", "MLCOMMONS_BOX_INSTALLER": "pip"},
        )
        return environment.directory

    def test_two_boxes_with_the_same_requirements_share_it(self, tmp_path: Path) -> None:
        one = write_files(tmp_path / "a", {"requirements.txt": "six==1.17.0\n", "code.py": "1"})
        two = write_files(tmp_path / "b", {"requirements.txt": "# six\n\nsix==1.17.0", "code.py": "2"})
        assert self.directory(one) == self.directory(two)

    def test_other_requirements_another_python_or_another_included_file_make_another(self, tmp_path: Path) -> None:
        build = write_files(tmp_path, {"requirements.txt": "-r more.txt\nsix", "more.txt": "numpy==1"})
        first = self.directory(build)
        (build / "more.txt").write_text("numpy==2")
        second = self.directory(build)
        third = self.directory(build, python="/bin/sh")
        assert len({first, second, third, self.directory(build, requirements=None)}) == 4

    def test_code_counts_when_the_requirements_install_it(self, tmp_path: Path) -> None:
        build = write_files(tmp_path, {"requirements.txt": "-e .\n", "setup.py": "1"})
        first = self.directory(build)
        (build / "setup.py").write_text("2")
        assert self.directory(build) != first

    @pytest.mark.parametrize(
        "line", ["-r more.txt", "-r more.txt  # shared", "-rmore.txt", "--requirement=more.txt", "-c more.txt"]
    )
    def test_every_way_to_include_a_file_is_followed(self, tmp_path: Path, line: str) -> None:
        build = write_files(tmp_path, {"requirements.txt": f"{line}\nsix", "more.txt": "numpy==1"})
        first = self.directory(build)
        (build / "more.txt").write_text("numpy==2")
        assert self.directory(build) != first

    def test_constraints_of_a_web_server_are_no_file(self, tmp_path: Path) -> None:
        build = write_files(tmp_path, {"requirements.txt": "-c https://example.org/constraints.txt\nsix"})
        assert self.directory(build)

    def test_what_a_build_leaves_beside_its_code_is_no_code(self, tmp_path: Path) -> None:
        build = write_files(tmp_path, {"requirements.txt": "./net", "net/setup.py": "1", "net/net.py": "1"})
        first = self.directory(build)
        write_files(
            tmp_path, {"net/net.egg-info/PKG-INFO": "", "net/build/lib/net.py": "1", "net/__pycache__/n": ""}
        )
        assert self.directory(build) == first
        write_files(tmp_path, {"build/net.py": "code, as there is no package here"})
        assert self.directory(build) != first

    def test_requirements_of_comments_only_need_the_standard_library_only(self, tmp_path: Path) -> None:
        build = write_files(tmp_path, {"requirements.txt": "# nothing\n"})
        environment = python_environment(
            build,
            requirements=build / "requirements.txt",
            python=None,
            environ={"MLCOMMONS_BOX_INSTALLER": "pip"},
        )
        assert [command.argv[1:-1] for command in environment.build_commands()] == [("-m", "venv", "--without-pip")]

    def test_a_python_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(PreparationError, match=r"no Python '3\.99'"):
            self.directory(tmp_path, requirements=None, python="3.99")

    def test_unreadable_requirements_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe")
        with pytest.raises(PreparationError, match="cannot read the requirements"):
            self.directory(tmp_path)

    def test_an_unfinished_environment_is_not_ready(self, make_box: MakeBox, tmp_path: Path) -> None:
        box: Box = load_box(make_box())
        environment = python_environment(
            box.build, requirements=None, python=None, environ={"MLCOMMONS_BOX_CACHE": str(tmp_path)}
        )
        environment.bin.mkdir(parents=True)
        environment.interpreter.symlink_to(sys.executable)
        assert not environment.is_ready()
        (environment.directory / "complete.json").write_text("{}")
        assert environment.is_ready()
        environment.interpreter.unlink()
        environment.interpreter.symlink_to("/no/such/python")
        assert not environment.is_ready()


def test_the_guide_names_all_that_a_task_sees_of_the_caller_s_environment() -> None:
    guide = (REPOSITORY / "docs/guides/local-runner.md").read_text("utf-8")
    listed = guide.partition("## What a task sees")[2].partition("\n- ")[2].partition("\n\n")[0]
    names = set(re.findall(r"`(\w+)`", listed))
    in_capitals = {name.upper() for name in names if name.endswith("_proxy")}
    assert names | in_capitals == {*_PASSED, "PATH"}
