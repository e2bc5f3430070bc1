"""What `import graphkit` adds to `import numpy`: python -m benchmarks.imports

Fresh processes that take turns; the median of each. Ends with status 1 where graphkit adds more than the limit.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
STATEMENTS = ("pass", "import numpy", "import graphkit")


def seconds(statement: str) -> float:
    """From the start of a process to its end."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], cwd=ROOT, check=True)
    return time.perf_counter() - begin


def measured(rounds: int) -> dict[str, list[float]]:
    """The seconds of each statement, after one round that fills the caches."""
    found: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for number in range(rounds + 1):
        for statement in STATEMENTS:
            taken = seconds(statement)
            if number:
                found[statement].append(taken)
    return found


def heaviest(count: int) -> list[tuple[float, str]]:
    """The modules that `import graphkit` loads after numpy, by milliseconds of their own."""
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        "import numpy; print(1, file=__import__('sys').stderr); import graphkit",
    ]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stderr
    after = told.partition("\n1\n")[2]
    lines = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", after)
    return sorted(((int(own) / 1e3, name) for own, name in lines), reverse=True)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--limit", type=float, default=0.08, help="seconds that graphkit may add")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.2f}")
    found = {statement: sorted(times) for statement, times in measured(options.rounds).items()}
    for statement, times in found.items():
        print(f"{statement:16} median {statistics.median(times):.4f} s   {times[0]:.4f} to {times[-1]:.4f}")
    added = statistics.median(found["import graphkit"]) - statistics.median(found["import numpy"])
    fastest = found["import graphkit"][0] - found["import numpy"][0]
    print(f"graphkit adds {added:.4f} s (fastest to fastest {fastest:.4f}); the limit is {options.limit} s\n")
    for own, name in heaviest(12):
        print(f"{own:8.2f} ms  {name}")
    sys.exit(added > options.limit)


if __name__ == "__main__":
    main()
