"""One virtual patient: pose, shape, contrast, scanner and tumour are drawn once, slices are then rendered from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainssl_utils.data.phantoms.anatomy import TISSUES, Head, sample, to_depth
from brainssl_utils.data.phantoms.lesions import Lesion, draw_centre, draw_lesion, paint

RENDER_SIZE = 192  # px; files are resized from this
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
class Patient:
    """Everything a slice of this patient is rendered from.

    Attributes:
        matrix, shift: affine map from patient space to canonical space (mm).
        waves, phases, amplitudes: (k, 3) 1/mm, (k,), (k, 3) mm of the smooth elastic warp.
        focus: (3,) mm in patient space, the point that slices are taken around (the tumour's centre, if there is one).
        reach: mm, how far from `focus` slices are taken.
        contrast: key of `CONTRASTS`; values: brightness of each tissue.
        bias: (6,) coefficients of the coil's shading; noise: standard deviation (brightness); blur: px; gain, gamma.
        view: mm, the side of the field of view; lesion: the tumour or None.
    """

    name: str
    class_name: str
    seed: tuple[int, ...]
    matrix: np.ndarray
    shift: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    amplitudes: np.ndarray
    focus: np.ndarray
    reach: float
    contrast: str
    values: np.ndarray
    bias: np.ndarray
    noise: float
    blur: float
    gain: float
    gamma: float
    view: float
    lesion: Lesion | None


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix from three angles (radians) about x, y and z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def to_canonical(patient: Patient, points: np.ndarray) -> np.ndarray:
    """Canonical points (3, ...) mm of patient points (3, ...) mm: affine, then the elastic warp."""
    flat = points.reshape(3, -1).astype(np.float32)
    warped = (patient.matrix @ flat + patient.shift[:, None]).astype(np.float32)
    bend = np.sin(patient.waves.astype(np.float32) @ flat + patient.phases.astype(np.float32)[:, None])
    return (warped + patient.amplitudes.astype(np.float32).T @ bend).reshape(points.shape)


def _from_canonical(patient: Patient, target: np.ndarray) -> np.ndarray:
    """Patient point (3,) whose canonical point is `target` (3,), by fixed-point iteration."""
    inverse = np.linalg.inv(patient.matrix)
    point = inverse @ (target - patient.shift)
    for _ in range(12):
        point = point + inverse @ (target - to_canonical(patient, point[:, None])[:, 0])
    return point


def draw_patient(seed: int, index: int, class_name: str, head: Head) -> Patient:
    """Patient number `index` of the set `seed`; the same numbers give the same patient in any process."""
    rng = np.random.default_rng((seed, index))
    scale = rng.normal(1.0, 0.035, 3) * rng.normal(1.0, 0.02)
    matrix = np.diag(1 / scale) @ _rotation(np.radians(rng.normal(0, (4, 3, 4))))
    lengths = np.exp(rng.uniform(np.log(28), np.log(120), 14))  # mm, wavelengths
    directions = rng.normal(size=(14, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    amplitudes = rng.normal(size=(14, 3)) * 0.012 * lengths[:, None]
    contrast = str(rng.choice(list(CONTRASTS), p=CONTRAST_SHARES))
    values = np.clip(np.array(CONTRASTS[contrast]) * rng.normal(1, 0.07, len(TISSUES)), 0.03, 1)
    # A patient without tumour is imaged at the levels at which the others are, or the level would give the class away.
    level = class_name if class_name in TUMOURS else str(rng.choice(TUMOURS))
    patient = Patient(
        name=f"p{index:04d}", class_name=class_name, seed=(seed, index), matrix=matrix, shift=rng.normal(0, 2, 3),
        waves=directions * (2 * np.pi / lengths)[:, None], phases=rng.uniform(0, 2 * np.pi, 14), amplitudes=amplitudes,
        focus=np.zeros(3), reach=0.0, contrast=contrast, values=values,
        bias=rng.normal(0, 1, 6) * rng.uniform(0.02, 0.09),
        noise=float(rng.uniform(0.005, 0.025)), blur=float(rng.uniform(0.3, 0.9)), gain=float(rng.uniform(0.85, 1.12)),
        gamma=float(np.exp(rng.normal(0, 0.1))), view=float(rng.uniform(220, 242)), lesion=None,
    )  # fmt: skip
    centre = _from_canonical(patient, draw_centre(level, head, rng))
    middle = _from_canonical(patient, np.array([0.0, -20.0, 12.0]))
    inward = (middle - centre) / max(float(np.linalg.norm(middle - centre)), 1.0)
    lesion = draw_lesion(level, centre, inward, rng)
    fields = {**patient.__dict__, "focus": lesion.centre, "reach": 0.55 * lesion.radius}
    return Patient(**{**fields, "lesion": lesion if class_name in TUMOURS else None})


def _slice_generator(patient: Patient, plane: str, offset: float) -> np.random.Generator:
    return np.random.default_rng((*patient.seed, PLANES.index(plane), round(1000 * (offset + 500))))


def plane_points(patient: Patient, plane: str, offset: float) -> np.ndarray:
    """Patient-space points (3, 192, 192) mm of the pixels of a slice `offset` mm from the focus; row 0 is up or front."""
    half = patient.view / 2
    steps = np.linspace(-half, half, RENDER_SIZE, dtype=np.float32)
    rows, cols = np.meshgrid(-steps, steps, indexing="ij")
    sway = _slice_generator(patient, plane, offset).normal(0, 2.5, 2)
    level = patient.focus + offset
    if plane == "axial":
        return np.stack([cols + sway[0], rows - 8 + sway[1], np.full_like(rows, level[2])])
    if plane == "coronal":
        return np.stack([cols + sway[0], np.full_like(rows, level[1]), rows - 10 + sway[1]])
    return np.stack([np.full_like(rows, level[0]), -cols - 2 + sway[0], rows - 10 + sway[1]])


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


def render_slice(patient: Patient, head: Head, plane: str, offset: float = 0.0, with_lesion: bool = True) -> np.ndarray:
    """One slice, (192, 192) uint8.

    Args:
        patient: whom to image.
        head: the canonical head.
        plane: "axial", "coronal" or "sagittal".
        offset: mm from the patient's focus, along the plane's normal.
        with_lesion: False leaves the tumour out and everything else, noise included, the same.
    """
    points = plane_points(patient, plane, offset)
    canonical = to_canonical(patient, points)
    tissue = {name: sample(head.tissues[name], canonical) / 255 for name in TISSUES}
    picture = sum(value * tissue[name] for name, value in zip(TISSUES, patient.values))
    if patient.lesion is not None and with_lesion:
        depth = to_depth(sample(head.depth, canonical))
        picture = paint(patient.lesion, picture, points, tissue, depth, patient.contrast, float(patient.values[0]))
    return _scanner(patient, picture, _slice_generator(patient, plane, offset).spawn(1)[0])
