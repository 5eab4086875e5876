"""A preparation whose process was killed keeps nobody from the next one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mlcommons_box.runners.once import once

HOLD = """\
import sys, time
from pathlib import Path
from mlcommons_box.runners.once import once
with once(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_system_releases_a_lock_with_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    waited = []
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        def waiting() -> None:
            waited.append(True)
            holder.kill()

        with once(lock, waiting) as held:
            assert not held.done_meanwhile
    assert waited == [True]
