"""What every runner promises, as tests for pytest, to try a runner of your own.

Subclass :class:`RunnerContract` in a test module (:class:`ContainerContract` for a runner that isolates its tasks),
and say what platform to run on and what the box needs to be built for it::

    class TestMine(ContainerContract):
        box_files = {"build/Dockerfile": DOCKERFILE}

        @pytest.fixture
        def platform(self) -> Platform:
            return Platform(name="mine", runner="mine", options=DockerOptions(image="act:1"))

With ``pytest.register_assert_rewrite("mlcommons_box.contract")`` in ``conftest.py`` a failure shows its values.
"""

from mlcommons_box.contract.container import ContainerContract
from mlcommons_box.contract.runner import RunnerContract
from mlcommons_box.contract.scene import Recorder, Scene

__all__ = ["ContainerContract", "Recorder", "RunnerContract", "Scene"]
