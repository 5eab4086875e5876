"""Where an image file is, what it is made from, and when it is made again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mlcommons_box.command import Command
from mlcommons_box.definition.loader import load_box
from mlcommons_box.errors import CannotCreateError, PreparationError
from mlcommons_box.process import Completed
from mlcommons_box.runners import preparation
from mlcommons_box.runners.singularity_image import SingularityImage
from mlcommons_box.value import replace
from tests.conftest import MakeBox

RECIPE = {"build/Singularity.recipe": "Bootstrap: scratch\n"}
DOCKER = "schema_version: 1.0.0\nschema_type: mlbox_docker\nimage: example/echo:1\ndocker_runtime: docker\n"


class Silent:
    """An observer that keeps what it was told of the preparation."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def preparing(self, what: str) -> None:
        self.steps.append(what)

    def preparation_output(self, chunk: bytes) -> None:
        self.steps.append(chunk.decode())

    def prepared(self) -> None:
        pass

    def started(self, native_id: str) -> None:
        raise AssertionError("no task is started by a preparation")

    def output(self, stream: object, chunk: bytes) -> None:
        raise AssertionError("no task is started by a preparation")


class Builder:
    """Stands in for the engine: writes the image, and keeps the commands."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.commands: list[Command] = []

    def stream(self, command: Command, *, on_output: object, mark: str) -> Completed:
        self.commands.append(command)
        partial = Path(next(word for word in command.argv if word.endswith(".partial")))
        partial.write_text(f"image {len(self.commands)}")
        return Completed(exit_status=self.status)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    """An engine that builds in no time."""
    built = Builder()
    monkeypatch.setattr(preparation, "stream", lambda command, **settings: built.stream(command, **settings))
    return built


def image_of(
    root: Path, written: str = "images/box.sif", environ: Mapping[str, str] | None = None
) -> SingularityImage:
    box = load_box(root)
    return SingularityImage(
        written=written,
        executable="apptainer",
        box=box,
        workspace=box.workspace,
        ca_bundle=None,
        environ={"MLCOMMONS_BOX_CACHE": str(root.parent / "cache"), "PATH": "/nowhere", **(environ or {})},
    )


# ---- Where it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("box.sif", "/w/box.sif"),
        ("./a/../box.sif", "/w/box.sif"),
        ("$WORKSPACE/box.sif", "/w/box.sif"),
        ("${WORKSPACE}/box.sif", "/w/box.sif"),
        ("/images/box.sif", "/images/box.sif"),
        ("$IMAGES/box.sif", "/shared/images/box.sif"),
        ("${IMAGES}.old/$NAME.sif", "/shared/images.old/echo.sif"),
        ("a b,c:d.sif", "/w/a b,c:d.sif"),
        ("$(touch x).sif", "/w/$(touch x).sif"),
        ("$1.sif", "/w/$1.sif"),
        ("$WORKSPACES/box.sif", "/w/$WORKSPACES/box.sif"),
    ],
)
def test_variables_are_expanded_and_the_rest_is_relative_to_the_workspace(
    make_box: MakeBox, written: str, meant: str
) -> None:
    image = image_of(make_box(), written, {"IMAGES": "/shared/images", "NAME": "echo", "WORKSPACE": "/not/this"})
    assert replace(image, workspace=Path("/w")).path == Path(meant)


def test_variables_that_are_not_set_are_named_once(make_box: MakeBox) -> None:
    image = image_of(make_box(), "$A/${B}/$A/$SET/$WORKSPACE.sif", {"SET": ""})
    assert image.undefined_variables() == ["A", "B"]
    assert not image.is_within_reach()
    assert image_of(make_box(), "$SET/x.sif", {"SET": "/s"}).undefined_variables() == []


@pytest.mark.parametrize(
    "written",
    ["docker://a/b:1", "library://a", "oras://a/b", "https://a/b.sif", "docker-daemon:a:1", "docker-daemon://a"],
)
def test_an_address_is_no_path_and_has_a_place_in_the_cache(make_box: MakeBox, written: str) -> None:
    root = make_box()
    assert image_of(root, written).source == written
    assert image_of(root, written).path.parent == root.parent / "cache/images"
    assert image_of(root, written).path != image_of(root, f"{written}2").path


@pytest.mark.parametrize("written", ["a:b.sif", "docker/box.sif", "/docker://a"])
def test_a_path_is_no_address(make_box: MakeBox, written: str) -> None:
    assert image_of(make_box(), written).source is None


def test_it_is_within_reach_where_it_is_or_can_be_made(make_box: MakeBox) -> None:
    root = make_box({"workspace/there.sif": ""})
    assert image_of(root, "there.sif").is_within_reach()
    assert image_of(root, "new/directories/box.sif").is_within_reach()
    assert not image_of(root, "in.txt/box.sif").is_within_reach()


# ---- What it is made from, and when --------------------------------------------------------------


def test_it_is_made_once_beside_its_name_and_noted(make_box: MakeBox, builder: Builder) -> None:
    image = image_of(make_box(RECIPE))
    assert not image.is_ours()
    image.ensure(Silent())
    image.ensure(Silent())
    assert len(builder.commands) == 1
    assert image.path.read_text() == "image 1"
    assert not image.partial.exists()
    assert image.is_ours()
    assert not image.is_stale()


@pytest.mark.parametrize("changed", ["build/Singularity.recipe", "build/echo.py", "build/new/file"])
def test_it_is_made_again_when_the_recipe_or_the_code_changes(
    make_box: MakeBox, builder: Builder, changed: str
) -> None:
    root = make_box(RECIPE)
    image = image_of(root)
    image.ensure(Silent())
    (root / changed).parent.mkdir(exist_ok=True)
    (root / changed).write_text("changed")
    assert image.is_stale()
    image.ensure(Silent())
    assert image.path.read_text() == "image 2"
    assert not image.is_stale()


def test_a_change_outside_of_the_build_directory_makes_nothing_again(make_box: MakeBox, builder: Builder) -> None:
    root = make_box(RECIPE)
    image = image_of(root)
    image.ensure(Silent())
    (root / "workspace/in.txt").write_text("changed")
    assert not image.is_stale()


def test_a_converted_image_is_stale_when_the_box_names_another(make_box: MakeBox, builder: Builder) -> None:
    root = make_box({"platforms/docker.yaml": DOCKER})
    image = image_of(root)
    image.ensure(Silent())
    assert not image.is_stale()
    (root / "build/echo.py").write_text("changed")
    assert not image.is_stale()  # its code comes with the other image
    (root / "platforms/docker.yaml").write_text(DOCKER.replace(":1", ":2"))
    assert image.is_stale()


def test_an_image_that_somebody_else_made_is_left_alone(make_box: MakeBox, builder: Builder) -> None:
    root = make_box({**RECIPE, "workspace/images/box.sif": "theirs"})
    image = image_of(root)
    image.ensure(Silent())
    assert image.path.read_text() == "theirs"
    assert (image.is_ours(), image.is_stale(), builder.commands) == (False, False, [])


def test_an_image_that_took_the_place_of_ours_is_left_alone(make_box: MakeBox, builder: Builder) -> None:
    root = make_box(RECIPE)
    image = image_of(root)
    image.ensure(Silent())
    image.path.write_text("another image of somebody else")
    (root / "build/echo.py").write_text("changed")
    image.ensure(Silent())
    assert image.path.read_text() == "another image of somebody else"
    assert (image.is_ours(), image.is_stale()) == (False, False)


def test_an_image_whose_recipe_is_gone_stays_usable(make_box: MakeBox, builder: Builder) -> None:
    root = make_box(RECIPE)
    image = image_of(root)
    image.ensure(Silent())
    image.recipe.unlink()
    image.ensure(Silent())
    assert image.path.read_text() == "image 1"


def test_a_build_that_fails_leaves_the_image_as_it_was(make_box: MakeBox, builder: Builder) -> None:
    root = make_box(RECIPE)
    image = image_of(root)
    image.ensure(Silent())
    (root / "build/echo.py").write_text("changed")
    builder.status = 255
    with pytest.raises(PreparationError, match="cannot make the image"):
        image.ensure(Silent())
    assert image.path.read_text() == "image 1"
    assert not image.partial.exists()
    assert image.is_stale()


def test_a_place_that_cannot_be_written_is_named(make_box: MakeBox, builder: Builder) -> None:
    image = image_of(make_box(RECIPE), "in.txt/box.sif")
    with pytest.raises(CannotCreateError, match=r"in\.txt/box\.sif"):
        image.ensure(Silent())


def test_settings_of_the_site_are_readable_in_the_build_and_gone_afterwards(
    make_box: MakeBox, builder: Builder, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("certificates")
    image = replace(image_of(make_box(RECIPE)), ca_bundle=tmp_path / "ca.pem")
    recipes = []

    class Looking(Builder):
        def stream(self, command: Command, *, on_output: object, mark: str) -> Completed:
            recipes.append(Path(command.argv[-1]).read_text())
            assert (image.work_directory / "settings/ca.crt").read_text() == "certificates"
            assert image.work_directory.stat().st_mode & 0o777 == 0o700
            return super().stream(command, on_output=on_output, mark=mark)

    builder.stream = Looking().stream  # type: ignore[method-assign]
    image.ensure(Silent())
    assert recipes == [
        'Bootstrap: scratch\n\n%setup\n    mkdir -p "${APPTAINER_ROOTFS:-$SINGULARITY_ROOTFS}/mlbox_site"\n'
    ]
    assert not image.work_directory.exists()
