"""What is read of a run: its hyper-parameters, its metrics, its machine, and what it ran in."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.hyperparameters import read_file, read_hyperparameters
from mlcommons_box.machine import SCRIPT, machine_of, this_machine
from mlcommons_box.metrics import read_metrics, read_steps
from mlcommons_box.planning import BoundParameter
from mlcommons_box.runners.identity import identity_of
from mlcommons_box.value import replace
from tests.conftest import write_files


class TestHyperparameters:
    @pytest.mark.parametrize(
        ("name", "text", "values"),
        [
            ("a.yaml", "rate: 0.1\nn: {a: [1, {b: x}], c: null}\n",
             {"rate": 0.1, "n.a.0": 1, "n.a.1.b": "x", "n.c": None}),
            ("a.yml", "on: yes", {"True": True}),
            ("a.json", '{"rate": 1e-3, "deep": {"list": [true]}}', {"rate": 0.001, "deep.list.0": True}),
            ("a.json", "[1, 2]", {"0": 1, "1": 2}),
            ("a.json", "5", {}),
            ("a.json", '{"a": NaN, "b": Infinity, "c": 1}', {"c": 1}),
            ("a.yaml", "a: .nan\nb: .inf\nc: 1", {"c": 1}),
            ("a.yaml", "a: 2026-01-01\nb: !!binary aGk=", {"a": "2026-01-01", "b": "b'hi'"}),
            ("a.yaml", "2026-01-01: {1.5: x, [1]: y}", {}),
            ("a.yaml", "a: " + "x" * 2000, {"a": "x" * 500}),
            ("a.yaml", "a: 0x" + "f" * 5000, {"a": "0x" + "f" * 498}),
            ("a.yaml", "? 0x" + "f" * 5000 + "\n: 1", {"0x" + "f" * 498: 1}),
            ("a.yaml", "a: &a [*a, 1]", None),
            ("a.yaml", "a: [", {}),
            ("a.yaml", "a: !!python/object/apply:os.system [true]", {}),
            ("a.json", "[" * 100_000, {}),
            ("a.json", '{"a":' * 900 + "1" + "}" * 900, {}),
            ("a.json", "[" + "1," * 3000 + "1]", None),
            ("a.yaml", "x" * (1 << 17), {}),
            ("a.yaml", "", {}),
            ("a.yaml", "\0", {}),
        ],
        ids=lambda value: str(value)[:30],
    )  # fmt: skip
    def test_a_file(self, tmp_path: Path, name: str, text: str, values: dict[str, Any] | None) -> None:
        (tmp_path / name).write_text(text)
        found = read_file(tmp_path / name)
        json.dumps(found)
        assert len(found) <= 500
        if values is not None:
            assert found == values

    def test_a_few_lines_that_stand_for_more_than_a_memory_holds(self, tmp_path: Path) -> None:
        lines = ["a0: &a0 []"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
        (tmp_path / "a.yaml").write_text("\n".join(lines))
        assert read_file(tmp_path / "a.yaml") == {}

    def test_which_inputs_have_some(self, tmp_path: Path) -> None:
        write_files(tmp_path, {"a.yaml": "a: 1", "b.txt": "b: 1", "c.json": "{}", "d.yaml/e.yaml": "e: 1"})
        (tmp_path / "link.yaml").symlink_to("a.yaml")
        (tmp_path / "loop.yaml").symlink_to("loop.yaml")
        os.mkfifo(tmp_path / "pipe.yaml")
        names = ("a.yaml", "b.txt", "c.json", "d.yaml", "link.yaml", "loop.yaml", "pipe.yaml", "gone.yaml")
        inputs = [BoundParameter(name=name, type="file", direction="input", path=tmp_path / name) for name in names]
        away = replace(inputs[0], name="away", elsewhere=True)
        assert read_hyperparameters([*inputs, away]) == {"a.yaml": {"a": 1}, "link.yaml": {"a": 1}}


def outputs(path: Path, kind: Any = "directory") -> list[BoundParameter]:
    return [BoundParameter(name="out", type=kind, direction="output", path=path)]


class TestMetrics:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            (
                '{"a": 1, "b": {"c": 0.5}, "text": "x", "flag": true, "list": [1], "none": null}',
                {"a": 1, "b.c": 0.5},
            ),
            ('{"a": NaN, "b": Infinity, "c": 1e999, "d": 2}', {"d": 2}),
            ('{"a": 1' + "0" * 400 + ', "b": 1}', {"b": 1}),
            ("5", {}),
            ("[]", {}),
            ("{", {}),
            ("\0", {}),
            ('{"a":' * 900 + "1" + "}" * 900, None),
            ("[" * 100_000, {}),
            (json.dumps({str(number): number for number in range(2000)}), None),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_a_result(self, tmp_path: Path, text: str, found: dict[str, Any] | None) -> None:
        (tmp_path / "metrics.json").write_text(text)
        read = read_metrics(outputs(tmp_path))
        assert len(read) <= 1000
        json.dumps(read, allow_nan=False)
        if found is not None:
            assert read == found
        assert read_metrics(outputs(tmp_path / "metrics.json", "file")) == read
        assert read_metrics([replace(outputs(tmp_path)[0], elsewhere=True)]) == {}

    def test_the_last_step_is_the_result_and_the_result_file_has_the_last_word(self, tmp_path: Path) -> None:
        deep = '{"a":' * 900 + "1" + "}" * 900
        lines = ['{"a": 1, "b": 1}', "no", '{"a": 2}', "[]", '{"b": NaN}', ""]
        write_files(tmp_path, {"metrics.jsonl": "\n".join(lines)})
        assert read_steps(outputs(tmp_path)) == [{"a": 1, "b": 1}, {"a": 2}]
        assert read_metrics(outputs(tmp_path)) == {"a": 2, "b": 1}
        write_files(tmp_path, {"metrics.json": '{"a": 9}'})
        assert read_metrics(outputs(tmp_path)) == {"a": 9, "b": 1}
        write_files(tmp_path, {"metrics.jsonl": deep})
        assert read_metrics(outputs(tmp_path))["a"] == 9

    @pytest.mark.parametrize("kind", ["pipe", "link", "directory", "huge"])
    def test_what_is_no_file_of_ours(self, tmp_path: Path, kind: str) -> None:
        for name in ("metrics.json", "metrics.jsonl"):
            file = tmp_path / name
            if kind == "pipe":
                os.mkfifo(file)
            elif kind == "link":
                (tmp_path / "other").write_text('{"a": 1}\n')
                file.symlink_to("other")
            elif kind == "directory":
                file.mkdir()
            else:
                file.touch()
                os.truncate(file, (16 << 20) + 1)
        assert read_metrics(outputs(tmp_path)) == {}


class TestMachine:
    def test_this_one(self) -> None:
        found = this_machine()
        assert found["host"] == os.uname().nodename
        assert found["processors"] >= 1
        json.dumps(found)

    def test_every_fact_is_one_line_of_the_script_even_when_nobody_knows_it(self) -> None:
        """A program that finds nothing prints nothing: only what echo is given makes a line in any case."""
        facts, gpus = SCRIPT.splitlines()[:-1], SCRIPT.splitlines()[-1]
        assert len(facts) == 7
        assert all(re.fullmatch(r'uname -[nsrm]|echo "\$\(.*\)"', fact) for fact in facts)
        assert "nvidia" in gpus

    def test_what_a_script_has_said(self) -> None:
        said = "node\nLinux\n6.1\naarch64\n\n8\n1024\n A100 \n\nA100\n"
        assert machine_of(said) == {
            "host": "node",
            "system": "Linux",
            "release": "6.1",
            "architecture": "aarch64",
            "processor": None,
            "processors": 8,
            "memory": 1 << 20,
            "gpus": ["A100", "A100"],
        }
        assert machine_of("node\nDarwin\n23\narm64\n\n\n\n")["processors"] is None
        for end in range(7):
            assert machine_of("\n".join("abcdefg"[:end])) == {}


HASH = "a" * 64


@pytest.mark.parametrize(
    ("text", "image", "engine"),
    [
        ("", {}, {}),
        ("anything\nat all: x\n", {}, {}),
        (f"image sha256:{HASH}\ndigest a@sha256:{HASH}\ndigest b@sha256:{HASH}\nengine docker 28.2",
         {"id": f"sha256:{HASH}", "digests": [f"a@sha256:{HASH}", f"b@sha256:{HASH}"]},
         {"name": "docker", "version": "28.2"}),
        (f"image {HASH}\nengine podman 4.3.1", {"id": f"sha256:{HASH}"}, {"name": "podman", "version": "4.3.1"}),
        (f"apptainer version 1.3.4\n{HASH}  /images/a.sif", {"id": f"sha256:{HASH}"},
         {"name": "apptainer", "version": "1.3.4"}),
        (f"singularity-ce version 4.1.0-jammy\n\\{HASH}  /images/a\\nb.sif", {"id": f"sha256:{HASH}"},
         {"name": "singularity-ce", "version": "4.1.0-jammy"}),
        ("home = /usr/bin\nversion = 3.11.7\nexec = x\n/e/lib/python3.11/site-packages/PyYAML-6.0.1.dist-info\n"
         "/e/lib/python3.11/site-packages/a_b-1.0.post1.dist-info",
         {"python": "3.11.7", "packages": {"PyYAML": "6.0.1", "a_b": "1.0.post1"}}, {}),
        ("version_info = 3.12.1.final.0", {"python": "3.12.1.final.0", "packages": {}}, {}),
        ("engine docker", {}, {"name": "docker", "version": ""}),
        ("image ", {}, {}),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_what_tools_say_of_an_image(text: str, image: dict[str, Any], engine: dict[str, Any]) -> None:
    found = identity_of(text)
    assert (found.image, found.engine) == (image, engine)
