"""Tumours of the phantoms: where they grow, what shape they have, and how they look in each contrast.

A lesion is a function of the point in the patient's space, so that all slices of one patient show the same tumour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from brainssl_utils.data.phantoms.anatomy import SELLA, Head

# Brightness of solid tumour, dead core and oedema above grey matter's (1 = the brightest tissue). Both T1 contrasts are
# those after contrast agent, as in nearly all images of the archives.
LOOKS = {
    "t1ce": (0.38, -0.22, -0.17),
    "mprage": (0.36, -0.28, -0.20),
    "t2": (0.34, 0.40, 0.20),
    "flair": (0.32, -0.25, 0.30),
}


@dataclass(frozen=True)
class Lesion:
    """One tumour in patient space (mm)."""

    kind: str  # "glioma", "meningioma" or "pituitary"
    centre: np.ndarray  # (3,)
    radius: float
    axes: np.ndarray  # (3,) half-axes relative to the radius
    waves: np.ndarray  # (k, 3) 1/mm, wave vectors of the outline's irregularity
    phases: np.ndarray  # (k,)
    rough: float  # strength of the irregularity
    ring: float  # inner edge of the enhancing rim as a share of the radius (0: solid throughout)
    oedema: float  # outer edge of the oedema as a share of the radius (1: none)
    strength: float  # factor on the offsets of `LOOKS`


def draw_centre(kind: str, head: Head, rng: np.random.Generator) -> np.ndarray:
    """Canonical position (3,) mm of a tumour of this kind."""
    if kind == "pituitary":
        return SELLA + rng.normal(0, 1.0, 3)
    points = head.deep_points if kind == "glioma" else head.dural_points
    return points[rng.integers(len(points))].astype(float)


def draw_lesion(kind: str, centre: np.ndarray, inward: np.ndarray, rng: np.random.Generator) -> Lesion:
    """Shape of a tumour at `centre` (3,) mm; `inward` (3,) is the unit vector from there into the brain."""
    radius = rng.uniform(*{"glioma": (17, 31), "meningioma": (15, 27), "pituitary": (9, 16)}[kind])
    axes = rng.uniform(0.8, 1.2, 3)
    waves = rng.normal(0, 1.0, (6, 3)) * (2.2 / radius)
    phases = rng.uniform(0, 2 * np.pi, 6)
    strength = rng.uniform(0.65, 1.05) if kind == "pituitary" else rng.uniform(0.85, 1.2)
    rough, ring, oedema = 0.05, 0.0, 1.0
    if kind == "glioma":
        ring = rng.choice([0.0, rng.uniform(0.45, 0.8)], p=[0.08, 0.92])
        rough = rng.uniform(0.14, 0.26)
        oedema = rng.uniform(1.5, 2.1)
    elif kind == "meningioma":
        centre = centre + inward * radius * rng.uniform(0.35, 0.7)
        ring = rng.choice([0.0, rng.uniform(0.2, 0.45)], p=[0.92, 0.08])
        oedema = rng.choice([1.0, rng.uniform(1.2, 1.6)], p=[0.6, 0.4])
    else:
        centre = centre + np.array([0, 0, radius * rng.uniform(0.2, 0.6)])
        axes = rng.uniform((0.85, 0.8, 0.9), (1.2, 1.05, 1.35))
    return Lesion(kind, centre, radius, axes, waves, phases, rough, float(ring), float(oedema), strength)


def _ripple(lesion: Lesion, points: np.ndarray, wave_factor: int = 1, phase_factor: int = 1) -> np.ndarray:
    """Sum of the lesion's sine waves (H, W) at points (3, H, W) mm; the factors give shorter, shifted waves."""
    relative = points - lesion.centre[:, None, None]
    waves = zip(wave_factor * lesion.waves, phase_factor * lesion.phases)
    return sum(np.sin(np.tensordot(wave, relative, 1) + phase) for wave, phase in waves)


def lesion_distance(lesion: Lesion, points: np.ndarray) -> np.ndarray:
    """Distance (H, W) from the centre in units of the (irregular) radius: 1 at the outline. Points (3, H, W) mm."""
    relative = points - lesion.centre[:, None, None]
    distance = np.sqrt(((relative / (lesion.axes * lesion.radius)[:, None, None]) ** 2).sum(axis=0))
    return distance + lesion.rough * 0.6 * _ripple(lesion, points)


def _layers(lesion: Lesion, points: np.ndarray, tissue: dict[str, np.ndarray], depth: np.ndarray, contrast: str,
            grey: float) -> Iterator[tuple[float | np.ndarray, np.ndarray]]:  # fmt: skip
    """Brightness of each part of the tumour, and its share (H, W) 0..1 of each pixel, the part beneath first."""
    solid, core, water = (grey + lesion.strength * offset for offset in LOOKS[contrast])
    distance = lesion_distance(lesion, points)
    grain = _ripple(lesion, points, 3, 2) / len(lesion.waves) * 1.5  # lumps of a few mm, about -1..1

    def within(limit: float | np.ndarray, softness: float = 2.0 / lesion.radius) -> np.ndarray:
        """Share of the pixel that lies within `limit` radii; outlines are about 2 mm soft."""
        return np.clip((limit - distance) / softness + 0.5, 0, 1)

    in_skull = np.clip(0.5 - depth / 2, 0, 1)
    if lesion.oedema > 1:
        yield water, within(lesion.oedema + 0.25 * grain, 0.3) * (0.35 * tissue["gm"] + tissue["wm"]) * in_skull
    body = within(1.0) * (1 if lesion.kind == "pituitary" else in_skull)
    yield solid + (0.08 if lesion.kind == "glioma" else 0.03) * grain, body
    if lesion.ring:
        yield core, within(lesion.ring + 0.12 * grain) * in_skull
    if lesion.kind == "meningioma":  # the enhancing tail along the dura
        tail = np.clip(1 - np.abs(depth + 1) / 1.8, 0, 1) * within(1.7, 0.5)
        yield solid, 0.7 * tail


def paint(lesion: Lesion, picture: np.ndarray, points: np.ndarray, tissue: dict[str, np.ndarray], depth: np.ndarray,
          contrast: str, grey: float) -> np.ndarray:  # fmt: skip
    """`picture`, the brightness (H, W) 0..1 of a healthy slice, with the tumour in it.

    `points` (3, H, W) mm are its pixels in patient space, `tissue` their fractions of each tissue, `depth` (H, W) mm
    their distance to the inner skull surface; `contrast` is a key of `LOOKS`, `grey` the brightness of grey matter.
    """
    for brightness, share in _layers(lesion, points, tissue, depth, contrast, grey):
        picture = picture + share * (brightness - picture)
    return np.clip(picture, 0, 1)


def cover(lesion: Lesion, points: np.ndarray, tissue: dict[str, np.ndarray], depth: np.ndarray) -> np.ndarray:
    """Share (H, W) 0..1 of each pixel that the tumour covers, its oedema and its tail included; arguments as in `paint`."""
    free = np.ones(depth.shape, np.float32)
    for _, share in _layers(lesion, points, tissue, depth, "t1ce", 0.0):  # no share depends on the contrast
        free = free * (1 - share)
    return 1 - free
