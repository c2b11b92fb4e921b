"""Slices of NIfTI volumes and DICOM files, by nibabel and pydicom where they are installed.

A NIfTI volume is turned to its closest axes (nibabel's canonical ones) and cut across the axis along which its voxels are
longest, as it was scanned; equal voxels are cut into axial slices. A slice lies as a radiologist sees it: the patient's
right is on the left of axial and coronal slices, the front is on top of axial ones, the head on top of the others. Grey
levels are a window from the 0.5th to the 99.5th percentile of the whole volume, so that the slices of one volume share it.

A DICOM image lies as its file holds it. Its window is the one in its header (`WindowCenter`, VOI LUT), after the rescaling
that the header asks for; without one, the 0.5th to 99.5th percentile of the image. MONOCHROME1 is turned to white on black.
"""

from __future__ import annotations

import functools
import gzip
import io
import math
import threading
import zlib
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from brainssl_utils.data.reading.archives import Entry, Listing, Unreadable, open_place, read_entry
from brainssl_utils.data.reading.decode import MIN_SIDE, Picture, to_square

MAX_VOXELS = 2**26  # of one volume, or of all frames of a DICOM file
_PLANES = ("sagittal", "coronal", "axial")
_WINDOW = (0.5, 99.5)  # percentiles
_ONE_AT_A_TIME = threading.Lock()  # a volume takes hundreds of MB while it is read


class Cut(NamedTuple):
    """One slice, and what its file tells of it."""

    picture: Picture
    patient: str
    plane: str


class _Volume(NamedTuple):
    grey: np.ndarray  # (X, Y, Z) uint8, canonical axes
    axis: int
    window: tuple[float, float]


def slices_of(listing: Listing, entry: Entry, every: int) -> list[int | None]:
    """The numbers of the slices to take: the middle one, or every so many-th; [None] for a file of one picture.

    Raises:
        Unreadable: the file is no such volume, or is larger than is read.
    """
    with open_place(listing.root, entry.place) as opened:
        data = read_entry(opened, entry)
    if is_dicom_data(data):
        n = _dicom_frames(data)
        if n == 1:
            return [None]
    else:
        header = _nifti_header(data)
        n = header.get_data_shape()[_cut_axis(header)]
    return list(range(every // 2, n, every)) if every else [n // 2]


def is_dicom_data(data: bytes) -> bool:
    """Whether bytes are a DICOM file's."""
    return data[128:132] == b"DICM"


def cut(data: bytes, number: int | None, size: int) -> Cut:
    """One slice of a volume (or DICOM image) as a square of `size` px.

    Raises:
        Unreadable: the file is no such volume, is damaged, or is larger than is read.
    """
    with _ONE_AT_A_TIME:
        if is_dicom_data(data):
            return _dicom(data, number or 0, size)
        volume = _nifti(data)
        plane = _PLANES[volume.axis]
        grey = np.take(volume.grey, number or 0, axis=volume.axis)
        grey = grey.T[::-1] if plane == "sagittal" else grey.T[::-1, ::-1]
        low, high = volume.window
        note = f"{plane} slice {(number or 0) + 1} of {volume.grey.shape[volume.axis]}, window {low:.4g} to {high:.4g}"
        return Cut(_picture(np.ascontiguousarray(grey), size, note), "", plane)


def _picture(grey: np.ndarray, size: int, note: str) -> Picture:
    height, width = grey.shape
    if min(width, height) < MIN_SIDE:
        raise Unreadable(f"too small: {width} x {height} px, at least {MIN_SIDE} px a side expected")
    return Picture(np.asarray(to_square(Image.fromarray(grey), size)), width, height, note)


def _windowed(values: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Grey levels 0..255 of the window between two percentiles."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    sample = values.ravel()[:: max(values.size // 2**20, 1)]
    low, high = map(float, np.percentile(sample, _WINDOW))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8), (low, high)


def _nifti_start(data: bytes, n: int) -> bytes:
    """The first n bytes of a volume, unpacked."""
    if data[:2] != b"\x1f\x8b":
        return data[:n]
    try:
        with gzip.open(io.BytesIO(data)) as file:
            return file.read(n)
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"NIfTI: its gzip packing is damaged: {error}") from error


def _nifti_header(data: bytes) -> Any:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    start = _nifti_start(data, 540)
    kind = Nifti2Header if start[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else Nifti1Header
    try:
        header = kind.from_fileobj(io.BytesIO(start), check=True)
        shape = header.get_data_shape()
        header.get_best_affine()
    except Exception as error:  # nibabel raises its own errors, ValueError, struct.error ...
        raise Unreadable(f"NIfTI: not a volume that can be read: {error}") from error
    if len(shape) < 3 or min(shape) < 1 or header.get_data_dtype().kind not in "iuf":
        raise Unreadable(f"NIfTI: shape {shape}, a volume of numbers in three axes is expected")
    if math.prod(shape[:3]) > MAX_VOXELS:
        raise Unreadable(f"NIfTI: {' x '.join(map(str, shape[:3]))} voxels, more than the {MAX_VOXELS:,} that are read")
    return header


def _order(header: Any) -> np.ndarray:
    """For each canonical axis (right, front, head) the axis of the file."""
    from nibabel.orientations import io_orientation

    return np.argsort(io_orientation(header.get_best_affine())[:, 0])


def _cut_axis(header: Any) -> int:
    """The file's axis along which its voxels are clearly longest; the one nearest head to foot where none is."""
    zooms = np.abs(np.asarray(header.get_zooms()[:3], dtype=float))
    longest = int(np.argmax(zooms))
    return longest if zooms[longest] > 1.2 * np.median(zooms) else int(_order(header)[2])


@functools.lru_cache(maxsize=1)  # the slices of one volume follow one another
def _nifti(data: bytes) -> _Volume:
    import nibabel as nib
    from nibabel.orientations import apply_orientation, io_orientation

    header = _nifti_header(data)
    shape, dtype = header.get_data_shape()[:3], header.get_data_dtype()
    offset = int(header.get_data_offset()) or 352
    needed = offset + math.prod(shape) * dtype.itemsize
    raw = _nifti_start(data, needed)
    if len(raw) < needed:
        raise Unreadable(f"NIfTI: cut short: {len(raw):,} bytes of {needed:,}")
    values = np.frombuffer(raw, dtype, math.prod(shape), offset).reshape(shape, order="F").astype(np.float32)
    slope, intercept = header.get_slope_inter()
    values = values * np.float32(1 if slope is None else slope) + np.float32(intercept or 0)
    orientation = io_orientation(header.get_best_affine())
    if np.isnan(orientation).any():
        orientation = nib.orientations.axcodes2ornt("RAS")
    axis = int(orientation[_cut_axis(header), 0])
    grey, window = _windowed(values)
    return _Volume(apply_orientation(grey, orientation), axis, window)


def _dicom_dataset(data: bytes, pixels: bool) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise Unreadable(
            "not read: a DICOM file; install pydicom (the extra `medical`), or convert it to PNG"
        ) from error
    try:
        found = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=not pixels)
        size = int(found.Rows) * int(found.Columns) * _frames(found)
    except Exception as error:  # pydicom raises nearly anything on a damaged file
        raise Unreadable(f"DICOM: cannot be read, or holds no image: {error}") from error
    if size > MAX_VOXELS:
        raise Unreadable(f"DICOM: {size:,} pixels, more than the {MAX_VOXELS:,} that are read")
    return found


def _frames(dataset: Any) -> int:
    return max(int(getattr(dataset, "NumberOfFrames", 1) or 1), 1)


def _dicom_frames(data: bytes) -> int:
    return _frames(_dicom_dataset(data, pixels=False))


def _dicom(data: bytes, number: int, size: int) -> Cut:
    dataset = _dicom_dataset(data, pixels=True)
    try:
        grey, note = _dicom_grey(dataset, number)
    except Exception as error:  # a missing decoder, damaged pixels
        raise Unreadable(f"DICOM: its pixels cannot be decoded: {error}") from error
    frames = _frames(dataset)
    note += f"; frame {number + 1} of {frames}" if frames > 1 else ""
    patient = str(getattr(dataset, "PatientID", "") or getattr(dataset, "PatientName", "") or "").strip()
    return Cut(_picture(grey, size, note), patient, _dicom_plane(dataset))


def _dicom_grey(dataset: Any, number: int) -> tuple[np.ndarray, str]:
    """(H, W) uint8 of one frame, and which window it is seen through."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    values = np.asarray(dataset.pixel_array)
    if _frames(dataset) > 1:
        values = values[number]
    if values.ndim == 3:  # colour
        return np.asarray(Image.fromarray(values.astype(np.uint8)).convert("L")), "colour DICOM made grey"
    values = apply_modality_lut(values, dataset)
    if "WindowCenter" in dataset or "VOILUTSequence" in dataset:
        seen = np.asarray(apply_voi_lut(values, dataset), dtype=np.float32)
        low, high = float(seen.min()), float(seen.max())
        if "WindowCenter" in dataset:
            centre, width = (float(np.ravel(dataset[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
            low, high = centre - width / 2, centre + width / 2
            seen = np.clip(np.asarray(values, dtype=np.float32), low, high)
        grey = np.rint((seen - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8)
        note = f"window {low:.4g} to {high:.4g}, from its header"
    else:
        grey, (low, high) = _windowed(np.asarray(values, dtype=np.float32))
        note = f"window {low:.4g} to {high:.4g}, percentiles of the image"
    if str(getattr(dataset, "PhotometricInterpretation", "")).strip() == "MONOCHROME1":
        grey = 255 - grey
    return grey, note


def _dicom_plane(dataset: Any) -> str:
    """The plane, by the axis nearest to the normal of the image; "" where the header does not say."""
    direction = getattr(dataset, "ImageOrientationPatient", None)
    if direction is None or len(direction) != 6:
        return ""
    row, column = np.asarray(direction, dtype=float).reshape(2, 3)
    return _PLANES[int(np.argmax(np.abs(np.cross(row, column))))]
