"""The examples run, and learn what they claim to."""

from __future__ import annotations

import statistics

import pytest

import graphkit
from examples import autoencoder, basics, digits, gradient_ascent, subclassing, tickets, transformer, translate, vae


@pytest.mark.slow
def test_tickets_learns_as_keras_does() -> None:
    """Keras on three seeds: 0.991 to 0.995 and 0.857 to 0.882."""
    x, y = tickets.load_mail()
    known = slice(0, tickets.TRAINING_ROWS)
    areas, accuracies = [], []
    for seed in (0, 1, 2):
        graphkit.utils.set_random_seed(seed)
        model = tickets.build()
        model.fit(tickets.rows(x, known), tickets.rows(y, known), batch_size=32, epochs=5, verbose=0)
        area, accuracy = tickets.quality(model)
        areas.append(area)
        accuracies.append(accuracy)
    assert statistics.median(areas) >= 0.990, areas
    assert min(areas) >= 0.987, areas
    assert statistics.median(accuracies) >= 0.86, accuracies
    assert min(accuracies) >= 0.85, accuracies


def test_area_under_the_curve_counts_ranked_pairs() -> None:
    truth = tickets.np.array([1, 0, 1, 0, 0])
    score = tickets.np.array([0.9, 0.9, 0.3, 0.1, 0.5])
    pairs = [(0.9, s) for s in (0.9, 0.1, 0.5)] + [(0.3, s) for s in (0.9, 0.1, 0.5)]
    want = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / 6
    assert tickets.area_under_curve(truth, score) == pytest.approx(want)


def test_tickets_goes_the_whole_way(capsys: pytest.CaptureFixture[str]) -> None:
    tickets.main(["--epochs", "1", "--mask-zero"])
    told = capsys.readouterr().out
    assert "verified against predict" in told
    assert "serving 1 model on 127.0.0.1:" in told
    assert "server stopped with exit status 0" in told


def test_digits_learns(capsys: pytest.CaptureFixture[str]) -> None:
    assert digits.main() >= 0.93
    assert "verified against predict" in capsys.readouterr().out


def test_basics_runs(capsys: pytest.CaptureFixture[str]) -> None:
    basics.main()
    told = capsys.readouterr().out
    assert "Total params: 41" in told
    assert "inner values have shape (7, 4)" in told


def test_autoencoder_learns_and_exports(capsys: pytest.CaptureFixture[str]) -> None:
    assert autoencoder.main(rows=192, epochs=2) < 0.12
    told = capsys.readouterr().out
    for total in ("18,672", "9,569", "28,241"):
        assert f"Total params: {total}" in told
    assert "verified against predict" in told


def test_transformer_learns_to_reverse() -> None:
    assert transformer.main(rows=1500, epochs=6) > 0.95


def test_translate_answers_by_steps_as_the_training_graph(capsys: pytest.CaptureFixture[str]) -> None:
    share, same = translate.main(epochs=15)
    assert share > 0.9
    assert same
    assert "step: verified against predict" in capsys.readouterr().out


def test_subclassing_learns_and_refuses_forgetful_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert subclassing.main(epochs=5) > 0.8
    assert "does not hold it" in capsys.readouterr().out


def test_vae_learns_by_its_own_step(capsys: pytest.CaptureFixture[str]) -> None:
    first, last = vae.main(rows=256, epochs=4)
    assert last < first
    assert "encoder 69,076 and decoder 65,089 parameters" in capsys.readouterr().out


def test_gradient_ascent_rises() -> None:
    way = gradient_ascent.main(rows=256, epochs=1)
    assert way[-1] > 2 * abs(way[0])
