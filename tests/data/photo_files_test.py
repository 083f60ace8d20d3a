"""Photos of all kinds, and what is no photo."""

import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image, ImageCms

from my3dgen_jax.data import photo_files
from my3dgen_jax.errors import UserError

# Colors of the quarters, row by row.
RED, GREEN, BLUE, GREY = (250, 20, 20), (20, 240, 20), (20, 20, 250), (99,) * 3
_ORIENTATION = 0x0112


def quarters(width=48, height=32):
  """Red and green over blue and grey, [height, width, 3] uint8."""
  pixels = np.empty((height, width, 3), np.uint8)
  for row, colors in enumerate(((RED, GREEN), (BLUE, GREY))):
    for column, color in enumerate(colors):
      pixels[
        row * height // 2 : (row + 1) * height // 2,
        column * width // 2 : (column + 1) * width // 2,
      ] = color
  return pixels


def profile_with_red_as_green():
  """sRGB, but the primaries of red and green have changed places."""
  data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
  for old, new in (
    (b"rXYZ", b"?XYZ"),
    (b"gXYZ", b"rXYZ"),
    (b"?XYZ", b"gXYZ"),
    ("sRGB".encode("utf-16-be"), "Mine".encode("utf-16-be")),
  ):
    assert old in data
    data = data.replace(old, new, 1)
  return data


class PhotoFilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def saved(self, image, name, **options):
    path = self.folder / name
    image.save(path, **options)
    return path

  def read(self, path):
    photo = photo_files.read_photo(path)
    self.assertEqual(photo.pixels.dtype, np.uint8)
    self.assertEqual(photo.pixels.shape[-1], 3)
    return photo.pixels

  def assert_quarters(
    self, pixels, tolerance=0, colors=(RED, GREEN, BLUE, GREY)
  ):
    height, width = pixels.shape[:2]
    for i, color in enumerate(colors):
      y, x = (2 * (i // 2) + 1) * height // 4, (2 * (i % 2) + 1) * width // 4
      np.testing.assert_allclose(pixels[y, x], color, atol=tolerance)

  @parameterized.parameters(
    ("a.png", {}, 0),
    ("a.bmp", {}, 0),
    ("a.tif", {}, 0),
    ("a.webp", {"lossless": True}, 0),
    ("a.jp2", {}, 0),
    ("a.JPG", {"quality": 95}, 8),
    ("a.jpg", {"quality": 95, "progressive": True}, 8),
  )
  def test_formats(self, name, options, tolerance):
    path = self.saved(Image.fromarray(quarters()), name, **options)
    self.assert_quarters(self.read(path), tolerance)

  def test_several_pages(self):
    other = Image.new("RGB", (48, 32))
    path = self.saved(
      Image.fromarray(quarters()), "a.tif", save_all=True, append_images=[other]
    )
    self.assert_quarters(self.read(path))

  @parameterized.parameters(*range(1, 9))
  def test_orientation(self, orientation):
    # What a camera held so would store of the upright picture.
    upright = quarters()
    stored = {
      1: upright,
      2: upright[:, ::-1],
      3: upright[::-1, ::-1],
      4: upright[::-1],
      5: upright.swapaxes(0, 1),
      6: np.rot90(upright, 1),
      7: upright[::-1, ::-1].swapaxes(0, 1),
      8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    path = self.saved(
      Image.fromarray(np.ascontiguousarray(stored)), "a.png", exif=exif
    )
    np.testing.assert_array_equal(self.read(path), upright)

  def test_damaged_exif_is_no_obstacle(self):
    path = self.saved(
      Image.fromarray(quarters()),
      "a.png",
      exif=b"Exif\0\0II*\0\xff\xff\xff\xff",
    )
    self.assert_quarters(self.read(path))

  def test_sixteen_bits(self):
    grey = np.tile(np.uint16([0, 127, 128, 257, 32896, 65535]), (4, 1))
    path = self.saved(Image.fromarray(grey), "a.png")
    np.testing.assert_array_equal(
      self.read(path)[0, :, 1], [0, 0, 0, 1, 128, 255]
    )

  def test_depths_that_say_nothing_of_light(self):
    for values in (np.float32([[0.5]]), np.int32([[70_000]])):
      path = self.saved(Image.fromarray(values), "a.tif")
      with self.assertRaisesRegex(UserError, "a.tif: has 32 bits"):
        self.read(path)

  def test_cmyk(self):
    path = self.saved(
      Image.fromarray(quarters()).convert("CMYK"),
      "a.jpg",
      quality=95,
      subsampling=0,
    )
    self.assert_quarters(self.read(path), 12)

  def test_grey(self):
    for mode in ("L", "1"):
      image = Image.fromarray(quarters()[..., 0] // 128 * 255).convert(mode)
      path = self.saved(image, "a.png")
      self.assert_quarters(
        self.read(path), colors=((255,) * 3, (0,) * 3, (0,) * 3, (0,) * 3)
      )

  def test_transparency_lies_over_white(self):
    alpha = np.full((32, 48), 255, np.uint8)
    alpha[:16, :24] = 0
    alpha[16:, :24] = 51
    over = Image.fromarray(np.dstack([quarters(), alpha]))
    blue = tuple(round(255 + (value - 255) / 5) for value in BLUE)
    for name in ("a.png", "a.webp"):
      options = {"lossless": True, "exact": True} if "webp" in name else {}
      self.assert_quarters(
        self.read(self.saved(over, name, **options)),
        1,
        ((255,) * 3, GREEN, blue, GREY),
      )
    path = self.saved(over.convert("LA"), "b.png")
    np.testing.assert_array_equal(self.read(path)[8, 8], (255,) * 3)

  def test_palettes(self):
    image = Image.fromarray(quarters()).quantize(4)
    self.assert_quarters(self.read(self.saved(image, "a.png")), 1)
    self.assert_quarters(self.read(self.saved(image, "a.gif")), 1)
    path = self.saved(image, "b.png", transparency=image.getpixel((8, 8)))
    self.assert_quarters(self.read(path), 1, ((255,) * 3, GREEN, BLUE, GREY))

  def test_color_profiles(self):
    image = Image.fromarray(quarters())
    path = self.saved(image, "a.png", icc_profile=profile_with_red_as_green())
    # Of the profile's dimmer colors, those of sRGB that look the same.
    self.assert_quarters(
      self.read(path),
      2,
      (GREEN[:1] + RED[:1] + RED[2:], (240, 20, 20), BLUE, GREY),
    )
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"nonsense", srgb[:200]):
      path = self.saved(image, "a.png", icc_profile=profile)
      self.assert_quarters(self.read(path))
    grey = self.saved(
      image.convert("L"), "b.png", icc_profile=profile_with_red_as_green()
    )
    self.assertEqual(self.read(grey).shape, (32, 48, 3))

  def test_huge_jpeg_is_decoded_smaller(self):
    path = self.saved(Image.fromarray(quarters(640, 480)), "a.jpg", quality=95)
    for limit, shrunk in (
      (640 * 480, 1),
      (640 * 480 - 1, 2),
      (640 * 480 // 16, 4),
      (4_800, 8),
    ):
      with mock.patch.object(photo_files, "MAX_PIXELS", limit):
        photo = photo_files.read_photo(path)
      self.assertEqual(photo.shrunk, shrunk)
      self.assertEqual(photo.pixels.shape, (480 // shrunk, 640 // shrunk, 3))
      self.assert_quarters(photo.pixels, 8)

  def test_bombs(self):
    png = self.saved(Image.fromarray(quarters()), "a.png")
    header = struct.pack(">4sII5s", b"IHDR", 20_000, 20_000, b"\x08\2\0\0\0")
    data = png.read_bytes()
    png.write_bytes(
      data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    )
    jpeg = self.saved(Image.fromarray(quarters()), "a.jpg", progressive=True)
    data = bytearray(jpeg.read_bytes())
    place = data.index(b"\xff\xc2") + 5
    data[place : place + 4] = struct.pack(">HH", 20_000, 20_000)
    jpeg.write_bytes(data)
    for path in (png, jpeg):
      with mock.patch.object(Image.Image, "load") as load:
        with self.assertRaisesRegex(UserError, f"{path}: has too many pixels"):
          self.read(path)
      load.assert_not_called()

  @parameterized.parameters(
    ("a.webp", {}, "_MAX_PIXELS", {"WEBP": 1000}, None),
    ("a.jp2", {}, "_MAX_PIXELS", {"JPEG2000": 1000}, None),
    ("a.jpg", {"progressive": True}, "_WHOLE_PROGRESSIVE", 1000, (16, 24)),
  )
  def test_what_needs_much_memory_has_less_pixels(
    self, name, options, limit, value, size
  ):
    path = self.saved(Image.fromarray(quarters()), name, **options)
    self.assertEqual(self.read(path).shape[:2], (32, 48))
    with mock.patch.object(photo_files, limit, value):
      if size:
        self.assertEqual(self.read(path).shape[:2], size)
      else:
        with self.assertRaisesRegex(UserError, f"{path}: has too many pixels"):
          self.read(path)

  def test_memory_of_the_largest_photo(self):
    """Of 36 million pixels, turned, at most thrice their bytes."""
    try:
      import resource  # pylint: disable=import-outside-toplevel
    except ImportError:
      self.skipTest("this system does not tell of memory")
    del resource
    path = self.folder / "a.png"
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    Image.new("RGB", (6000, 6000), RED).save(path, exif=exif, compress_level=1)
    code = (
      "import resource, sys\n"
      "from PIL import Image\n"
      "from my3dgen_jax.data import photo_files\n"
      "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
      "before = used()\n"
      "pixels = photo_files.read_photo(sys.argv[1]).pixels\n"
      "assert pixels.shape == (6000, 6000, 3)\n"
      "unit = 1 if sys.platform == 'darwin' else 1024\n"
      "print((used() - before) * unit)\n"
    )
    done = subprocess.run(
      [sys.executable, "-c", code, str(path)],
      capture_output=True,
      text=True,
      check=True,
    )
    self.assertLess(int(done.stdout), 3 * 108e6)

  def test_broken(self):
    whole = self.saved(Image.fromarray(quarters(200, 200)), "whole.jpg")
    data = whole.read_bytes()
    for name, content, reason in (
      ("text.jpg", b"no photo\n" * 9, "is damaged, or not a photo"),
      ("cut.jpg", data[: len(data) // 2], "is truncated"),
      ("head.jpg", data[:20], "."),
      ("empty.jpg", b"", "is empty"),
      ("brand.heic", b"\0\0\0\x18ftypheic" + 20 * b"\0", "."),
      ("page.pdf.jpg", b"%!PS-Adobe-3.0 EPSF\n" * 9, "not a photo"),
    ):
      path = self.folder / name
      path.write_bytes(content)
      with self.subTest(name):
        with self.assertRaisesRegex(UserError, reason) as caught:
          self.read(path)
        self.assertIn(str(path), str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

  def test_what_is_no_file(self):
    pipe = self.folder / "pipe.jpg"
    os.mkfifo(pipe)
    for path, reason in (
      (pipe, "regular file"),
      (self.folder, "regular file"),
      (self.folder / "gone.jpg", "No such file"),
    ):
      with self.assertRaisesRegex(UserError, f"{path}: .*{reason}"):
        self.read(path)

  def test_unreadable(self):
    path = self.saved(Image.fromarray(quarters()), "a.jpg")
    with mock.patch(
      "builtins.open",
      side_effect=PermissionError(13, "Permission denied", str(path)),
    ):
      with self.assertRaisesRegex(UserError, "a.jpg: .*Permission denied"):
        self.read(path)

  def test_missing_libraries(self):
    path = self.folder / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + 20 * b"\0")
    with mock.patch.dict(sys.modules, {"pillow_heif": None}):
      with self.assertRaisesRegex(UserError, "a.heic: HEIC needs pillow-heif"):
        self.read(path)
    path.write_bytes(b"\0\0\0\x18ftypavif" + 20 * b"\0")
    without = {
      name: value for name, value in Image.OPEN.items() if name != "AVIF"
    }
    with mock.patch.object(Image, "OPEN", without):
      with self.assertRaisesRegex(UserError, "AVIF needs Pillow"):
        self.read(path)

  def test_avif(self):
    Image.init()
    if "AVIF" not in Image.SAVE:
      self.skipTest("this Pillow knows no AVIF")
    path = self.saved(Image.fromarray(quarters()), "a.avif", quality=100)
    self.assert_quarters(self.read(path), 12)

  def test_heic(self):
    try:
      import pillow_heif  # pylint: disable=import-outside-toplevel
    except ImportError:
      self.skipTest("pillow-heif is not installed")
    path = self.folder / "a.heic"
    pillow_heif.from_pillow(Image.fromarray(quarters(96, 64))).save(
      path, quality=95
    )
    self.assert_quarters(self.read(path), 12)

  def test_find(self):
    for name in (
      "b/2.PNG",
      "b/1.jpg",
      "a.heic",
      "b-1.jpg",
      "notes.txt",
      ".hidden.jpg",
      "__MACOSX/b/1.jpg",
      ".trash/3.jpg",
      "c.MOV",
    ):
      path = self.folder / name
      path.parent.mkdir(exist_ok=True, parents=True)
      path.write_bytes(b"")
    found = photo_files.find(self.folder)
    names = lambda paths: [
      path.relative_to(self.folder).as_posix() for path in paths
    ]
    self.assertEqual(
      names(found.photos), ["a.heic", "b/1.jpg", "b/2.PNG", "b-1.jpg"]
    )
    self.assertEqual(names(found.videos), ["c.MOV"])
    self.assertEqual(found.others, 1)
    self.assertRegex(
      found.passed_over(), r"^1 other files skipped \(1 [.]\w+\)$"
    )
    self.assertEqual(
      names(photo_files.find(self.folder / "c.MOV").videos), ["c.MOV"]
    )
    self.assertEqual(
      names(photo_files.find(self.folder, without=self.folder / "b").photos),
      ["a.heic", "b-1.jpg"],
    )
    with self.assertRaisesRegex(UserError, "gone: no such folder"):
      photo_files.find(self.folder / "gone")

  def test_what_is_passed_over_is_counted_by_ending(self):
    with tempfile.TemporaryDirectory() as folder:
      folder = pathlib.Path(folder)
      for name in (
        "a.CR2",
        "b.cr2",
        "c.txt",
        "d",
        "e.xmp",
        "f.aae",
        "g.pdf",
        "h.doc",
        ".DS_Store",
        "._a.jpg",
        "Thumbs.db",
        "Desktop.ini",
        "i.HIF",
        "j.MTS",
        "k.m2ts",
        "l.wmv",
      ):
        (folder / name).write_bytes(b"")
      found = photo_files.find(folder)
    self.assertEqual([path.name for path in found.photos], ["i.HIF"])
    self.assertLen(found.videos, 3)
    self.assertEqual(
      found.passed_over(),
      "8 other files skipped (2 .cr2, 1 without extension, 1 .aae, 1 .doc, "
      "1 .pdf, and 2 other extensions); export raw photos as JPEG",
    )

  def test_folder_that_cannot_be_looked_into(self):
    def walk(place, onerror):
      onerror(PermissionError(13, "Permission denied", "secret"))
      return iter([(str(place), [], ["a.jpg"])])

    with mock.patch.object(os, "walk", walk):
      found = photo_files.find(self.folder)
    self.assertEqual(found.unreadable, ("secret: Permission denied",))
    self.assertLen(found.photos, 1)


if __name__ == "__main__":
  absltest.main()
