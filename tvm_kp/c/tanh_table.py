"""tanh as a table of cubic polynomials."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.polynomial import polynomial

COUNT, WIDTH = 128, 1 / 8  # of the intervals, from -8 to 8
BYTES = 4 * 4 * COUNT


@cache
def cubics() -> np.ndarray:
    """The coefficients of 1, x, x² and x³ for every interval, (``COUNT``, 4) float32.

    They interpolate at the Chebyshev nodes of the interval; beside 0 tanh(x)/x is interpolated
    instead, so that tanh(±0) is ±0. Evaluated in float32 they are at most 4e-7 off.
    """
    starts = WIDTH * (np.arange(COUNT) - COUNT / 2)
    return np.array([_cubic(float(start)) for start in starts], np.float32)


def _cubic(start: float) -> np.ndarray:
    if start in (-WIDTH, 0.0):
        return np.concatenate([[-0.0], _interpolated(lambda x: math.tanh(x) / x, start, 3)])
    return _interpolated(math.tanh, start, 4)


def _interpolated(function: Callable[[float], float], start: float, count: int) -> np.ndarray:
    """The polynomial through ``count`` Chebyshev nodes, by Newton's divided differences."""
    angles = [(2 * k + 1) * math.pi / (2 * count) for k in range(count)]
    nodes = [start + WIDTH / 2 * (1 + math.cos(angle)) for angle in angles]
    differences = [function(x) for x in nodes]
    for order in range(1, count):
        for k in range(count - 1, order - 1, -1):
            rise = differences[k] - differences[k - 1]
            differences[k] = rise / (nodes[k] - nodes[k - order])
    found: np.ndarray = np.zeros(1)
    for difference, node in zip(reversed(differences), reversed(nodes), strict=True):
        found = polynomial.polyadd(polynomial.polymul(found, [-node, 1.0]), [difference])
    return found[:count]
