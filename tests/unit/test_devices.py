"""GPUs: which there are, and that nobody has one that somebody else has."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mlcommons_box.errors import CannotCreateError, Interrupted
from mlcommons_box.interruption import Relay
from mlcommons_box.runners.devices import DevicePool, devices_here


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("0,1", ("0", "1")),
        (" 2 , 0 ,2", ("2", "0")),
        ("GPU-8932f937,MIG-GPU-89/1/0", ("GPU-8932f937", "MIG-GPU-89/1/0")),
        ("0,-1,1", ("0",)),
        ("-1", ()),
        ("", ()),
        ("NoDevFiles", ()),
    ],
)
def test_the_caller_s_own_choice_is_what_there_is(visible: str, devices: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    assert devices_here({"CUDA_VISIBLE_DEVICES": visible}, tmp_path) == devices


def test_otherwise_they_are_all_that_the_machine_has(tmp_path: Path) -> None:
    assert devices_here({}, tmp_path / "nothing") == ()
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert devices_here({}, tmp_path) == ("0", "1", "2")


def never() -> None:
    raise AssertionError("nobody has to wait")


def test_two_never_have_the_same(tmp_path: Path) -> None:
    pools = [DevicePool(("0", "1", "2"), tmp_path) for _ in range(2)]  # as two processes have them
    first = pools[0].lease(2, never)
    second = pools[1].lease(1, never)
    assert (first.devices, second.devices) == (("0", "1"), ("2",))
    second.give_back()
    third = pools[0].lease(1, never)
    assert third.devices == ("2",)
    first.give_back()
    first.give_back()
    assert pools[1].lease(2, never).devices == ("0", "1")
    third.give_back()


def test_whoever_comes_too_late_waits_and_holds_nothing_meanwhile(tmp_path: Path) -> None:
    pool = DevicePool(("0", "1"), tmp_path)
    held = pool.lease(1, never)
    waits = threading.Event()
    got: list[tuple[str, ...]] = []
    thread = threading.Thread(target=lambda: got.append(pool.lease(2, waits.set).devices))
    thread.start()
    assert waits.wait(10)
    pool.lease(1, never).give_back()
    assert got == []
    held.give_back()
    thread.join(10)
    assert got == [("0", "1")]


def test_waiting_can_be_interrupted(tmp_path: Path) -> None:
    pool = DevicePool(("0",), tmp_path)
    held = pool.lease(1, never)
    relay = Relay()
    raised: list[int] = []

    def wait() -> None:
        with relay.heard():
            try:
                pool.lease(1, lambda: relay.tell(15))
            except Interrupted as error:
                raised.append(error.signal_number)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(10)
    assert raised == [15]
    held.give_back()


def test_machines_that_share_a_cache_have_gpus_of_their_own(tmp_path: Path) -> None:
    one, other = (DevicePool(("0",), tmp_path, host) for host in ("a", "b"))
    leases = [one.lease(1, never), other.lease(1, never)]
    for lease in leases:
        lease.give_back()


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "locks").touch()
    with pytest.raises(CannotCreateError, match="cannot create the lock"):
        DevicePool(("0",), tmp_path).lease(1, never)
    with pytest.raises(ValueError, match="no 2 devices"):
        DevicePool(("0",), tmp_path).lease(2, never)


def test_nothing_stays_open_when_there_are_too_few(tmp_path: Path) -> None:
    pool = DevicePool(("0", "1"), tmp_path)
    held = pool.lease(1, never)
    before = len(os.listdir("/proc/self/fd"))
    assert pool._try(2) is None
    assert len(os.listdir("/proc/self/fd")) == before
    held.give_back()
