"""Reads the zip files of torch.save without trusting any of their numbers.

Python's own `zipfile` follows local offsets and sizes into overlapping
entries and expands without bound. A checkpoint needs so little of the format
that checking it fully is shorter than guarding `zipfile`.

Source: PKWARE APPNOTE 6.3 (sections 4.3.7, 4.3.12-4.3.16, 4.5.3).
"""

import dataclasses
import struct
import zlib
from collections.abc import Iterator

from converters.errors import describe
from my3dgen_jax.errors import CheckpointError

MAGIC = b"PK\x03\x04"

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LONGEST_COMMENT = 2**16 - 1
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_STORED, _DEFLATED = 0, 8

# torch stores its entries uncompressed. Weights hardly compress, so a file that
# was repacked by hand stays far below these.
_MAX_ENTRY_RATIO = 100
_SMALL_ENTRY = 2**16  # below this the ratio does not matter
_MAX_TOTAL_RATIO = 20


@dataclasses.dataclass(frozen=True)
class _Entry:
  name: str
  method: int
  crc: int
  packed_size: int
  size: int
  start: int  # position of the data


class ZipArchive:
  """The entries of a zip file in memory."""

  def __init__(self, data: bytes):
    """Checks the whole directory.

    Raises:
      CheckpointError: the archive is damaged or malicious.
    """
    self._data = memoryview(data)
    self._entries: dict[str, _Entry] = {}
    spans: list[tuple[int, int, str]] = []
    directory_start, directory, count = _find_directory(data)
    for entry, header in self._parse(directory, count):
      if entry.name in self._entries:
        raise CheckpointError(f"zip entry {describe(entry.name)} occurs twice")
      self._entries[entry.name] = entry
      spans.append((header, entry.start + entry.packed_size, entry.name))
    spans.sort()
    ends = [span[0] for span in spans[1:]] + [directory_start]
    for (_, end, name), limit in zip(spans, ends):
      if end > limit:
        raise CheckpointError(
          f"zip entry {describe(name)} overlaps the next one"
        )
    total = sum(entry.size for entry in self._entries.values())
    if total > _MAX_TOTAL_RATIO * len(data) + _SMALL_ENTRY:
      raise CheckpointError(
        f"the zip expands to {total} bytes from {len(data)} (a zip bomb)"
      )
    # After torch.serialization.set_crc32_options(False), all checksums are
    # zero.
    self._has_sums = any(entry.crc for entry in self._entries.values())

  def __contains__(self, name: str) -> bool:
    return name in self._entries

  def __iter__(self) -> Iterator[str]:
    return iter(self._entries)

  def read(self, name: str) -> memoryview:
    """The contents of an entry, without a copy if it is not compressed.

    Raises:
      CheckpointError: the entry does not exist, or is damaged.
    """
    if name not in self._entries:
      raise CheckpointError(f"zip entry {describe(name)} is missing")
    entry = self._entries[name]
    contents = self._data[entry.start : entry.start + entry.packed_size]
    if entry.method == _DEFLATED:
      contents = memoryview(_inflate(contents, entry))
    if self._has_sums and zlib.crc32(contents) != entry.crc:
      raise CheckpointError(
        f"zip entry {describe(name)} is damaged (its checksum differs)"
      )
    return contents

  def _parse(
    self, directory: bytes, count: int
  ) -> Iterator[tuple[_Entry, int]]:
    """All entries, with the positions of their local headers."""
    position = found = 0
    while position < len(directory):
      if (
        position + _CENTRAL.size > len(directory)
        or directory[position : position + 4] != b"PK\x01\x02"
      ):
        raise CheckpointError("the zip directory is damaged")
      (
        _,
        _,
        _,
        flags,
        method,
        _,
        _,
        crc,
        packed_size,
        size,
        name_size,
        extra_size,
        comment_size,
        disk,
        _,
        _,
        header,
      ) = _CENTRAL.unpack_from(directory, position)
      position += _CENTRAL.size
      raw_name = directory[position : position + name_size]
      extra = directory[
        position + name_size : position + name_size + extra_size
      ]
      position += name_size + extra_size + comment_size
      name = _safe_name(raw_name)
      size, packed_size, header = _wide_numbers(
        name, extra, [size, packed_size, header]
      )
      if disk:
        raise CheckpointError("the zip is one of several parts")
      if flags & _ENCRYPTED:
        raise CheckpointError(f"zip entry {describe(name)} is encrypted")
      start = self._data_start(header, raw_name)
      entry = _Entry(name, method, crc, packed_size, size, start)
      _check_sizes(entry)
      found += 1
      yield entry, header
    if position != len(directory) or found != count:
      raise CheckpointError("the zip directory is damaged")

  def _data_start(self, header: int, raw_name: bytes) -> int:
    """The position of an entry's data, from its local header."""
    if header + _LOCAL.size > len(self._data):
      raise CheckpointError("a zip entry lies outside the file")
    fields = _LOCAL.unpack_from(self._data, header)
    name_start = header + _LOCAL.size
    name_end = name_start + fields[-2]
    if fields[0] != MAGIC or bytes(self._data[name_start:name_end]) != raw_name:
      raise CheckpointError("a zip entry and the directory disagree")
    return name_end + fields[-1]


def _find_end(data: bytes) -> tuple[int, tuple]:
  """The end record: its position and its numbers."""
  lowest = max(0, len(data) - _END.size - _LONGEST_COMMENT)
  position = len(data)
  while True:
    position = data.rfind(b"PK\x05\x06", lowest, position)
    if position < 0:
      raise CheckpointError(
        "the zip has no directory; the file may be truncated, download it again"
      )
    if position + _END.size <= len(data):
      *fields, comment_size = _END.unpack_from(data, position)[1:]
      if position + _END.size + comment_size == len(data):
        return position, tuple(fields)


def _find_directory(data: bytes) -> tuple[int, bytes, int]:
  """The central directory: its position, bytes and number of entries."""
  end, fields = _find_end(data)
  disk, first_disk, here, count, size, start = fields
  locator = end - _END64_LOCATOR.size
  if locator >= 0 and data[locator : locator + 4] == b"PK\x06\x07":
    _, _, end, _ = _END64_LOCATOR.unpack_from(data, locator)
    if end + _END64.size > locator or data[end : end + 4] != b"PK\x06\x06":
      raise CheckpointError("the zip64 directory is damaged")
    disk, first_disk, here, count, size, start = _END64.unpack_from(data, end)[
      4:
    ]
  if disk or first_disk or here != count:
    raise CheckpointError("the zip is one of several parts")
  if start + size != end:
    raise CheckpointError("the zip directory is damaged or truncated")
  return start, data[start : start + size], count


def _safe_name(raw: bytes) -> str:
  """An entry's name, which must not point outside the archive."""
  try:
    name = raw.decode("utf-8")
  except UnicodeDecodeError:
    raise CheckpointError(
      f"zip entry {describe(raw)}: the name is not UTF-8"
    ) from None
  parts = name.removesuffix("/").split("/")
  if (
    "\\" in name
    or ":" in name
    or "\0" in name
    or any(part in ("", ".", "..") for part in parts)
  ):
    raise CheckpointError(
      f"zip entry {describe(name)} points outside the archive"
    )
  return name


def _wide_numbers(name: str, extra: bytes, numbers: list[int]) -> list[int]:
  """Replaces the numbers that did not fit 32 bits (zip64)."""
  missing = [i for i, number in enumerate(numbers) if number == 2**32 - 1]
  position = 0
  while missing and position + 4 <= len(extra):
    kind, size = struct.unpack_from("<2H", extra, position)
    position += 4
    if kind == 1 and size >= 8 * len(missing) <= len(extra) - position:
      for i, number in zip(
        missing, struct.unpack_from(f"<{len(missing)}Q", extra, position)
      ):
        numbers[i] = number
      return numbers
    position += size
  if missing:
    raise CheckpointError(f"zip entry {describe(name)} has no size")
  return numbers


def _check_sizes(entry: _Entry):
  """Refuses an entry that would expand excessively, before expanding it."""
  shown = describe(entry.name)
  if entry.method not in (_STORED, _DEFLATED):
    raise CheckpointError(
      f"zip entry {shown} is compressed by method {entry.method}, which torch "
      "does not use"
    )
  if entry.method == _STORED and entry.size != entry.packed_size:
    raise CheckpointError(f"zip entry {shown} has two different sizes")
  if entry.size > max(_SMALL_ENTRY, _MAX_ENTRY_RATIO * entry.packed_size):
    raise CheckpointError(
      f"zip entry {shown} expands from {entry.packed_size} to "
      f"{entry.size} bytes (a zip bomb)"
    )


def _inflate(packed: memoryview, entry: _Entry) -> bytes:
  """Expands an entry to its declared size and no further."""
  stream = zlib.decompressobj(-zlib.MAX_WBITS)
  try:
    contents = stream.decompress(packed, entry.size + 1)
  except zlib.error:
    raise CheckpointError(
      f"zip entry {describe(entry.name)} is damaged"
    ) from None
  if len(contents) != entry.size or not stream.eof or stream.unused_data:
    raise CheckpointError(
      f"zip entry {describe(entry.name)} does not have its declared size"
    )
  return contents
