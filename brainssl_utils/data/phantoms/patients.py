"""One virtual patient: pose, shape, contrast, scanner and tumour are drawn once, slices are then rendered from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from brainssl_utils.data.phantoms.anatomy import TISSUES, Head
from brainssl_utils.data.phantoms.lesions import Lesion, cover, draw_centre, draw_lesion, paint

RENDER_SIZE = 192  # px; files are resized from this
SEEN = 0.1  # share of a pixel that a tumour covers where it can be seen
PLANES = ("axial", "coronal", "sagittal")
TUMOURS = ("glioma", "meningioma", "pituitary")

# Brightness of (gm, wm, csf, fat, muscle, vascular) in each contrast, 1 = the brightest tissue.
CONTRASTS = {
    "t1ce": (0.33, 0.39, 0.13, 0.68, 0.34, 0.66),
    "mprage": (0.40, 0.54, 0.14, 0.74, 0.38, 0.66),
    "t2": (0.48, 0.36, 0.86, 0.62, 0.25, 0.50),
    "flair": (0.48, 0.41, 0.12, 0.56, 0.30, 0.46),
}
CONTRAST_SHARES = (0.62, 0.24, 0.08, 0.06)


@dataclass(frozen=True)
class Warp:
    """Smooth map from patient space to canonical space (mm): an affine map and a sum of sine waves."""

    matrix: np.ndarray  # (3, 3)
    shift: np.ndarray  # (3,) mm
    waves: np.ndarray  # (k, 3) float32, 1/mm
    phases: np.ndarray  # (k,) float32
    amplitudes: np.ndarray  # (k, 3) float32, mm

    def to_canonical(self, points: np.ndarray) -> np.ndarray:
        """Canonical points of patient points, both (3, ...) mm float32."""
        flat = points.reshape(3, -1).astype(np.float32)
        moved = (self.matrix @ flat + self.shift[:, None]).astype(np.float32)
        return (moved + self.amplitudes.T @ np.sin(self.waves @ flat + self.phases[:, None])).reshape(points.shape)

    def from_canonical(self, target: np.ndarray) -> np.ndarray:
        """Patient point (3,) whose canonical point is `target` (3,), by fixed-point iteration."""
        inverse = np.linalg.inv(self.matrix)
        point = inverse @ (target - self.shift)
        for _ in range(12):
            point = point + inverse @ (target - self.to_canonical(point[:, None])[:, 0])
        return point


@dataclass(frozen=True)
class Patient:
    """Everything a slice of this patient is rendered from."""

    seed: tuple[int, int]  # of the set, and the patient's number in it
    warp: Warp
    contrast: str  # key of `CONTRASTS`
    values: np.ndarray  # (6,) brightness of each tissue
    bias: np.ndarray  # (6,) coefficients of the coil's shading
    noise: float  # standard deviation of the brightness
    blur: float  # px
    gain: float
    gamma: float
    view: float  # mm, the side of the field of view
    focus: np.ndarray  # (3,) mm, the point that slices are taken around: where the tumour is, or would be
    reach: float  # mm, how far from `focus` slices are taken
    lesion: Lesion | None


def draw_patient(seed: int, index: int, class_name: str, head: Head) -> Patient:
    """Patient number `index` of the set `seed`; the same numbers give the same patient in any process."""
    rng = np.random.default_rng((seed, index))
    scale = rng.normal(1.0, 0.035, 3) * rng.normal(1.0, 0.02)
    turn = Rotation.from_euler("xyz", rng.normal(0, (4, 3, 4)) * (1, -1, 1), degrees=True)
    lengths = np.exp(rng.uniform(np.log(28), np.log(120), 14))[:, None]  # mm, wavelengths
    directions = rng.normal(size=(14, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    amplitudes = rng.normal(size=(14, 3)) * 0.012 * lengths
    contrast = str(rng.choice(list(CONTRASTS), p=CONTRAST_SHARES))
    values = np.clip(np.array(CONTRASTS[contrast]) * rng.normal(1, 0.07, len(TISSUES)), 0.03, 1)
    # A patient without tumour is imaged at the levels at which the others are, or the level would give the class away.
    kind = class_name if class_name in TUMOURS else str(rng.choice(TUMOURS))
    shift, phases = rng.normal(0, 2, 3), rng.uniform(0, 2 * np.pi, 14)
    bends = (part.astype(np.float32) for part in (directions * (2 * np.pi / lengths), phases, amplitudes))
    warp = Warp(np.diag(1 / scale) @ turn.as_matrix(), shift, *bends)
    bias = rng.normal(0, 1, 6) * rng.uniform(0.02, 0.09)
    noise, blur, gain = rng.uniform((0.005, 0.3, 0.85), (0.025, 0.9, 1.12)).tolist()
    gamma, view = float(np.exp(rng.normal(0, 0.1))), rng.uniform(220, 242)
    centre = warp.from_canonical(draw_centre(kind, head, rng))
    inward = warp.from_canonical(np.array([0.0, -20.0, 12.0])) - centre
    lesion = draw_lesion(kind, centre, inward / max(np.linalg.norm(inward), 1.0), rng)
    place = (lesion.centre, 0.55 * lesion.radius, lesion if class_name in TUMOURS else None)
    return Patient((seed, index), warp, contrast, values, bias, noise, blur, gain, gamma, view, *place)


def _slice_generator(patient: Patient, plane: str, offset: float) -> np.random.Generator:
    return np.random.default_rng((*patient.seed, PLANES.index(plane), round(1000 * (offset + 500))))


def plane_points(patient: Patient, plane: str, offset: float) -> np.ndarray:
    """Patient-space points (3, 192, 192) mm of a slice's pixels, `offset` mm from the focus; row 0 is up or front."""
    steps = np.linspace(-patient.view / 2, patient.view / 2, RENDER_SIZE, dtype=np.float32)
    rows, cols = np.meshgrid(-steps, steps, indexing="ij")
    sway = _slice_generator(patient, plane, offset).normal(0, 2.5, 2)
    x, y, z = (np.full_like(rows, level) for level in patient.focus + offset)
    if plane == "axial":
        return np.stack([cols + sway[0], rows - 8 + sway[1], z])
    if plane == "coronal":
        return np.stack([cols + sway[0], y, rows - 10 + sway[1]])
    return np.stack([x, -cols - 2 + sway[0], rows - 10 + sway[1]])


def _scanner(patient: Patient, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, coil shading, Rician noise, gain and gamma; uint8."""
    picture = ndimage.gaussian_filter(picture, patient.blur)
    v, u = np.mgrid[-1 : 1 : RENDER_SIZE * 1j, -1 : 1 : RENDER_SIZE * 1j]
    terms = (u, v, u * v, u**2, v**2, u**2 * v)
    picture = picture * np.exp(sum(c * t for c, t in zip(patient.bias, terms)))
    noise = rng.normal(0, patient.noise, (2, *picture.shape))
    picture = np.hypot(picture + noise[0], noise[1])  # magnitude of a complex signal: Rician
    picture = np.clip(picture * patient.gain, 0, 1) ** patient.gamma
    return np.round(255 * picture).astype(np.uint8)


class _Anatomy(NamedTuple):
    """A slice before the scanner: its points (3, 192, 192) mm, tissues there, healthy brightness, and depth for a tumour."""

    points: np.ndarray
    tissue: dict[str, np.ndarray]
    picture: np.ndarray
    depth: np.ndarray | None


def _anatomy(patient: Patient, head: Head, plane: str, offset: float) -> _Anatomy:
    points = plane_points(patient, plane, offset)
    canonical = patient.warp.to_canonical(points)
    tissue = head.tissues_at(canonical)
    picture = sum(value * tissue[name] for name, value in zip(TISSUES, patient.values))
    return _Anatomy(points, tissue, picture, None if patient.lesion is None else head.depth_at(canonical))


def _painted(patient: Patient, found: _Anatomy) -> np.ndarray:
    if patient.lesion is None or found.depth is None:
        return found.picture
    grey = float(patient.values[0])
    return paint(patient.lesion, found.picture, found.points, found.tissue, found.depth, patient.contrast, grey)


def render_slice(patient: Patient, head: Head, plane: str, offset: float = 0.0) -> np.ndarray:
    """One slice, (192, 192) uint8, `offset` mm from the patient's focus along the plane's normal."""
    picture = _painted(patient, _anatomy(patient, head, plane, offset))
    return _scanner(patient, picture, _slice_generator(patient, plane, offset).spawn(1)[0])


def render_truth(patient: Patient, head: Head, plane: str, offset: float = 0.0) -> tuple[np.ndarray, ...]:
    """The slice of `render_slice`, the same slice without its tumour, and where the tumour is: (192, 192) each.

    The third is bool: pixels of which tumour, its oedema and its tail cover `SEEN` or more.
    """
    found = _anatomy(patient, head, plane, offset)
    pictures = [_painted(patient, found), found.picture]
    seen, healthy = (
        _scanner(patient, picture, _slice_generator(patient, plane, offset).spawn(1)[0]) for picture in pictures
    )
    if patient.lesion is None or found.depth is None:
        return seen, healthy, np.zeros(seen.shape, bool)
    return seen, healthy, cover(patient.lesion, found.points, found.tissue, found.depth) >= SEEN
