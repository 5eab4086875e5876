"""Runs one command, and writes to a file descriptor how long it took, its peak memory in KiB and its exit status.

A process counts as its own peak what its parent held when it was started, so a large parent would hide a small
child.  This is a small one: nothing is imported that is not built in.
"""

import os
import sys
import time

where = int(sys.argv[1])
os.set_inheritable(where, False)
began = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
took = time.perf_counter() - began
os.write(where, f"{took} {usage.ru_maxrss} {os.waitstatus_to_exitcode(status)}".encode())
