"""The seed ISO: ISO 9660 with Rock Ridge names, labelled CIDATA. The only importer of pycdlib.

The library stamps the current time everywhere; the stamps are replaced afterwards, so that the same files make the
same bytes. Offsets are those of ECMA-119 (8.4, 9.1) and of the Rock Ridge Interchange Protocol (4.1.6).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping

import pycdlib

LABEL = "CIDATA"
"""cloud-init's NoCloud data source looks for a file system with this label."""

SECTOR = 2048
VOLUME_DESCRIPTOR = 16 * SECTOR
ROOT_RECORD = VOLUME_DESCRIPTOR + 156
VOLUME_DATES = VOLUME_DESCRIPTOR + 813
NO_VOLUME_DATE = b"0" * 16 + b"\0"
RECORD_DATE_SIZE = 7
YEAR_2000 = bytes([100, 1, 1, 0, 0, 0, 0])


def build_iso(files: Mapping[str, bytes]) -> bytes:
    """An ISO image with these files in its root directory; the same files make the same bytes."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, rock_ridge="1.09", vol_ident=LABEL)
    for index, name in enumerate(sorted(files)):
        iso.add_fp(io.BytesIO(files[name]), len(files[name]), f"/FILE{index}.;1", rr_name=name, file_mode=0o100400)
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return bytes(_without_times(bytearray(image.getvalue())))


def _without_times(image: bytearray) -> bytearray:
    size = len(NO_VOLUME_DATE)
    for index in range(4):
        start = VOLUME_DATES + index * size
        image[start : start + size] = NO_VOLUME_DATE
    for record in (ROOT_RECORD, *_records(image)):
        _set_date(image, record + 18)
        for stamp in _rock_ridge_stamps(image, record):
            _set_date(image, stamp)
    return image


def _set_date(image: bytearray, offset: int) -> None:
    image[offset : offset + RECORD_DATE_SIZE] = YEAR_2000


def _records(image: bytearray) -> Iterator[int]:
    """Offsets of the root directory's records."""
    extent, size = (struct.unpack_from("<I", image, ROOT_RECORD + field)[0] for field in (2, 10))
    offset = extent * SECTOR
    end = offset + size
    while offset < end:
        yield from [offset] if image[offset] else []
        # A record never crosses a sector; a zero length says that the next one begins in the next sector.
        offset += image[offset] or SECTOR - offset % SECTOR


def _rock_ridge_stamps(image: bytearray, record: int) -> Iterator[int]:
    """Offsets of the time stamps in a record's TF entries."""
    name_size = image[record + 32]
    offset = record + 33 + name_size + (1 - name_size % 2)
    end = record + image[record]
    while offset + 4 <= end and image[offset + 2] >= 4:
        size = image[offset + 2]
        if image[offset : offset + 2] == b"TF":
            yield from range(offset + 5, offset + size, RECORD_DATE_SIZE)
        offset += size
