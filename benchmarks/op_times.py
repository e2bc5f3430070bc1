"""Where a graphkit step's time goes in a workload: what `model.profile` says, and the ops by their sizes.

python -m benchmarks.op_times mlp
"""

from __future__ import annotations

import argparse

from benchmarks.data import WORKLOADS, Arrays
from benchmarks.fit_side import alone
from benchmarks.graphkit_side import Side


def profile(name: str, steps: int = 200, most: int = 20) -> str:
    """The tables of one workload."""
    workload = WORKLOADS[name]

    def batch(arrays: Arrays) -> Arrays:
        return {name: array[: workload.batch] for name, array in arrays.items()}

    x, y = map(batch, workload.data())
    found = Side(workload).model.profile(alone(x), alone(y), steps=steps)
    return f"{found}\n\n{found.table('op', 'shapes', 'layer', most=most)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    print(profile(parser.parse_args().workload), flush=True)


if __name__ == "__main__":
    main()
