"""How many processors, how much memory and how many connections this process may really use."""

import ctypes
import os
import resource
from pathlib import Path

_CGROUP_2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_1 = Path("/sys/fs/cgroup/cpu")
_CGROUP_MEMORY = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_MOST_CONNECTIONS = 2**31 - 1
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE_BYTES = 4 * 1024 * 1024


def usable_processors() -> int:
    """Return the processors of our affinity mask, less where a container's quota is lower."""
    allowed = len(os.sched_getaffinity(0))
    quota = _quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def usable_memory() -> int:
    """Return the bytes that are free, less where a container's limit leaves less."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _MEMINFO.read_text().splitlines():
        if line.startswith("MemAvailable"):
            free = int(line.split()[1]) * 1024
    try:
        limit = int((_CGROUP_MEMORY / "memory.max").read_text())
        return min(free, limit - int((_CGROUP_MEMORY / "memory.current").read_text()))
    except (OSError, ValueError):  # not in such a container, or "max"
        return free


def usable_connections() -> int:
    """Return four fifths of the files that we may have open: the rest is for models and logs."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_CONNECTIONS if files == resource.RLIM_INFINITY else max(1, min(files * 4 // 5, _MOST_CONNECTIONS))


def keep_little_memory() -> None:
    """Have the C library return large blocks as soon as they are freed.

    glibc raises the size from which it does so with each one, and malloc_trim does not reach the end of
    a thread's arena: weights that were read once stayed in memory, up to 64 MB for each arena.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGE_BYTES)


def give_back_memory() -> None:
    """Return what the C library keeps of freed memory to the system, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _quota() -> float | None:
    """Return the container's limit in processors, None where there is none."""
    try:
        if _CGROUP_2.is_file():
            limit, period = _CGROUP_2.read_text().split()[:2]
        else:
            limit = (_CGROUP_1 / "cpu.cfs_quota_us").read_text().strip()
            period = (_CGROUP_1 / "cpu.cfs_period_us").read_text().strip()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
