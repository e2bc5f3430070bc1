"""From runs to a table."""

from __future__ import annotations

from typing import Any

from benchmarks.report import HEADINGS, page, summary, table


def run(side: str, median: float, disturbed: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "workload": "mlp", "side": side, "median_ms": median, "disturbed": disturbed, "others_cores": 0.1,
        "gemm_gflops": 200.0, "first_step_s": 0.5, "peak_mb": 80.0, "versions": {side: "1"}, "libraries": [], **more,
    }  # fmt: skip


def test_the_ratio_is_that_of_the_medians_of_the_rounds() -> None:
    runs = [run("graphkit", ms) for ms in (1.0, 2.0, 9.0)] + [run("torch", ms) for ms in (4.0, 4.0, 5.0)]
    row = summary(runs, {"mlp": 1.2e-7})[0]
    assert (row["graphkit ms"], row["PyTorch ms"], row["ratio"]) == ("2.000", "4.000", "0.50")
    assert (row["spread"], row["rounds"], row["losses differ by"]) == ("9.00 / 1.25", "3 / 3", "1e-07")


def test_disturbed_runs_do_not_count_where_there_are_others() -> None:
    runs = [run("graphkit", 1.0), run("graphkit", 80.0, disturbed=True), run("torch", 2.0)]
    assert summary(runs, {})[0]["ratio"] == "0.50"


def test_figures_from_disturbed_runs_alone_are_marked() -> None:
    row = summary([run("graphkit", 1.0, disturbed=True), run("torch", 2.0)], {})[0]
    assert (row["graphkit ms"], row["PyTorch ms"], row["ratio"]) == ("1.000*", "2.000", "0.50*")


def test_graphkit_alone_has_no_ratio() -> None:
    row = summary([run("graphkit", 1.0)], {})[0]
    assert "ratio" not in row
    assert row["memory MB"] == "80"


def test_a_table_is_aligned_and_the_page_names_the_machine() -> None:
    lines = table(summary([run("graphkit", 1.0)], {}), HEADINGS).splitlines()
    assert len({len(line) for line in lines}) == 1
    machine = {"cpu": "a processor", "cores": 2, "memory_gb": 8, "system": "a system"}
    text = page("2020-01-02", machine, [run("graphkit", 1.0)], {}, ["a note"])
    assert text.startswith("# Training, 2020-01-02\n\na processor, 2 cores, 8 GB, a system; graphkit 1\n")
    assert text.endswith("a note\n")
