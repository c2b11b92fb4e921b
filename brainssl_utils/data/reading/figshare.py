"""Reader of the figshare set (Cheng, article 1512427): MATLAB v7.3 slices with tumour masks, and its patient folds."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainssl_utils.data.reading.archives import Unreadable
from brainssl_utils.data.reading.decode import scale_to_uint8
from brainssl_utils.errors import CourseError

if TYPE_CHECKING:
    import h5py

LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
_MAX_VALUES = 4096 * 4096  # of one array; the published slices are 512 x 512
_MAX_FOLDS = 2**18  # bytes of `cvind.mat`; the published one has 25 kB
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class FigshareSlice:
    """One slice, upright: rows run from the top of the picture, columns from the left.

    Attributes:
        image: (H, W) int16, intensities as published (no unit).
        mask: (H, W) bool, True inside the tumour.
        border: (K, 2) float64, the outline drawn by hand: the published list x1, y1, x2, y2, ... as K points, unchanged
            (px of the published array, counted from 1).
        label: "meningioma", "glioma" or "pituitary".
        patient: the publisher's patient code.
    """

    image: np.ndarray
    mask: np.ndarray
    border: np.ndarray
    label: str
    patient: str

    def grey(self) -> np.ndarray:
        """The image as (H, W) uint8, scaled linearly from this slice's minimum..maximum to 0..255."""
        return scale_to_uint8(self.image)


def read_figshare_slice(file: str | Path | bytes) -> FigshareSlice:
    """Read one `N.mat` of the figshare set, from a path or from the file's bytes.

    HDF5 stores MATLAB's columns as rows, so image and mask are transposed back.

    Raises:
        CourseError: the file is missing, is not MATLAB v7.3, or lacks a part (`cjdata/image`, `label`, `PID`, ...).
    """
    name = "these bytes" if isinstance(file, bytes) else str(file)
    try:
        data = file if isinstance(file, bytes) else Path(file).read_bytes()
        return parse_slice(data)
    except OSError as error:
        raise CourseError(f"{name} cannot be read: {error.strerror or error}") from error
    except Unreadable as error:
        raise CourseError(f"{name} is not a slice of the figshare set: {error}") from error


def parse_slice(data: bytes) -> FigshareSlice:
    """Read a slice from a `.mat` file's bytes.

    Raises:
        Unreadable: not MATLAB v7.3, cut short, or a part is missing or has an unexpected shape or value.
    """
    with _hdf5(data) as file:
        group = _member(file, "cjdata")
        image = _array(group, "image")
        mask = _array(group, "tumorMask").astype(bool)
        border = _array(group, "tumorBorder").astype(np.float64).ravel()
        label = int(_array(group, "label").ravel()[0])
        patient = "".join(chr(int(code)) for code in _array(group, "PID").ravel()).strip("\0 ")
    if image.ndim != 2 or mask.shape != image.shape:
        raise Unreadable(f"image of shape {image.shape} and mask of shape {mask.shape}: two equal planes expected")
    if label not in LABELS:
        raise Unreadable(f"label {label}: 1, 2 or 3 expected")
    pairs = border[: border.size // 2 * 2].reshape(-1, 2)
    return FigshareSlice(image.T, mask.T, pairs, LABELS[label], patient)


def parse_folds(data: bytes) -> np.ndarray:
    """Read the bytes of `cvind.mat`: (N,) int64, the fold (1..5) of slice `i + 1`; slices of a patient share a fold.

    Raises:
        Unreadable: the file holds no array `cvind`.
    """
    try:
        if _is_hdf5(data):
            with _hdf5(data) as file:
                folds = _array(file, "cvind")
        else:
            from scipy.io import loadmat

            if len(data) > _MAX_FOLDS:  # packed numbers unpack to a thousand times as many
                raise Unreadable(f"{len(data):,} bytes, more than {_MAX_FOLDS:,}")
            folds = loadmat(io.BytesIO(data), variable_names=["cvind"])["cvind"]
    except Exception as error:  # scipy, like h5py, raises nearly anything on a damaged file
        raise Unreadable(f"no array `cvind` of folds can be read from it: {error}") from error
    return np.asarray(folds).ravel().astype(np.int64)


def _member(group: h5py.Group, name: str) -> Any:
    """A part of an HDF5 file that lies in this very file.

    Raises:
        Unreadable: it is a link, which may lead to any file of this computer.
        KeyError: there is none.
    """
    import h5py

    link = group.get(name, getlink=True)
    if link is None:
        raise KeyError(name)
    if not isinstance(link, h5py.HardLink):
        raise Unreadable(f"refused: `{name}` is a link to somewhere else")
    return group[name]


def _array(group: h5py.Group, name: str) -> np.ndarray:
    """An array of numbers, once it is clear where its bytes lie and how many there are.

    Raises:
        Unreadable: its bytes lie in other files, it is far too large, or it holds no numbers.
        KeyError: there is none.
    """
    part = _member(group, name)
    if not hasattr(part, "shape") or part.shape is None or part.dtype.kind not in "biuf":
        raise Unreadable(f"`{name}` is no array of numbers")
    if part.external or part.is_virtual:
        raise Unreadable(f"refused: the bytes of `{name}` lie in another file")
    if math.prod(part.shape) > _MAX_VALUES or math.prod(part.chunks or ()) > _MAX_VALUES:
        raise Unreadable(f"refused: `{name}` has the shape {part.shape}, at most {_MAX_VALUES:,} values are read")
    return np.asarray(part[()])


def _is_hdf5(data: bytes) -> bool:
    # MATLAB puts a text header of 512 bytes before the HDF5 part.
    return _HDF5_MAGIC in (data[:8], data[512:520])


@contextmanager
def _hdf5(data: bytes) -> Iterator[h5py.File]:
    """Open a file's bytes; whatever goes wrong while it is read is an `Unreadable`."""
    import h5py

    if not data:
        raise Unreadable("empty file (0 bytes)")
    if not _is_hdf5(data):
        raise Unreadable("not a MATLAB v7.3 (HDF5) file")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            yield file
    except Unreadable:
        raise
    except KeyError as error:
        raise Unreadable(f"part missing in the .mat file: {error.args[0]}") from error
    except Exception as error:  # h5py raises OSError, TypeError, IndexError ... on a damaged file
        raise Unreadable(f"cannot be decoded as HDF5: {error}") from error
