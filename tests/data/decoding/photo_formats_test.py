"""What photos' headers say, by photos that `read_photo` reads."""

import pathlib
import struct
import tempfile
import zlib
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.data import photo_files
from my3dgen_jax.data.decoding import photo_formats
from my3dgen_jax.errors import UserError

try:
  import pillow_heif
except ImportError:
  pillow_heif = None

# A skin's color, and the same in other spaces.
SKIN = (198, 134, 110)
SKIN_IN_P3 = (189, 137, 115)
WIDTH, HEIGHT = 64, 48


def light(color):
  x = np.array(color) / 255
  return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def in_bt2020(color):
  return (
    light(color)
    @ np.array(
      [
        [0.6274, 0.3293, 0.0433],
        [0.0691, 0.9195, 0.0114],
        [0.0164, 0.0880, 0.8956],
      ]
    ).T
  )


def as_pq(color):
  """White at 203 of 10,000 cd/m2 (ITU-R BT.2100), in [0, 1]."""
  y = (in_bt2020(color) * 203 / 1e4) ** (2610 / 16384)
  return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def as_hlg(color):
  """White at 203 of 1,000 cd/m2 (ITU-R BT.2100), in [0, 1]."""
  shown = in_bt2020(color) * 0.203
  scene = shown * (shown @ [0.2627, 0.6780, 0.0593]) ** (1 / 1.2 - 1)
  return np.where(
    scene <= 1 / 12,
    np.sqrt(3 * scene),
    0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073,
  )


def patch(color, dtype=np.uint8):
  return np.full((HEIGHT, WIDTH, 3), np.rint(color), dtype)


def write_tiff(path, planes, photometric=2, bits=16, tile=None, order=">"):
  """Channels one after the other, not compressed.

  Args:
    path: the file.
    planes: [C, H, W].
    photometric: TIFF's PhotometricInterpretation.
    bits: of each number.
    tile: the side of tiles, which divides H and W; None: strips of 16 rows.
    order: of bytes.
  """
  count, height, width = planes.shape
  rows, columns = (tile, tile) if tile else (16, width)
  chunks = [
    plane[y : y + rows, x : x + columns]
    .astype(f"{order}u{bits // 8}")
    .tobytes()
    for plane in planes
    for y in range(0, height, rows)
    for x in range(0, width, columns)
  ]
  place = 8
  offsets = []
  for chunk in chunks:
    offsets.append(place)
    place += len(chunk)
  lengths = [len(chunk) for chunk in chunks]
  entries = {
    256: (4, [width]),
    257: (4, [height]),
    258: (3, [bits] * count),
    259: (3, [1]),
    262: (3, [photometric]),
    277: (3, [count]),
    284: (3, [2 if count > 1 else 1]),
    **(
      {322: (4, [tile]), 323: (4, [tile]), 324: (4, offsets), 325: (4, lengths)}
      if tile
      else {273: (4, offsets), 278: (4, [rows]), 279: (4, lengths)}
    ),
  }
  if count == 4 and photometric == 2:
    entries[338] = (3, [2])
  extra, after = b"", place + 2 + 12 * len(entries) + 4
  ifd = struct.pack(order + "H", len(entries))
  for tag, (kind, values) in sorted(entries.items()):
    data = struct.pack(
      f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values
    )
    if len(data) > 4:
      value = struct.pack(order + "I", after + len(extra))
      extra += data
    else:
      value = data.ljust(4, b"\0")
    ifd += struct.pack(order + "HHI", tag, kind, len(values)) + value
  path.write_bytes(
    (b"MM\0*" if order == ">" else b"II*\0")
    + struct.pack(order + "I", place)
    + b"".join(chunks)
    + ifd
    + bytes(4)
    + extra
  )


def with_chunk(path, name, data):
  """Puts a chunk before a PNG's pixels."""
  content = path.read_bytes()
  crc = struct.pack(">I", zlib.crc32(name + data))
  chunk = struct.pack(">I", len(data)) + name + data + crc
  path.write_bytes(content[:33] + chunk + content[33:])


class PhotoFormatsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def assert_shows(self, path, color, tolerance=3):
    pixels = photo_files.read_photo(path).pixels
    self.assertEqual(pixels.shape, (HEIGHT, WIDTH, 3))
    np.testing.assert_allclose(pixels[20, 20], color, atol=tolerance)

  def heic(self, pixels, primaries, transfer, matrix):
    if pillow_heif is None:
      self.skipTest("pillow-heif is not installed")
    path = self.folder / "a.heic"
    mode = "RGB;16" if pixels.dtype == np.uint16 else "RGB"
    image = pillow_heif.from_bytes(mode, (WIDTH, HEIGHT), pixels.tobytes())
    image.save(
      path,
      quality=95,
      chroma=444,
      color_primaries=primaries,
      transfer_characteristics=transfer,
      matrix_coefficients=matrix,
      full_range_flag=1,
    )
    return path

  @parameterized.parameters((16, as_pq), (18, as_hlg))
  def test_hdr_heic(self, transfer, encoded):
    pixels = patch(encoded(SKIN) * 0xFFFF, np.uint16)
    self.assert_shows(self.heic(pixels, 9, transfer, 9), SKIN)

  def test_display_p3_heic(self):
    self.assert_shows(self.heic(patch(SKIN_IN_P3), 12, 13, 6), SKIN, 4)
    self.assert_shows(self.heic(patch(SKIN), 1, 13, 6), SKIN)

  @parameterized.parameters(
    (9, 16, as_pq(SKIN) * 255),
    (9, 18, as_hlg(SKIN) * 255),
    (12, 13, SKIN_IN_P3),
    (1, 13, SKIN),
  )
  def test_avif(self, primaries, transfer, encoded):
    Image.init()
    if "AVIF" not in Image.SAVE:
      self.skipTest("this Pillow knows no AVIF")
    path = self.folder / "a.avif"
    Image.fromarray(patch(encoded)).save(path, quality=100, subsampling="4:4:4")
    data = path.read_bytes()
    place = data.index(b"colrnclx") + 8
    path.write_bytes(
      data[:place] + struct.pack(">HH", primaries, transfer) + data[place + 4 :]
    )
    # Eight bits of PQ are wide steps.
    self.assert_shows(path, SKIN, 6)

  def test_png(self):
    path = self.folder / "a.png"
    for name, data, encoded in (
      (b"cICP", bytes([9, 16, 0, 1]), as_pq(SKIN) * 255),
      (b"cICP", bytes([12, 13, 0, 1]), SKIN_IN_P3),
      (b"gAMA", struct.pack(">I", 100_000), light(SKIN) * 255),
      (b"gAMA", struct.pack(">I", 45_455), SKIN),
      (
        b"cHRM",  # white, red, green, blue, x and y: Display P3's
        struct.pack(
          ">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000
        ),
        SKIN_IN_P3,
      ),
    ):
      with self.subTest(name):
        Image.fromarray(patch(encoded)).save(path)
        with_chunk(path, name, data)
        self.assert_shows(path, SKIN, 6)

  def test_an_unknown_curve_is_no_damage(self):
    path = self.folder / "a.png"
    Image.fromarray(patch(SKIN)).save(path)
    with_chunk(path, b"cICP", bytes([1, 9, 0, 1]))
    with self.assertRaisesRegex(UserError, "a.png: has the transfer function"):
      photo_files.read_photo(path)

  @parameterized.parameters(None, 16)
  def test_planes_of_sixteen_bits(self, tile):
    path = self.folder / "a.tif"
    planes = np.moveaxis(patch(SKIN, np.uint16), 2, 0) * 257
    planes[:, : HEIGHT // 2] = 0
    write_tiff(path, planes, tile=tile)
    pixels = photo_files.read_photo(path).pixels
    np.testing.assert_array_equal(pixels[HEIGHT // 2 :], patch(SKIN)[:24])
    self.assertFalse(pixels[: HEIGHT // 2].any())
    alpha = np.full((1, HEIGHT, WIDTH), 0xFFFF, np.uint16)
    write_tiff(path, np.concatenate([planes, alpha]), tile=tile)
    self.assertTrue((photo_files.read_photo(path).pixels == pixels).all())
    ink = 0xFFFF - np.concatenate([planes, alpha])
    write_tiff(path, ink, photometric=5, tile=tile)
    self.assertTrue((photo_files.read_photo(path).pixels == pixels).all())
    path.write_bytes(path.read_bytes()[:2000] + path.read_bytes()[-400:])
    with self.assertRaisesRegex(UserError, "a.tif: "):
      photo_files.read_photo(path)

  @parameterized.parameters(8, 16)
  def test_black_counts_from_white(self, bits):
    path = self.folder / "a.tif"
    values = np.full((1, HEIGHT, WIDTH), 55 * (257 if bits == 16 else 1))
    write_tiff(path, values, photometric=0, bits=bits, order="<")
    self.assert_shows(path, (200,) * 3, 0)
    write_tiff(path, values, photometric=1, bits=bits)
    self.assert_shows(path, (55,) * 3, 0)

  @parameterized.parameters(
    (b"\xff\x0a" + bytes(50), "is JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "is JPEG XL"),
    (b"\0\0\0\x18ftypcrx " + bytes(50), "raw photo; export it as JPEG"),
    (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "raw photo; export it as JPEG"),
    (b"\0\0\0\x18ftypisom" + bytes(50), "is a video"),
    (b"%PDF-1.7\n" + bytes(50), "is a PDF"),
    (b"8BPS\0\1" + bytes(50), "is a Photoshop file"),
    (b"\n<!DOCTYPE html><title>Not found</title>", "is a web page"),
    (b"anything else at all, thirty-two or so", "is damaged, or not a photo"),
  )
  def test_the_true_reason(self, content, reason):
    path = self.folder / "a.jpg"
    path.write_bytes(content)
    with self.assertRaisesRegex(UserError, f"^{path}: .*{reason}"):
      photo_files.read_photo(path)

  def test_light_as_floating_point_is_no_damage(self):
    path = self.folder / "a.tif"
    write_tiff(path, np.zeros((3, HEIGHT, WIDTH)), bits=32)
    with self.assertRaisesRegex(UserError, r"TIFF .* \(3 x 32 bits, whole"):
      photo_files.read_photo(path)

  def test_scans_are_counted_before_they_are_decoded(self):
    path = self.folder / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3))
    Image.fromarray(noise.astype(np.uint8)).save(path, progressive=True)
    data = path.read_bytes()
    self.assertBetween(data.count(b"\xff\xda"), 6, 12)
    photo_formats.check_scans(path)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    path.write_bytes(data[:-2] + 300 * scan + data[-2:])
    with mock.patch.object(Image.Image, "load") as load:
      with self.assertRaisesRegex(UserError, "a.jpg: has more than 100 scans"):
        photo_files.read_photo(path)
    load.assert_not_called()
    # What looks like scans in a comment, or after the end, is none.
    comment = b"\xff\xfe" + struct.pack(">H", 802) + 400 * b"\xff\xda"
    path.write_bytes(data[:2] + comment + data[2:] + 300 * scan)
    photo_formats.check_scans(path)
    path.write_bytes(data[: len(data) // 2])
    photo_formats.check_scans(path)


if __name__ == "__main__":
  absltest.main()
