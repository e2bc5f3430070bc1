"""The machine: its name for the table, the libraries that are loaded, how busy others keep it."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import psutil
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

TUNING = (
    "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR",
)  # fmt: skip
NO_BYTE_CODE = "PYTHONDONTWRITEBYTECODE"  # with it each process compiles what it imports anew
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def describe() -> dict[str, Any]:
    """The processor, the cores this process may use, memory, system."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = lines[0] if lines else model
    wide = info.exists() and "avx512f" in info.read_text()
    return {
        "cpu": model + (" (AVX-512)" if wide else ""),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def environment(threads: int, as_is: bool) -> tuple[dict[str, str], dict[str, str]]:
    """What workers run under, and what was taken out of it: settings that hold a library to a lesser processor.

    Byte code is kept in any case, as an installed package has it.
    """
    taken = {} if as_is else {name: os.environ[name] for name in TUNING if name in os.environ}
    kept = {name: value for name, value in os.environ.items() if name not in {*taken, NO_BYTE_CODE}}
    return {**kept, **dict.fromkeys(THREADS, str(threads))}, taken


def libraries() -> list[str]:
    """The BLAS and thread libraries that are loaded, with their kernels and threads."""
    return [
        " ".join(str(x) for x in (p["internal_api"], p["version"], p.get("architecture"), p["num_threads"]) if x)
        for p in threadpool_info()
    ]


def wait_until_quiet(limit: float, share: float = 10.0) -> float:
    """Waits until the cores are nearly idle or `limit` seconds are over; gives the load in cores it saw last."""
    end = time.monotonic() + limit
    while True:
        busy = psutil.cpu_percent(0.5)
        if busy < share or time.monotonic() > end:
            return float(round(busy / 100 * (psutil.cpu_count() or 1), 2))
