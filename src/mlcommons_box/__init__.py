"""Run a machine-learning box, unchanged, on any engine.

A *box* is a directory that describes and holds a machine-learning workload.  This package checks boxes and runs
their tasks, for the command line (``mlbox``) and for programs and notebooks::

    import mlcommons_box as mlbox

    box = mlbox.load_box("examples/mnist")
    record = mlbox.run(mlbox.plan(box, "train", platform="local"))
    print(record.status, dict(record.metrics))

The names below are stable; what is behind them is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlcommons_box.api import (
        cancel,
        commands,
        compare,
        find_run,
        load_box,
        log,
        plan,
        plan_all,
        replay,
        run,
        run_all,
        run_sweep,
        runs,
        show_output,
        start,
        validate,
        verify,
        wait,
        why,
    )
    from mlcommons_box.checking import Report
    from mlcommons_box.differences import Difference
    from mlcommons_box.errors import BoxError, DefinitionError, Problem
    from mlcommons_box.model import Box, Platform
    from mlcommons_box.planning import RunPlan
    from mlcommons_box.record import RunRecord
    from mlcommons_box.replaying import Replayed
    from mlcommons_box.report.sweeps import TrialResult
    from mlcommons_box.up_to_date import Verdict
    from mlcommons_box.verification import Checked

__version__ = "0.3.0"

__all__ = [
    "Box",
    "BoxError",
    "Checked",
    "DefinitionError",
    "Difference",
    "Platform",
    "Problem",
    "Replayed",
    "Report",
    "RunPlan",
    "RunRecord",
    "TrialResult",
    "Verdict",
    "__version__",
    "cancel",
    "commands",
    "compare",
    "find_run",
    "load_box",
    "log",
    "plan",
    "plan_all",
    "replay",
    "run",
    "run_all",
    "run_sweep",
    "runs",
    "show_output",
    "start",
    "validate",
    "verify",
    "wait",
    "why",
]

_PLACES = {
    "Box": "model",
    "BoxError": "errors",
    "Checked": "verification",
    "DefinitionError": "errors",
    "Difference": "differences",
    "Platform": "model",
    "Problem": "errors",
    "Replayed": "replaying",
    "Report": "checking",
    "RunPlan": "planning",
    "RunRecord": "record",
    "TrialResult": "report.sweeps",
    "Verdict": "up_to_date",
}
"""The modules of the classes; all else is in ``api``."""


def __getattr__(name: str) -> object:
    """Load what is asked for, so that to import the package costs nothing (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_PLACES.get(name, 'api')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The names that are promised."""
    return __all__
