"""From runs to a table."""

from __future__ import annotations

from typing import Any

from benchmarks.report import first_epoch_page, headings, page, summary, table


def run(side: str, median: float, disturbed: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "workload": "mlp", "side": side, "median_ms": median, "disturbed": disturbed, "others_cores": 0.1,
        "gemm_gflops": 200.0, "first_step_s": 0.5, "peak_mb": 80.0, "versions": {side: "1"}, "libraries": [], **more,
    }  # fmt: skip


def test_the_ratio_is_that_of_the_medians_of_the_rounds() -> None:
    runs = [run("graphkit", ms) for ms in (1.0, 2.0, 9.0)] + [run("torch", ms) for ms in (4.0, 4.0, 5.0)]
    row = summary(runs, {"mlp": {"torch": 1.2e-7}})[0]
    assert (row["graphkit ms"], row["PyTorch ms"], row["ratio"]) == ("2.000", "4.000", "0.50")
    assert (row["spread"], row["rounds"], row["losses differ by"]) == ("9.00 / 1.25", "3 / 3", "1e-07")


def test_disturbed_runs_do_not_count_where_there_are_others() -> None:
    runs = [run("graphkit", 1.0), run("graphkit", 80.0, disturbed=True), run("torch", 2.0)]
    assert summary(runs, {})[0]["ratio"] == "0.50"


def test_figures_from_disturbed_runs_alone_are_marked() -> None:
    row = summary([run("graphkit", 1.0, disturbed=True), run("torch", 2.0)], {})[0]
    assert (row["graphkit ms"], row["PyTorch ms"], row["ratio"]) == ("1.000*", "2.000", "0.50*")


def test_the_ratio_is_over_the_fastest_peer_and_a_tuned_one_is_none() -> None:
    runs = [run("graphkit", 3.0), run("torch", 4.0), run("keras-tf", 2.0), run("torch-tuned", 1.0)]
    row = summary(runs, {"mlp": {"torch": 1e-7, "keras-tf": 3e-5}})[0]
    assert (row["Keras on TensorFlow ms"], row["PyTorch tuned ms"], row["ratio"]) == ("2.000", "1.000", "1.50")
    assert row["losses differ by"] == "1e-07 / 3e-05"
    assert headings(runs)[1:6] == ["graphkit ms", "PyTorch ms", "PyTorch tuned ms", "Keras on TensorFlow ms", "ratio"]


def test_graphkit_alone_has_no_ratio() -> None:
    row = summary([run("graphkit", 1.0)], {})[0]
    assert "ratio" not in row
    assert row["memory MB"] == "80"


def test_a_table_is_aligned_and_the_page_names_the_machine() -> None:
    lines = table(summary([run("graphkit", 1.0)], {}), headings([run("graphkit", 1.0)])).splitlines()
    assert len({len(line) for line in lines}) == 1
    machine = {"cpu": "a processor", "cores": 2, "memory_gb": 8, "system": "a system"}
    text = page("2020-01-02", machine, [run("graphkit", 1.0)], {}, ["a note"])
    assert text.startswith("# Training, 2020-01-02\n\na processor, 2 cores, 8 GB, a system; graphkit 1\n")
    assert text.endswith("a note\n")


def test_the_page_of_the_first_epoch_has_the_median_of_the_rounds() -> None:
    machine = {"cpu": "a processor", "cores": 2, "memory_gb": 8, "system": "a system"}
    runs = [
        {"side": "torch", "first_epoch_s": s, "of_it_in_fit_s": s / 2, "peak_mb": 340.0, "versions": {"torch": "2"}}
        for s in (3.0, 3.5, 9.0)
    ]
    line = next(x for x in first_epoch_page("2020-01-02", machine, runs, []).splitlines() if "PyTorch" in x)
    assert [cell.strip() for cell in line.split("|")[1:-1]] == ["PyTorch", "3.50", "1.75", "3.00", "9.00", "340", "3"]
