"""Encodes pixels as a small PNG, fast enough for a slider."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

# Number of the palette's 256 colours that are the most frequent colours of the picture.
_FREQUENT = 160
_MOST = 256
# A picture with more colours than this is not a chart and gets no palette.
_MANY = 1 << 16
# Pillow looks colours up by these bits alone: those that share them are one.
_CELL = 0b1111_1100


class Palette:
    """256 colours that represent a chart faithfully.

    A chart consists of flat areas and blends at the edges of lines. Frequent colours are kept
    exactly, and the rare blends share the remaining colours. A picture with a palette takes a third
    of the time to encode, and a third of the bytes to send.

    Args:
        picture: An RGB image.
    """

    def __init__(self, picture: Image.Image):
        # Pillow's types are those of all modes; of RGB, colours are tuples.
        counted: Any = picture.getcolors(_MANY)
        self._colours: list[tuple[int, ...]] | None = None if counted is None else _chosen(counted)
        if self._colours is not None:
            self._cells = Image.new("P", (1, 1))
            self._cells.putpalette([part & _CELL for part in _flat(self._colours)])

    def applied(self, picture: Image.Image) -> Image.Image:
        """Returns the picture in these colours, the nearest one for each pixel."""
        if self._colours is None:
            return picture
        done = picture.quantize(palette=self._cells, dither=Image.Dither.NONE)
        done.putpalette(list(_flat(self._colours)))
        return done


def rgb(pixels: np.ndarray) -> Image.Image:
    """Converts pixels (height, width, 4), of which the last channel is unused, to an RGB image."""
    height, width, _ = pixels.shape
    return Image.frombuffer("RGBX", (width, height), pixels, "raw", "RGBX", 0, 1).convert("RGB")


def encoded(pixels: np.ndarray, palette: Palette | None = None) -> bytes:
    """Encodes pixels (height, width, 4) as a PNG.

    Args:
        pixels: Pixels of four channels, of which the last is unused.
        palette: Palette of a similar picture; by default one is made from this picture.
    """
    picture = rgb(pixels)
    buffer = io.BytesIO()
    shown = (palette or Palette(picture)).applied(picture)
    # Light compression: a quarter more bytes for half the time.
    shown.save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


def _chosen(counted: list[tuple[int, tuple[int, ...]]]) -> list[tuple[int, ...]]:
    cells: dict[tuple[int, ...], tuple[int, ...]] = {}
    for _, colour in sorted(counted, reverse=True):
        cells.setdefault(tuple(part & _CELL for part in colour), colour)
    colours = list(cells.values())
    if len(colours) <= _MOST:
        return colours
    rare = Image.fromarray(np.array([colours[_FREQUENT:]], np.uint8)).quantize(_MOST - _FREQUENT)
    left: Any = rare.convert("RGB").getcolors(_MOST)
    return colours[:_FREQUENT] + [colour for _, colour in left]


def _flat(colours: Iterable[tuple[int, ...]]) -> Iterable[int]:
    return (part for colour in colours for part in colour)
