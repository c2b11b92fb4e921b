"""The canonical head that every phantom is warped from: tissue fractions on a 1.5 mm grid in MNI space.

The brain comes from the MNI ICBM152 2009 T1 template with its grey- and white-matter maps, which nilearn carries
(Fonov et al. 2011, NeuroImage 54:313). Templates are skull-stripped, so skull, scalp, face and neck are grown around
the brain mask from its distance field and a few ellipsoids at anatomical positions: plausible, not anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

SPACING = 1.5  # mm
ORIGIN = np.array([-96.0, -126.0, -126.0], dtype=np.float32)  # mm: x to the right, y to the front, z up
SHAPE = (129, 163, 151)
TISSUES = ("gm", "wm", "csf", "fat", "muscle", "vascular")
SELLA = np.array([0.0, 4.0, -33.0])  # mm, where the pituitary gland lies
DEPTH_LIMIT = 40.0  # mm, range of the stored depth on either side of the skull's inner surface


@dataclass(frozen=True)
class Head:
    """Canonical head.

    Attributes:
        tissues: name -> (129, 163, 151) uint8, fraction of the voxel times 255; what is left over is bone or air.
        depth: the same shape, uint8; signed distance to the inner surface of the skull, see `to_depth`.
        deep_points: (n, 3) float32 mm, brain tissue well below the surface: where gliomas grow.
        dural_points: (n, 3) float32 mm, points of the inner skull surface: where meningiomas grow.
    """

    tissues: dict[str, np.ndarray]
    depth: np.ndarray
    deep_points: np.ndarray
    dural_points: np.ndarray


def to_depth(stored: np.ndarray) -> np.ndarray:
    """Stored depth (0..255) as mm: negative inside the skull, positive outside."""
    return stored * (2 * DEPTH_LIMIT / 255) - DEPTH_LIMIT


def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    axes = [ORIGIN[i] + SPACING * np.arange(SHAPE[i], dtype=np.float32) for i in range(3)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    return x, y, z


def _templates() -> dict[str, np.ndarray]:
    """MNI152 T1 (0..1), grey matter, white matter and brain mask, each on the canonical grid, float32."""
    from nilearn import datasets  # seconds to import: only when phantoms are made

    loaders = {
        "t1": datasets.load_mni152_template,
        "gm": datasets.load_mni152_gm_template,
        "wm": datasets.load_mni152_wm_template,
        "mask": datasets.load_mni152_brain_mask,
    }
    maps = {}
    for name, load in loaders.items():
        image = load(resolution=1)
        volume = np.asarray(image.get_fdata(), dtype=np.float32)
        scale = SPACING / np.diag(image.affine)[:3]
        offset = (ORIGIN - image.affine[:3, 3]) / np.diag(image.affine)[:3]
        maps[name] = ndimage.affine_transform(volume, scale, offset, output_shape=SHAPE, order=1)
    return maps


def _texture(rng: np.random.Generator, size_mm: float) -> np.ndarray:
    """Smooth noise, mean 0 and standard deviation 1, nearly mirror-symmetric as bodies are."""
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE, dtype=np.float32), size_mm / SPACING)
    noise = noise + 0.8 * noise[::-1]
    return noise / noise.std()


def _ellipsoid(grid: tuple[np.ndarray, ...], centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """Approximate signed distance (mm) to an ellipsoid, negative inside; centres off the midline are mirrored."""
    x, y, z = grid
    x = np.abs(x) if centre[0] else x
    squares = [((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), centre, radii)]
    return (np.sqrt(squares[0] + squares[1] + squares[2]) - 1) * np.float32(min(radii))


def _union(first: np.ndarray, second: np.ndarray, smooth: float) -> np.ndarray:
    """Smooth minimum of two signed distances (mm)."""
    mix = np.clip(0.5 + 0.5 * (second - first) / smooth, 0, 1)
    return second + (first - second) * mix - smooth * mix * (1 - mix)


def _skin_surface(grid: tuple[np.ndarray, ...], skull: np.ndarray) -> np.ndarray:
    """Signed distance (mm) to the outside of the head: cranium, face, nose, chin, ears and neck."""
    x, y, z = grid
    neck = (np.sqrt((x / 54) ** 2 + ((y + 26 - 0.15 * z) / 60) ** 2) - 1) * 54
    surface = _union(skull - 13, np.maximum(neck, z + 48), 14)
    surface = _union(surface, _ellipsoid(grid, (0, 38, -56), (62, 53, 58)), 14)
    surface = _union(surface, _ellipsoid(grid, (0, 62, -104), (38, 31, 26)), 14)
    surface = _union(surface, _ellipsoid(grid, (0, 92, -56), (12, 15, 18)), 8)
    return _union(surface, _ellipsoid(grid, (79, -22, -34), (6, 13, 21)), 5)


def _add_soft_tissue(maps: dict[str, np.ndarray], skin: np.ndarray, outside: np.ndarray, coarse: np.ndarray,
                     fine: np.ndarray) -> None:  # fmt: skip
    """Skin and fat under the surface, muscle with streaks of fat and bone below."""
    fat_layer = (-skin > 1.2) & (-skin < 5 + 1.2 * coarse)
    deep = (-skin >= 5 + 1.2 * coarse) & outside
    maps["muscle"][outside & (skin < 0)] = 0.8
    maps["fat"][outside & fat_layer] = 0.85
    maps["muscle"][outside & fat_layer] = 0.1
    maps["muscle"][deep] = np.clip(0.75 + 0.25 * fine[deep], 0.1, 1)
    streaks = deep & (coarse + 0.5 * fine > 0.9)
    maps["fat"][streaks] = 0.7
    maps["muscle"][streaks] = 0.2
    bone = deep & (coarse - 0.5 * fine < -1.4)
    maps["muscle"][bone] = 0.1


def _add_organs(
    maps: dict[str, np.ndarray], grid: tuple[np.ndarray, ...], outside: np.ndarray, fine: np.ndarray
) -> None:
    """Orbits, air spaces with mucosa, spinal canal, skull base marrow, pituitary gland and carotid arteries."""

    def fill(region: np.ndarray, **fractions: float) -> None:
        for name in TISSUES:
            maps[name][region] = fractions.get(name, 0.0)

    def inside(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        return _ellipsoid(grid, centre, radii) < 0

    x, y, z = grid
    fill(inside((27, 45, -35), (17, 28, 16)) & outside, fat=0.9)
    nerve = (np.sqrt((np.abs(x) - 12 - 0.4 * (y - 15)) ** 2 + (z + 33) ** 2) < 2.8) & (y > 15) & (y < 52)
    fill(nerve & outside, muscle=1.0)
    fill(inside((31, 60, -36), (13.5, 13.5, 13.5)) & outside, muscle=0.9)
    fill(inside((31, 60, -36), (12, 12, 12)) & outside, csf=0.95)
    fill(inside((31, 69, -36), (5, 2.5, 5)) & outside, muscle=0.9)
    for centre, radii in (
        ((0, 21, -44), (14, 12, 9)),  # sphenoid sinus
        ((25, 50, -66), (13, 15, 15)),  # maxillary sinuses
        ((0, 77, -14), (14, 4, 8)),  # frontal sinus
        ((0, 3, -90), (9, 6, 34)),  # pharynx
        ((0, 48, -84), (22, 26, 3)),  # mouth
    ):
        fill(inside(centre, radii) & outside)
    for centre, radii in (((0, 52, -38), (14, 20, 12)), ((0, 60, -60), (13, 28, 18)), ((50, -32, -46), (13, 17, 15))):
        cells = inside(centre, radii) & outside
        fill(cells & (fine < 0.3))
        fill(cells & (fine >= 0.3), vascular=0.9)
    canal_y = y + 42 + 0.12 * (z + 72)
    column = (np.sqrt(x**2 + (canal_y - 19) ** 2) < 9) & (z < -76)
    fill(column & (np.cos((z + 76) / 9 * np.pi) > -0.75), fat=0.5, muscle=0.1)
    canal = np.sqrt((x / 1.2) ** 2 + canal_y**2)
    fill((canal < 8.5) & (z < -66) & outside, csf=1.0)
    fill((canal < 5) & (z < -66) & outside, wm=0.8, gm=0.2)
    clivus = (np.abs((y + 9) * 0.87 - (z + 48) * 0.5) < 4) & (np.abs(x) < 11) & (z < -38) & (z > -72)
    fill(clivus & outside, fat=0.6)
    fill(inside(tuple(SELLA), (6.5, 5, 4)), vascular=0.7, gm=0.3)
    fill(inside((13, 3, -35), (3, 5, 3)), vascular=0.8)


@lru_cache(maxsize=1)
def canonical_head() -> Head:
    """Build the canonical head (a few seconds, once a process); always the same."""
    rng = np.random.default_rng(152)
    grid, brain = _grid(), _templates()
    closed = ndimage.distance_transform_edt(brain["mask"] < 0.5) > 6.5  # outside of the mask grown by 10 mm, ...
    closed = ndimage.distance_transform_edt(~closed) > 6.5  # ... shrunk again: sulci and cisterns are inside the skull
    distance = ndimage.distance_transform_edt(~closed) - ndimage.distance_transform_edt(closed)
    skull = ndimage.gaussian_filter((distance * SPACING).astype(np.float32), 1.5) - 1.0
    skin = _skin_surface(grid, skull)
    coarse, fine = _texture(rng, 4.5), _texture(rng, 1.8)

    maps = {name: np.zeros(SHAPE, np.float32) for name in TISSUES}
    inner, bone_edge = skull < 1.5, 7.5 + 0.8 * coarse
    outside = skull >= bone_edge
    _add_soft_tissue(maps, skin, outside & (skin < 0), coarse, fine)
    diploe = (skull > 3.2) & (skull < bone_edge - 1.5) & (skin < -3)
    maps["fat"][diploe] = np.clip(0.3 + 0.15 * fine[diploe], 0, 0.6)
    _add_organs(maps, grid, (skull >= 1.5) & (skin < -1), fine)

    t1 = np.clip(brain["t1"], 0, 1)
    gm = 0.5 * brain["gm"] + 0.5 * np.clip(1 - np.abs(t1 - 0.66) / 0.2, 0, 1) * (brain["mask"] > 0.5)
    wm = 0.5 * brain["wm"] + 0.5 * np.clip((t1 - 0.68) / 0.16, 0, 1)
    gland = _ellipsoid(grid, tuple(SELLA), (6.5, 5, 4)) < 0
    for name, values in (("gm", gm), ("wm", wm), ("csf", np.clip(1 - gm - wm, 0, 1))):
        maps[name] = np.where(inner & ~gland, values, maps[name])
    for name in ("fat", "muscle", "vascular"):
        maps[name][inner & ~gland] = 0
    sinus = (np.hypot(grid[0], skull - 1) < 4) & (grid[2] > -20) & (grid[1] < 65)
    maps["vascular"][sinus] = 0.8
    maps["csf"][sinus] = 0.0

    tissues = {
        name: (255 * np.clip(ndimage.gaussian_filter(m, 0.45), 0, 1)).astype(np.uint8) for name, m in maps.items()
    }
    depth = np.clip((skull + DEPTH_LIMIT) * 255 / (2 * DEPTH_LIMIT), 0, 255).astype(np.uint8)
    deep = (skull < -16) & (gm + wm > 0.8) & (grid[2] > -28) & (np.abs(grid[0]) > 8)
    surface = (np.abs(skull) < 1) & (grid[2] > -38) & (np.abs(grid[0]) < 62)
    surface &= np.hypot(grid[1] - SELLA[1], grid[2] - SELLA[2]) > 26  # not where pituitary tumours grow
    surface &= (grid[1] > -84) & (grid[1] < 54) & (grid[2] < 64)  # slices at the very poles show next to nothing
    return Head(tissues, depth, _points(deep), _points(surface))


def _points(mask: np.ndarray) -> np.ndarray:
    return (np.argwhere(mask) * SPACING + ORIGIN).astype(np.float32)


def sample(volume: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of a canonical volume at canonical `points` (3, ...) in mm, linear interpolation, float32, 0 outside."""
    voxels = (points - ORIGIN.reshape(3, *[1] * (points.ndim - 1))) / SPACING
    return ndimage.map_coordinates(volume, voxels, output=np.float32, order=1, mode="constant", cval=0.0)
