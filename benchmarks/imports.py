"""What `import graphkit` adds to `import numpy`: python -m benchmarks.imports

Fresh processes that take turns, with byte code kept as an installed package has it; the median of each. Ends with
status 1 where graphkit adds more than the limit.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import machine

ROOT = Path(__file__).parent.parent
STATEMENTS = ("pass", "import numpy", "import graphkit")
LIMIT = 0.08
Command = tuple[str, str]  # an interpreter and what it is given to run


def seconds(command: Command, folder: Path, variables: Mapping[str, str]) -> float:
    """From the start of a process to its end."""
    begin = time.perf_counter()
    subprocess.run([command[0], "-c", command[1]], cwd=folder, env=variables, check=True)
    return time.perf_counter() - begin


def measured(
    commands: Mapping[Command, Mapping[str, str]], rounds: int, folder: Path = ROOT
) -> dict[Command, list[float]]:
    """The sorted seconds of each command, run in its environment, after one round that fills the caches."""
    found: dict[Command, list[float]] = {command: [] for command in commands}
    for number in range(rounds + 1):
        for command, variables in commands.items():
            taken = seconds(command, folder, variables)
            if number:
                found[command].append(taken)
    return {command: sorted(times) for command, times in found.items()}


def heaviest(count: int) -> list[tuple[float, str]]:
    """The modules that `import graphkit` loads after numpy, by milliseconds of their own."""
    text = "import numpy; print(1, file=__import__('sys').stderr); import graphkit"
    command = [sys.executable, "-X", "importtime", "-c", text]
    told = subprocess.run(
        command, cwd=ROOT, env=machine.environment(1, True)[0], check=True, capture_output=True, text=True
    ).stderr
    after = told.partition("\n1\n")[2]
    lines = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", after)
    return sorted(((int(own) / 1e3, name) for own, name in lines), reverse=True)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds that graphkit may add")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.2f}")
    environment, _ = machine.environment(1, True)
    commands = {(sys.executable, statement): environment for statement in STATEMENTS}
    found = {statement: times for (_, statement), times in measured(commands, options.rounds).items()}
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
