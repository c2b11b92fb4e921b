"""The canonical head that every phantom is warped from: tissue fractions on a 1.5 mm grid in MNI space.

The brain comes from the MNI ICBM152 2009 T1 template with its grey- and white-matter maps, which nilearn carries
(Fonov et al. 2011, NeuroImage 54:313). Templates are skull-stripped, so skull, scalp, face and neck are grown around
the brain mask from its distance field and a few ellipsoids at anatomical positions: plausible, not anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

SPACING = 1.5  # mm
ORIGIN = np.array([-96.0, -126.0, -126.0], dtype=np.float32)  # mm: x to the right, y to the front, z up
SHAPE = (129, 163, 151)
TISSUES = ("gm", "wm", "csf", "fat", "muscle", "vascular")
SELLA = (0.0, 4.0, -33.0)  # mm, where the pituitary gland lies
DEPTH_LIMIT = 40.0  # mm, range of the stored depth on either side of the skull's inner surface

Grid = Sequence[np.ndarray]  # x, y and z in mm, each varying along its own axis alone
Maps = dict[str, np.ndarray]  # tissue -> its fraction of each voxel


@dataclass(frozen=True)
class Head:
    """The canonical head; its volumes are (129, 163, 151) uint8."""

    tissues: Maps  # fractions times 255; what is left over is bone or air
    depth: np.ndarray  # signed distance to the inner surface of the skull, see `depth_at`
    deep_points: np.ndarray  # (n, 3) float32 mm, brain tissue well below the surface: where gliomas grow
    dural_points: np.ndarray  # (n, 3) float32 mm, points of the inner skull surface: where meningiomas grow

    def tissues_at(self, points: np.ndarray) -> Maps:
        """Fraction 0..1 of each tissue at canonical points (3, H, W) in mm, (H, W) float32 each."""
        return {name: _sample(volume, points) / 255 for name, volume in self.tissues.items()}

    def depth_at(self, points: np.ndarray) -> np.ndarray:
        """Distance (H, W) to the inner surface of the skull at canonical points (3, H, W), mm, negative inside."""
        return _sample(self.depth, points) * (2 * DEPTH_LIMIT / 255) - DEPTH_LIMIT


def _sample(volume: np.ndarray, points: np.ndarray) -> np.ndarray:
    voxels = (points - ORIGIN[:, None, None]) / SPACING
    return ndimage.map_coordinates(volume, voxels, output=np.float32, order=1)  # 0 outside


def _template(name: str) -> np.ndarray:
    """One of the MNI152 volumes that nilearn carries, on the canonical grid, float32 0..1."""
    from nilearn import datasets  # seconds to import: only when phantoms are made

    image = getattr(datasets, f"load_mni152_{name}")(resolution=1)
    voxel, corner = np.diag(image.affine)[:3], image.affine[:3, 3]
    scale, offset = SPACING / voxel, (ORIGIN - corner) / voxel
    return ndimage.affine_transform(image.get_fdata(dtype=np.float32), scale, offset, output_shape=SHAPE, order=1)


def _texture(rng: np.random.Generator, size_mm: float) -> np.ndarray:
    """Smooth noise, mean 0 and standard deviation 1, nearly mirror-symmetric as bodies are."""
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE, dtype=np.float32), size_mm / SPACING)
    noise = noise + 0.8 * noise[::-1]
    return noise / noise.std()


def _ellipsoid(grid: Grid, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """Approximate signed distance (mm) to an ellipsoid, negative inside; one off the midline has a mirror image."""
    x, y, z = grid
    if centre[0]:
        x = np.abs(x)
    squares = [((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), centre, radii)]
    return (np.sqrt(squares[0] + squares[1] + squares[2]) - 1) * np.float32(min(radii))


def _union(first: np.ndarray, second: np.ndarray, smooth: float) -> np.ndarray:
    """Smooth minimum of two signed distances (mm)."""
    mix = np.clip(0.5 + 0.5 * (second - first) / smooth, 0, 1)
    return second + (first - second) * mix - smooth * mix * (1 - mix)


def _skull_surface(mask: np.ndarray) -> np.ndarray:
    """Signed distance (mm) to the inside of the skull: the brain mask, closed over sulci and cisterns."""
    closed = ndimage.distance_transform_edt(mask < 0.5) > 6.5  # outside of the mask grown by 10 mm, ...
    closed = ndimage.distance_transform_edt(~closed) > 6.5  # ... shrunk again
    distance = ndimage.distance_transform_edt(~closed) - ndimage.distance_transform_edt(closed)
    return ndimage.gaussian_filter((distance * SPACING).astype(np.float32), 1.5) - 1.0


def _skin_surface(grid: Grid, skull: np.ndarray) -> np.ndarray:
    """Signed distance (mm) to the outside of the head: cranium, neck, face, chin, nose and ears."""
    x, y, z = grid
    neck = (np.sqrt((x / 54) ** 2 + ((y + 26 - 0.15 * z) / 60) ** 2) - 1) * 54
    surface = _union(skull - 13, np.maximum(neck, z + 48), 14)
    surface = _union(surface, _ellipsoid(grid, (0, 38, -56), (62, 53, 58)), 14)
    surface = _union(surface, _ellipsoid(grid, (0, 62, -104), (38, 31, 26)), 14)
    surface = _union(surface, _ellipsoid(grid, (0, 92, -56), (12, 15, 18)), 8)
    return _union(surface, _ellipsoid(grid, (79, -22, -34), (6, 13, 21)), 5)


def _fill(maps: Maps, region: np.ndarray, **fractions: float | np.ndarray) -> None:
    """Set the tissues of `region`; those not named are absent there, and a region without any is bone or air."""
    for name in TISSUES:
        maps[name][region] = fractions.get(name, 0.0)


def _add_soft_tissue(maps: Maps, skull: np.ndarray, skin: np.ndarray, coarse: np.ndarray, fine: np.ndarray) -> None:
    """Skin, fat under it, below that muscle with streaks of fat and bone; marrow inside the skull's bone."""
    bone_edge, fat_edge = 7.5 + 0.8 * coarse, 5 + 1.2 * coarse
    outside = (skull >= bone_edge) & (skin < 0)
    deep = outside & (-skin >= fat_edge)
    _fill(maps, outside, muscle=0.8)
    _fill(maps, outside & (-skin > 1.2) & (-skin < fat_edge), fat=0.85, muscle=0.1)
    _fill(maps, deep, muscle=np.clip(0.75 + 0.25 * fine[deep], 0.1, 1))
    _fill(maps, deep & (coarse + 0.5 * fine > 0.9), fat=0.7, muscle=0.2)
    maps["muscle"][deep & (coarse - 0.5 * fine < -1.4)] = 0.1
    marrow = (skull > 3.2) & (skull < bone_edge - 1.5) & (skin < -3)
    maps["fat"][marrow] = np.clip(0.3 + 0.15 * fine[marrow], 0, 0.6)


def _add_organs(maps: Maps, grid: Grid, outside: np.ndarray, fine: np.ndarray) -> None:
    """Eyes, air spaces with mucosa, spine, marrow of the skull base and vessels, in `outside` of the skull alone."""

    def inside(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        return (_ellipsoid(grid, centre, radii) < 0) & outside

    x, y, z = grid
    _fill(maps, inside((27, 45, -35), (17, 28, 16)), fat=0.9)  # orbit, ...
    nerve = (np.sqrt((np.abs(x) - 12 - 0.4 * (y - 15)) ** 2 + (z + 33) ** 2) < 2.8) & (y > 15) & (y < 52)
    _fill(maps, nerve & outside, muscle=1.0)
    _fill(maps, inside((31, 60, -36), (13.5, 13.5, 13.5)), muscle=0.9)  # ... eye's wall, its inside, its lens
    _fill(maps, inside((31, 60, -36), (12, 12, 12)), csf=0.95)
    _fill(maps, inside((31, 69, -36), (5, 2.5, 5)), muscle=0.9)
    _fill(maps, inside((0, 21, -44), (14, 12, 9)))  # sphenoid sinus
    _fill(maps, inside((25, 50, -66), (13, 15, 15)))  # maxillary sinuses
    _fill(maps, inside((0, 77, -14), (14, 4, 8)))  # frontal sinus
    _fill(maps, inside((0, 3, -90), (9, 6, 34)))  # pharynx
    _fill(maps, inside((0, 48, -84), (22, 26, 3)))  # mouth
    cells = inside((0, 52, -38), (14, 20, 12)) | inside((0, 60, -60), (13, 28, 18))  # nose
    cells |= inside((50, -32, -46), (13, 17, 15))  # mastoid
    _fill(maps, cells & (fine < 0.3))
    _fill(maps, cells & (fine >= 0.3), vascular=0.9)
    spine_y = y + 42 + 0.12 * (z + 72)
    vertebrae = (np.sqrt(x**2 + (spine_y - 19) ** 2) < 9) & (z < -76) & (np.cos((z + 76) / 9 * np.pi) > -0.75)
    _fill(maps, vertebrae & outside, fat=0.5, muscle=0.1)
    canal = np.sqrt((x / 1.2) ** 2 + spine_y**2)
    _fill(maps, (canal < 8.5) & (z < -66) & outside, csf=1.0)
    _fill(maps, (canal < 5) & (z < -66) & outside, wm=0.8, gm=0.2)
    clivus = (np.abs((y + 9) * 0.87 - (z + 48) * 0.5) < 4) & (np.abs(x) < 11) & (z < -38) & (z > -72)
    _fill(maps, clivus & outside, fat=0.6)
    _fill(maps, inside((13, 3, -35), (3, 5, 3)), vascular=0.8)  # carotid arteries


@lru_cache(maxsize=1)
def canonical_head() -> Head:
    """Build the canonical head (a few seconds, once a process); always the same."""
    rng = np.random.default_rng(152)
    axes = [start + SPACING * np.arange(n, dtype=np.float32) for start, n in zip(ORIGIN, SHAPE)]
    x, y, z = grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    mask = _template("brain_mask")
    skull = _skull_surface(mask)
    skin = _skin_surface(grid, skull)
    coarse, fine = _texture(rng, 4.5), _texture(rng, 1.8)

    maps = {name: np.zeros(SHAPE, np.float32) for name in TISSUES}
    _add_soft_tissue(maps, skull, skin, coarse, fine)
    _add_organs(maps, grid, (skull >= 1.5) & (skin < -1), fine)
    t1, inner = np.clip(_template("template"), 0, 1), skull < 1.5
    gm = 0.5 * _template("gm_template") + 0.5 * np.clip(1 - np.abs(t1 - 0.66) / 0.2, 0, 1) * (mask > 0.5)
    wm = 0.5 * _template("wm_template") + 0.5 * np.clip((t1 - 0.68) / 0.16, 0, 1)
    _fill(maps, inner, gm=gm[inner], wm=wm[inner], csf=np.clip(1 - gm - wm, 0, 1)[inner])
    sinus = (np.hypot(x, skull - 1) < 4) & (z > -20) & (y < 65)  # the great vein along the midline
    maps["vascular"][sinus] = 0.8
    maps["csf"][sinus] = 0.0
    _fill(maps, _ellipsoid(grid, SELLA, (6.5, 5, 4)) < 0, vascular=0.7, gm=0.3)  # pituitary gland
    blurred = {name: np.clip(ndimage.gaussian_filter(fraction, 0.45), 0, 1) for name, fraction in maps.items()}

    deep = (skull < -16) & (gm + wm > 0.8) & (z > -28) & (np.abs(x) > 8)
    dural = (np.abs(skull) < 1) & (z > -38) & (np.abs(x) < 62)
    dural &= np.hypot(y - SELLA[1], z - SELLA[2]) > 26  # not where pituitary tumours grow
    dural &= (y > -84) & (y < 54) & (z < 64)  # slices at the very poles show next to nothing
    return Head(
        tissues={name: (255 * fraction).astype(np.uint8) for name, fraction in blurred.items()},
        depth=np.clip((skull + DEPTH_LIMIT) * 255 / (2 * DEPTH_LIMIT), 0, 255).astype(np.uint8),
        deep_points=(np.argwhere(deep) * SPACING + ORIGIN).astype(np.float32),
        dural_points=(np.argwhere(dural) * SPACING + ORIGIN).astype(np.float32),
    )
