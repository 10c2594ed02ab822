"""Pictures in few colours look like those in all."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from keraslr import CosineAnnealingLR
from keraslr.plotting import ScheduleChart
from keraslr.plotting._png import Palette, encoded, rgb
from keraslr.summary import summarize
from widgets import DescentPanel, TrainingPanel


def decoded(data: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(data))
    assert picture.mode == "P"
    return np.asarray(picture.convert("RGB")).astype(int)


def pixels_of(chart) -> np.ndarray:
    chart.png()
    return np.asarray(chart.canvas.buffer_rgba()).copy()


def off(data: bytes, pixels: np.ndarray) -> np.ndarray:
    """By how much each pixel is another one than it should be, of 255."""
    return abs(decoded(data) - pixels[..., :3]).max(axis=-1)


def schedules() -> ScheduleChart:
    chart = ScheduleChart()
    summary = summarize(CosineAnnealingLR(0.1, T_max=30), 30)
    chart.draw([("cosine", summary, 1), ("again", summary, 1)])
    return chart


@pytest.mark.parametrize(
    "make",
    [schedules, lambda: TrainingPanel(dataset="digits").picture.chart],
    ids=["schedule", "training"],
)
def test_the_colours_of_lines_and_text_are_their_own(make):
    pixels = pixels_of(make())
    wrong = off(encoded(pixels), pixels)
    # Blends that share a cell of four levels are one.
    assert wrong.max() <= 3
    assert (wrong[(pixels[..., :3] == 255).all(-1)] == 0).all()


def test_shades_keep_theirs_and_blends_are_near():
    panel = DescentPanel("bowl", ["SGD", "momentum", "Adam"])
    pixels = pixels_of(panel._chart)
    wrong = off(panel.picture.value, pixels)
    assert (wrong[(pixels[..., :3] == 255).all(-1)] == 0).all()
    assert wrong.mean() < 0.5
    assert (wrong > 24).mean() < 1e-3


def test_a_palette_that_is_kept_fits_what_has_moved():
    panel = DescentPanel("bowl", ["SGD", "momentum", "Adam"])
    palette = panel._chart._palette
    panel.noise.value = 1.0
    panel.step.value = 20
    assert panel._chart._palette is palette
    wrong = off(panel.picture.value, pixels_of(panel._chart))
    assert wrong.mean() < 0.5
    assert (wrong > 24).mean() < 1e-3


def test_new_shades_get_a_new_palette():
    panel = DescentPanel("bowl", ["SGD"])
    palette = panel._chart._palette
    panel.objectives.value = "flat bowl"
    assert panel._chart._palette is not palette


def test_a_picture_that_is_no_chart_keeps_its_colours():
    chance = np.random.default_rng(0)
    noise = chance.integers(0, 256, (400, 400, 4), np.uint8)
    picture = Image.open(io.BytesIO(encoded(noise)))
    assert picture.mode == "RGB"
    assert (np.asarray(picture) == noise[..., :3]).all()


def test_few_bytes():
    """A third of what all colours take."""
    pixels = pixels_of(DescentPanel()._chart)
    buffer = io.BytesIO()
    rgb(pixels).save(buffer, format="png", compress_level=1)
    assert len(encoded(pixels)) < 0.55 * len(buffer.getvalue())


def test_a_palette_has_at_most_256_colours():
    pixels = pixels_of(DescentPanel()._chart)
    palette = Palette(rgb(pixels))
    assert len(palette.applied(rgb(pixels)).getcolors(256)) <= 256
