"""How many processors this process may really use."""

import os
from pathlib import Path

_CGROUP_2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_1 = Path("/sys/fs/cgroup/cpu")


def usable_processors() -> int:
    """Return the processors of our affinity mask, less where a container's quota is lower."""
    allowed = len(os.sched_getaffinity(0))
    quota = _quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


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
