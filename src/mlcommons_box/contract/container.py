"""The promises of a runner that keeps a task from all that it was not given."""

from __future__ import annotations

from pathlib import Path

from mlcommons_box.contract.runner import RunnerContract
from mlcommons_box.contract.scene import Scene
from mlcommons_box.model import Platform
from mlcommons_box.value import replace


class ContainerContract(RunnerContract):
    """The promises of a runner that keeps a task from what it was not given."""

    def test_an_input_cannot_be_changed(self, scene: Scene) -> None:
        script = """
import os
for change in (
    lambda: open(script, "a").write("#"),
    lambda: os.unlink(script),
    lambda: os.rename(script, script + "2"),
    lambda: os.chmod(script, 0o777),
):
    try:
        change()
    except OSError as error:
        print(type(error).__name__)
    else:
        raise SystemExit("changed")
"""
        plan = scene.plan(script)
        before = (scene.root / "workspace/script.py").read_bytes()
        assert scene.run(plan).status == "succeeded", scene.recorder.text("stderr")
        assert (scene.root / "workspace/script.py").read_bytes() == before

    def test_an_input_below_an_output_cannot_be_changed_either(self, scene: Scene) -> None:
        plan = scene.plan(
            "import os\nopen(out + '/new', 'w')\ntry: open(out + '/script.py', 'a')\n"
            "except OSError: print('refused')\nelse: sys.exit('changed')",
            rebind={"out": "$WORKSPACE"},
        )
        outcome = scene.run(plan)
        assert outcome.status == "succeeded", scene.recorder.text("stderr")
        assert scene.recorder.text("stdout") == b"refused\n"
        assert (scene.root / "workspace/new").exists()

    def test_what_lies_beside_the_mounts_is_not_there(self, scene: Scene) -> None:
        scene.write({"workspace/secret": "geheim"})
        outside = str(scene.root / "workspace/secret")
        script = f"""
import os
beside = [os.path.join(os.path.dirname(path), "secret") for path in (script, out)] + [{outside!r}]
print([path for path in beside if os.path.exists(path)])
"""
        assert scene.act(script).status == "succeeded"
        assert scene.recorder.text("stdout") == b"[]\n"

    def test_there_is_no_privilege_and_none_to_gain(self, scene: Scene) -> None:
        script = """
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(*(status[name].strip() for name in ("CapEff", "CapPrm", "CapAmb", "NoNewPrivs", "Seccomp")))
"""
        assert scene.act(script).status == "succeeded"
        *capabilities, no_new, seccomp = scene.recorder.text("stdout").decode().split()
        assert {int(word, 16) for word in capabilities} == {0}
        assert no_new == "1"
        assert seccomp in ("0", "2")

    def test_the_network_can_be_cut_off(self, platform: Platform, tmp_path: Path) -> None:
        scene = Scene(tmp_path / "box", replace(platform, network="none"), self.box_files)
        script = "print([line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line])"
        assert scene.act(script).status == "succeeded"
        assert scene.recorder.text("stdout") == b"['lo']\n"

    def test_other_processes_of_the_machine_are_not_seen(self, scene: Scene) -> None:
        scene.act("import os; print(len([name for name in os.listdir('/proc') if name.isdigit()]))")
        assert int(scene.recorder.text("stdout")) < 10
