"""Which GPUs a task is given where no engine divides them."""

from __future__ import annotations

from collections.abc import Mapping


def first_devices(count: int, environ: Mapping[str, str]) -> str:
    """The first GPUs of those that the caller may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible is not None else [str(number) for number in range(count)]
    return ",".join(devices[:count])
