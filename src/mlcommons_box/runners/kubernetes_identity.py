"""Who a task is in its Pod, and what it may do there: as little as with Docker."""

from __future__ import annotations

from typing import Any

from mlcommons_box.runners.container_run import ROOT_CAPABILITIES, Caller
from mlcommons_box.value import Value


class Identity(Value):
    """Who a task is in its Pod; ``group`` of None is the image's."""

    uid: int
    gid: int | None
    keeps_root: bool = False


def identity(user: str | None, caller: Caller) -> Identity | None:
    """Who a task is: the caller, or whom the platform names; None when that is a name that only the image knows."""
    if user is None:
        return Identity(uid=caller.uid, gid=caller.gid)
    name, _, group = user.partition(":")
    uid = "0" if name == "root" else name
    gid = "0" if group == "root" else group
    if not uid.isdecimal() or (gid and not gid.isdecimal()):
        return None
    return Identity(uid=int(uid), gid=int(gid) if gid else None, keeps_root=int(uid) == 0)


def pod_security(who: Identity) -> dict[str, Any]:
    """The security context of the Pod."""
    context: dict[str, Any] = {"runAsNonRoot": who.uid != 0, "runAsUser": who.uid}
    if who.gid is not None:
        context |= {"runAsGroup": who.gid, "fsGroup": who.gid, "fsGroupChangePolicy": "OnRootMismatch"}
    return context | {"seccompProfile": {"type": "RuntimeDefault"}}


def container_security(who: Identity) -> dict[str, Any]:
    """The security context of each of its containers."""
    capabilities: dict[str, Any] = {"drop": ["ALL"]}
    if who.keeps_root:
        capabilities["add"] = list(ROOT_CAPABILITIES)
    return {"allowPrivilegeEscalation": False, "capabilities": capabilities}
