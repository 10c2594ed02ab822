"""Pixels as a PNG of few bytes, in the time that a hand allows."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

# Of the 256 colours of a PNG with a palette, so many are the picture's most frequent ones.
_FREQUENT = 160
_MOST = 256
# A picture with more colours than this is no chart, and gets no palette.
_MANY = 1 << 16
# Pillow looks colours up by these bits alone: those that share them are one.
_CELL = 0b1111_1100


class Palette:
    """256 colours in which a chart looks like itself.

    A chart is flat areas and the blends at the edges of lines. The frequent colours are kept as
    they are, and the rare blends have some colours for all of them. A picture in a palette takes a
    third of the time to encode, and of the bytes to send.

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
        """The picture in these colours, the nearest one for each pixel."""
        if self._colours is None:
            return picture
        done = picture.quantize(palette=self._cells, dither=Image.Dither.NONE)
        done.putpalette(list(_flat(self._colours)))
        return done


def rgb(pixels: np.ndarray) -> Image.Image:
    """Pixels (height, width, 4), the last one unused, as an RGB image."""
    height, width, _ = pixels.shape
    return Image.frombuffer("RGBX", (width, height), pixels, "raw", "RGBX", 0, 1).convert("RGB")


def encoded(pixels: np.ndarray, palette: Palette | None = None) -> bytes:
    """Pixels (height, width, 4) as a PNG.

    Args:
        pixels: The last number of each is not used.
        palette: That of a picture like this one; made from this one, unless given.
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
