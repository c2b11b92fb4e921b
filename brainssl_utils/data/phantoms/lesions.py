"""Tumours of the phantoms: where they grow, what shape they have, and how they look in each contrast.

A lesion is a function of the point in the patient's space (mm), so that neighbouring slices and all three planes of one
patient show the same tumour. Brightness is given relative to grey matter, because that is what an eye compares with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainssl_utils.data.phantoms.anatomy import SELLA, Head

# Offset from grey matter's brightness (1 = the brightest tissue) of solid tumour, dead core and oedema. Both T1 contrasts
# are those after contrast agent, which is what nearly all images of the archives are.
LOOKS = {
    "t1ce": {"solid": 0.38, "core": -0.22, "oedema": -0.17},
    "mprage": {"solid": 0.36, "core": -0.28, "oedema": -0.20},
    "t2": {"solid": 0.34, "core": 0.40, "oedema": 0.20},
    "flair": {"solid": 0.32, "core": -0.25, "oedema": 0.30},
}


@dataclass(frozen=True)
class Lesion:
    """One tumour in patient space.

    Attributes:
        kind: "glioma", "meningioma" or "pituitary".
        centre: (3,) mm; radius: mm; axes: (3,) relative half-axes.
        waves: (k, 3) 1/mm wave vectors and (k,) phases of the outline's irregularity, of strength `rough`.
        ring: inner edge of the enhancing rim as a share of the radius (0: solid throughout).
        oedema: outer edge of the oedema as a share of the radius (1: none).
        strength: factor on the offsets of `LOOKS`.
    """

    kind: str
    centre: np.ndarray
    radius: float
    axes: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    rough: float
    ring: float
    oedema: float
    strength: float


def draw_centre(kind: str, head: Head, rng: np.random.Generator) -> np.ndarray:
    """Canonical position (3,) mm of a tumour of this kind."""
    if kind == "glioma":
        return head.deep_points[rng.integers(len(head.deep_points))].astype(float)
    if kind == "meningioma":
        return head.dural_points[rng.integers(len(head.dural_points))].astype(float)
    return SELLA + rng.normal(0, 1.0, 3)


def draw_lesion(kind: str, centre: np.ndarray, inward: np.ndarray, rng: np.random.Generator) -> Lesion:
    """Shape of a tumour at `centre` (3,) mm; `inward` (3,) is the unit vector from there into the brain."""
    low, high = {"glioma": (17, 31), "meningioma": (15, 27), "pituitary": (9, 16)}[kind]
    radius = float(rng.uniform(low, high))
    axes = rng.uniform(0.8, 1.2, 3)
    waves = rng.normal(0, 1.0, (6, 3)) * (2.2 / radius)
    phases = rng.uniform(0, 2 * np.pi, 6)
    strength = float(rng.uniform(*((0.65, 1.05) if kind == "pituitary" else (0.85, 1.2))))
    if kind == "glioma":
        ring = float(rng.choice([0.0, rng.uniform(0.45, 0.8)], p=[0.08, 0.92]))
        return Lesion(kind, centre, radius, axes, waves, phases, float(rng.uniform(0.14, 0.26)), ring,
                      float(rng.uniform(1.5, 2.1)), strength)  # fmt: skip
    if kind == "meningioma":
        seat = centre + inward * radius * rng.uniform(0.35, 0.7)
        ring = float(rng.choice([0.0, rng.uniform(0.2, 0.45)], p=[0.92, 0.08]))
        swelling = float(rng.choice([1.0, rng.uniform(1.2, 1.6)], p=[0.6, 0.4]))
        return Lesion(kind, seat, radius, axes, waves, phases, 0.05, ring, swelling, strength)
    seat = centre + np.array([0, 0, radius * rng.uniform(0.2, 0.6)])
    axes = np.array([rng.uniform(0.85, 1.2), rng.uniform(0.8, 1.05), rng.uniform(0.9, 1.35)])
    return Lesion(kind, seat, radius, axes, waves, phases, 0.05, 0.0, 1.0, strength)


def lesion_distance(lesion: Lesion, points: np.ndarray) -> np.ndarray:
    """Distance from the centre in units of the (irregular) radius: 1 at the outline. Points (3, ...) mm."""
    shape = (3, *[1] * (points.ndim - 1))
    relative = points - lesion.centre.reshape(shape)
    distance = np.sqrt(((relative / (lesion.axes * lesion.radius).reshape(shape)) ** 2).sum(axis=0))
    ripple = np.zeros_like(distance)
    for wave, phase in zip(lesion.waves, lesion.phases):
        ripple += np.sin(np.tensordot(wave, relative, 1) + phase)
    return distance + lesion.rough * 0.6 * ripple


def _grain(lesion: Lesion, points: np.ndarray) -> np.ndarray:
    """Unevenness inside the tumour, about -1..1, in lumps of a few mm."""
    relative = points - lesion.centre.reshape(3, *[1] * (points.ndim - 1))
    lumps = [
        np.sin(np.tensordot(3 * wave, relative, 1) + 2 * phase) for wave, phase in zip(lesion.waves, lesion.phases)
    ]
    return np.mean(lumps, axis=0) * 1.5


def paint(lesion: Lesion, picture: np.ndarray, points: np.ndarray, tissue: dict[str, np.ndarray], depth: np.ndarray,
          contrast: str, grey: float) -> np.ndarray:  # fmt: skip
    """Return `picture` (brightness, 0..1) with the tumour in it.

    Args:
        picture: (H, W) brightness of the healthy slice.
        points: (3, H, W) mm, patient space.
        tissue: name -> (H, W) fractions 0..1 of the healthy slice.
        depth: (H, W) mm, signed distance to the inner skull surface, negative inside.
        contrast: key of `LOOKS`.
        grey: brightness of grey matter in this patient.
    """
    look = {part: grey + lesion.strength * offset for part, offset in LOOKS[contrast].items()}
    distance = lesion_distance(lesion, points)
    grain = _grain(lesion, points)
    edge = 2.0 / lesion.radius  # outlines about 2 mm soft

    def within(limit: float | np.ndarray, softness: float = edge) -> np.ndarray:
        return np.clip((limit - distance) / softness + 0.5, 0, 1)

    skull_side = np.clip(0.5 - depth / 2, 0, 1)  # 1 inside the skull
    if lesion.oedema > 1:
        water = within(lesion.oedema + 0.25 * grain, 0.3) * (0.35 * tissue["gm"] + tissue["wm"]) * skull_side
        picture = picture + water * (look["oedema"] - picture)
    body = within(1.0) * (1 if lesion.kind == "pituitary" else skull_side)
    uneven = 0.08 if lesion.kind == "glioma" else 0.03
    picture = picture + body * (look["solid"] + uneven * grain - picture)
    if lesion.ring:
        core = within(lesion.ring + 0.12 * grain) * skull_side
        picture = picture + core * (look["core"] - picture)
    if lesion.kind == "meningioma":
        tail = np.clip(1 - np.abs(depth + 1) / 1.8, 0, 1) * within(1.7, 0.5)
        picture = picture + 0.7 * tail * (look["solid"] - picture)
    return np.clip(picture, 0, 1)
