"""Tests of the zip reader, most of them attacks."""

import io
import struct
import zipfile

from absl.testing import absltest, parameterized

from converters.zip_archive import ZipArchive
from my3dgen_jax.errors import CheckpointError


def _zip(entries, compression=zipfile.ZIP_STORED) -> bytes:
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", compression) as archive:
    for name, data in entries.items():
      archive.writestr(zipfile.ZipInfo(name), data, compression)
  return buffer.getvalue()


_PLAIN = _zip({"a/one": b"first", "a/two": b"second" * 100})


def _central(data: bytes, index: int) -> int:
  """The position of an entry in the central directory."""
  position = -1
  for _ in range(index + 1):
    position = data.index(b"PK\x01\x02", position + 1)
  return position


def _patched(data: bytes, position: int, layout: str, value) -> bytes:
  changed = bytearray(data)
  struct.pack_into(layout, changed, position, value)
  return bytes(changed)


def _zip64(data: bytes) -> bytes:
  """The same archive with the directory records that torch writes."""
  end = data.rindex(b"PK\x05\x06")
  count, size, start = struct.unpack_from("<HII", data, end + 10)
  record = struct.pack(
    "<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start
  )
  locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
  wide = struct.pack(
    "<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0
  )
  return data[:end] + record + locator + wide


class ZipArchiveTest(parameterized.TestCase):
  @parameterized.parameters(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
  def test_reads(self, compression):
    archive = ZipArchive(
      _zip({"a/one": b"first", "a/": b"", "b": b""}, compression)
    )
    self.assertCountEqual(archive, ["a/one", "a/", "b"])
    self.assertEqual(archive.read("a/one"), b"first")
    self.assertEqual(archive.read("b"), b"")
    self.assertIn("b", archive)
    with self.assertRaisesRegex(CheckpointError, "missing"):
      archive.read("c")

  def test_comment(self):
    data = _patched(_PLAIN, len(_PLAIN) - 2, "<H", 5) + b"hello"
    self.assertEqual(ZipArchive(data).read("a/one"), b"first")

  def test_zip64(self):
    self.assertEqual(ZipArchive(_zip64(_PLAIN)).read("a/one"), b"first")

  def test_zip64_sizes(self):
    """An entry whose numbers are all in the zip64 field."""
    entry = _central(_PLAIN, 1)
    packed, size, header = (
      struct.unpack_from("<I", _PLAIN, entry + offset)[0]
      for offset in (20, 24, 42)
    )
    extra = struct.pack("<2H3Q", 1, 24, size, packed, header)
    data = _PLAIN
    for offset in (20, 24, 42):
      data = _patched(data, entry + offset, "<I", 0xFFFFFFFF)
    data = _patched(data, entry + 30, "<H", len(extra))
    end = data.rindex(b"PK\x05\x06")
    data = data[:end] + extra + data[end:]
    end += len(extra)
    directory = struct.unpack_from("<I", data, end + 12)[0] + len(extra)
    data = _patched(data, end + 12, "<I", directory)
    self.assertEqual(ZipArchive(data).read("a/two"), b"second" * 100)
    with self.assertRaisesRegex(CheckpointError, "size"):
      ZipArchive(_patched(data, end - len(extra), "<H", 2))

  def test_missing_checksums(self):
    """torch can be told to write none."""
    data = _PLAIN
    for index in range(2):
      data = _patched(data, _central(data, index) + 16, "<I", 0)
    self.assertEqual(ZipArchive(data).read("a/one"), b"first")

  @parameterized.parameters(
    "../evil",
    "a/../../evil",
    "/etc/passwd",
    "..\\evil",
    "C:evil",
    "a//b",
    "./a",
    "..",
    "a\\b",
  )
  def test_climbing_names(self, name):
    for data in (_zip({name: b"x"}), _zip64(_zip({name: b"x"}))):
      with self.assertRaisesRegex(CheckpointError, "outside the archive"):
        ZipArchive(data)

  def test_thousandfold(self):
    for size in (10**5, 10**7):
      data = _zip({"a/data.pkl": bytes(size)}, zipfile.ZIP_DEFLATED)
      with self.assertRaisesRegex(CheckpointError, "bomb"):
        ZipArchive(data)

  def test_many_small_bombs(self):
    data = _zip(
      {f"a/{i}": bytes(60000) for i in range(300)}, zipfile.ZIP_DEFLATED
    )
    with self.assertRaisesRegex(CheckpointError, "bomb"):
      ZipArchive(data)

  def test_lying_bomb(self):
    """The directory claims a small size, the stream goes on."""
    data = _zip({"a": bytes(10**6)}, zipfile.ZIP_DEFLATED)
    data = _patched(data, _central(data, 0) + 24, "<I", 1000)
    with self.assertRaisesRegex(CheckpointError, "declared size"):
      ZipArchive(data).read("a")

  def test_duplicates(self):
    data = _zip({"a/one": b"first", "a/eno": b"second"})
    with self.assertRaisesRegex(CheckpointError, "twice"):
      ZipArchive(data.replace(b"a/eno", b"a/one"))

  def test_overlap(self):
    """Two entries of the same bytes: how the best zip bombs work."""
    first, second = _central(_PLAIN, 0), _central(_PLAIN, 1)
    data = _patched(_PLAIN, first + 20, "<I", 60)
    data = _patched(data, first + 24, "<I", 60)
    with self.assertRaisesRegex(CheckpointError, "overlaps"):
      ZipArchive(data)
    data = _patched(_PLAIN, second + 42, "<I", 0)
    with self.assertRaisesRegex(CheckpointError, "disagree"):
      ZipArchive(data)

  @parameterized.named_parameters(
    ("encrypted", 8, "<H", 1, "encrypted"),
    ("method", 10, "<H", 14, "method 14"),
    ("sizes", 24, "<I", 4, "two different sizes"),
    ("disk", 34, "<H", 1, "parts"),
    ("header", 42, "<I", 2**31, "outside"),
    ("name", 46, "<B", 255, "not UTF-8"),
    ("other_name", 46, "<B", 65, "disagree"),
    ("signature", 0, "<B", 0, "damaged"),
    ("name_size", 28, "<H", 9999, ""),
  )
  def test_directory(self, offset, layout, value, reason):
    data = _patched(_PLAIN, _central(_PLAIN, 0) + offset, layout, value)
    with self.assertRaisesRegex(CheckpointError, reason):
      ZipArchive(data)

  @parameterized.named_parameters(
    ("disk", 4, 1),
    ("count", 10, 3),
    ("both", 8, 1),
    ("size", 12, 99),
    ("start", 16, 99),
  )
  def test_end_record(self, offset, value):
    data = _patched(_PLAIN, len(_PLAIN) - 22 + offset, "<H", value)
    with self.assertRaises(CheckpointError):
      ZipArchive(data)

  def test_checksum(self):
    with self.assertRaisesRegex(CheckpointError, "checksum"):
      ZipArchive(_PLAIN.replace(b"first", b"fIrst")).read("a/one")

  def test_damaged_stream(self):
    data = _zip({"a": b"abc" * 100}, zipfile.ZIP_DEFLATED)
    data = _patched(data, 31, "<I", 0xFFFFFFFF)
    with self.assertRaises(CheckpointError):
      ZipArchive(data).read("a")

  def test_truncation(self):
    for data in (_PLAIN, _zip64(_PLAIN)):
      for size in range(len(data)):
        with self.assertRaises(CheckpointError):
          ZipArchive(data[:size])


if __name__ == "__main__":
  absltest.main()
