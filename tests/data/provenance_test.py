"""Pictures and videos, and what they say of themselves."""

import itertools
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time
from unittest import mock
from xml.dom import minidom

import imageio_ffmpeg
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image, PngImagePlugin

from my3dgen_jax.data import provenance
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import UserError

ORIGIN = Origin(
  "0123456789abcdef",
  "ffhq-0042",
  "edit",
  (("seed", "3"), ("direction", "smile +2")),
)
IPTC = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
HOSTILE = (
  "\"'<&>",
  "line\nbreak\r\nand\ttab\r",
  "😀 é 漢",
  "]]>",
  "-->",
  "<?xpacket end?>",
  "&lt;",
  "</rdf:li>",
  " around ",
  "a=b=c",
  "<!DOCTYPE x>",
  "-metadata",
  "\x85\u2028\ufffd",
)


def smooth(height, width, number=1):
  """Frames that codecs keep well, uint8 [number, height, width, 3]."""
  y, x, t = np.meshgrid(
    np.linspace(0, 1, height),
    np.linspace(0, 1, width),
    np.linspace(0, 1, number),
    indexing="ij",
  )
  frames = np.stack([x, y, 0.5 + 0.5 * np.sin(3 * x + 4 * t)], axis=-1)
  return (255 * np.moveaxis(frames, 2, 0)).astype(np.uint8)


def psnr(a, b):
  error = np.square(np.subtract(a, b, dtype=float)).mean()
  return 10 * np.log10(255**2 / max(error, 1e-9))


def boxes_of(data):
  """(kind, content) of the outermost boxes of an MP4."""
  start = 0
  while start < len(data):
    size, kind = struct.unpack_from(">I4s", data, start)
    yield kind, data[start + 8 : start + size]
    start += size


def broken(frames):
  yield from frames
  raise KeyboardInterrupt


class SyntheticTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name) / "out"
    self.folder.mkdir()

  def write(self, name, origin=ORIGIN, frames=None):
    path = self.folder / name
    frames = smooth(16, 24, 3) if frames is None else frames
    if path.suffix in provenance.PICTURES:
      provenance.write_picture(path, frames[0], origin)
    else:
      provenance.write_video(path, iter(frames), origin)
    return path

  def program(self, script):
    """Takes ffmpeg's place; leaves its process's number in `pid`.

    Whoever sees `pid` sees the number in it: it is moved there.
    """
    path = self.folder.parent / "program"
    pid = self.folder.parent / "pid"
    path.write_text(
      f"#!/bin/sh\necho $$ > {pid}.new\nmv {pid}.new {pid}\n{script}"
    )
    path.chmod(0o755)
    self.enter_context(
      mock.patch.object(
        imageio_ffmpeg, "get_ffmpeg_exe", return_value=str(path)
      )
    )

  def assert_program_ended(self):
    number = int((self.folder.parent / "pid").read_text())
    with self.assertRaises(ProcessLookupError):
      os.kill(number, 0)

  @parameterized.parameters(
    "a.png", "a.jpg", "a.JPEG", "a.mp4", "a.gif", "a.webp"
  )
  def test_says_what_made_it(self, name):
    path = self.folder / name
    if path.suffix.lower() in provenance.PICTURES:
      provenance.write_picture(path, smooth(16, 24)[0], ORIGIN)
    else:
      provenance.write_video(path, smooth(16, 24, 3), ORIGIN)
    self.assertEqual(provenance.read_origin(path), ORIGIN)
    self.assertEqual(os.listdir(self.folder), [name])
    # As tools that know no format look for XMP.
    data = path.read_bytes()
    packets = re.findall(
      rb"<\?xpacket begin.*<\?xpacket end=\"w\"\?>", data, re.DOTALL
    )
    self.assertLen(packets, 1)
    document = minidom.parseString(packets[0])
    (source,) = document.getElementsByTagNameNS(
      "http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "DigitalSourceType"
    )
    self.assertEqual(source.firstChild.data.encode(), IPTC)
    (software,) = document.getElementsByTagNameNS(
      "http://ns.adobe.com/xap/1.0/", "CreatorTool"
    )
    self.assertEqual(software.firstChild.data, provenance.SOFTWARE)
    (description,) = document.getElementsByTagNameNS(
      "http://purl.org/dc/elements/1.1/", "description"
    )
    sentence = description.getElementsByTagName("rdf:li")[0].firstChild.data
    self.assertStartsWith(sentence, "Synthetic ")
    self.assertIn("adapter 0123456789abcdef, base ffhq-0042", sentence)

  def test_content_decides_the_format(self):
    path = self.write("a.mp4").rename(self.folder / "a.png")
    self.assertEqual(provenance.read_origin(path), ORIGIN)

  @parameterized.parameters(((5, 4, 3),), ((5, 4, 1),), ((5, 4),))
  def test_png(self, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = self.write("a.png", frames=[picture])
    image = Image.open(path)
    np.testing.assert_array_equal(np.asarray(image).reshape(shape), picture)
    self.assertEqual(image.text["Software"], provenance.SOFTWARE)
    self.assertEqual(image.text["Digital Source Type"].encode(), IPTC)
    self.assertStartsWith(image.text["Comment"], "Synthetic image, ")
    self.assertIn(IPTC.decode(), image.text["XML:com.adobe.xmp"])

  @parameterized.parameters(((32, 48, 3),), ((32, 48, 1),), ((32, 48),))
  def test_jpeg(self, shape):
    picture = (
      smooth(32, 48)[0]
      if shape[2:] == (3,)
      else smooth(32, 48)[0, :, :, 0].reshape(shape)
    )
    path = self.write("a.jpg", frames=[picture])
    image = Image.open(path)
    self.assertGreater(psnr(np.asarray(image).reshape(shape), picture), 40)
    self.assertStartsWith(image.info["comment"], b"Synthetic image, ")
    # The segment's length counts itself, not its marker.
    data = path.read_bytes()
    start = data.index(b"\xff\xe1")
    (length,) = struct.unpack_from(">H", data, start + 2)
    segment = data[start + 4 : start + 2 + length]
    self.assertStartsWith(segment, b"http://ns.adobe.com/xap/1.0/\0<?xpacket")
    self.assertEndsWith(segment, b'<?xpacket end="w"?>')

  @parameterized.parameters((48, 64, 5), (47, 63, 3), (1, 1, 1), (33, 34, 26))
  def test_mp4(self, height, width, number):
    frames = smooth(height, width, number)
    path = self.write("a.mp4", frames=frames)
    reader = imageio_ffmpeg.read_frames(path)
    about = next(reader)
    even = (height + height % 2, width + width % 2)
    self.assertEqual(about["size"], even[::-1])
    self.assertEqual(about["fps"], 24)
    self.assertStartsWith(about["pix_fmt"], "yuv420p(tv, bt709")
    decoded = [
      np.frombuffer(frame, np.uint8).reshape(*even, 3) for frame in reader
    ]
    self.assertLen(decoded, number)
    padded = np.pad(
      frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge"
    )
    for frame, original in zip(decoded, padded):
      self.assertGreater(psnr(frame, original), 30)

  def test_mp4_boxes(self):
    boxes = list(boxes_of(self.write("a.mp4").read_bytes()))
    kinds = [kind for kind, _ in boxes]
    self.assertLess(kinds.index(b"moov"), kinds.index(b"mdat"))
    self.assertEqual(kinds[-1], b"uuid")
    self.assertEqual(
      boxes[-1][1][:16].hex(), "be7acfcb97a942e89c71999491e3afac"
    )

  def test_mp4_quality(self):
    """Twelve more make it much smaller."""
    frames = smooth(160, 160, 16)
    sizes = []
    for crf in (17, 29):
      path = self.folder / f"{crf}.mp4"
      provenance.write_video(path, frames, ORIGIN, crf=crf)
      sizes.append(
        sum(
          len(data)
          for kind, data in boxes_of(path.read_bytes())
          if kind == b"mdat"
        )
      )
    self.assertLess(sizes[1], 0.7 * sizes[0])
    for crf in (-1, 52, 1.5):
      with self.assertRaisesRegex(UserError, "crf: expected a whole number"):
        provenance.write_video(path, frames, ORIGIN, crf=crf)

  def test_mp4_comments(self):
    path = self.write("a.mp4")
    result = subprocess.run(
      [imageio_ffmpeg.get_ffmpeg_exe(), "-i", path, "-f", "ffmetadata", "-"],
      capture_output=True,
      text=True,
      check=True,
    )
    self.assertIn("\ncomment=Synthetic video, ", result.stdout)
    self.assertIn(IPTC.decode(), result.stdout)
    self.assertIn("\ndescription=Synthetic video, ", result.stdout)

  @parameterized.parameters(24, 12.5, 29.97)
  def test_rate(self, fps):
    path = self.folder / "a.mp4"
    provenance.write_video(path, smooth(16, 16, 3), ORIGIN, fps=fps)
    about, *_ = imageio_ffmpeg.read_frames(path)
    self.assertAlmostEqual(about["fps"], fps)

  @parameterized.parameters("a.gif", "a.webp")
  def test_animations(self, name):
    frames = smooth(47, 63, 24)
    durations = []
    with Image.open(self.write(name, frames=frames)) as image:
      self.assertEqual(image.n_frames, 24)
      self.assertEqual(image.info["loop"], 0)
      for index, frame in enumerate(frames):
        image.seek(index)
        shown = np.asarray(image.convert("RGB"))
        self.assertGreater(psnr(shown, frame), 28)  # GIF's 256 colors
        durations.append(image.info["duration"])
    self.assertEqual(sum(durations), 1000)

  @parameterized.parameters("a.gif", "a.webp", "a.mp4")
  def test_one_frame(self, name):
    path = self.write(name, frames=smooth(16, 16))
    self.assertEqual(provenance.read_origin(path), ORIGIN)

  def test_gif_comment(self):
    with Image.open(self.write("a.gif")) as image:
      self.assertStartsWith(image.info["comment"], b"Synthetic video, ")

  @parameterized.parameters("a.png", "a.jpg", "a.mp4", "a.gif", "a.webp")
  def test_hostile_text(self, name):
    together = "".join(HOSTILE)
    origin = Origin(
      together,
      together,
      together,
      tuple(itertools.product(HOSTILE, HOSTILE)) + (("", ""),),
    )
    path = self.write(name, origin)
    self.assertEqual(provenance.read_origin(path), origin)

  @parameterized.parameters("\0", "\x1b[2J", "\ud800", "\uffff")
  def test_text_that_xml_cannot_hold(self, text):
    for arguments in (
      (text, "b", "t"),
      ("a", text, "t"),
      ("a", "b", text),
      ("a", "b", "t", (("key", text),)),
      ("a", "b", "t", ((text, "value"),)),
    ):
      with self.assertRaisesRegex(
        UserError, "not allowed in a picture"
      ) as caught:
        Origin(*arguments)
      self.assertTrue(str(caught.exception).isprintable())

  @parameterized.parameters("adapter", "base", "task")
  def test_nothing_is_empty(self, name):
    arguments = {"adapter": "a", "base": "b", "task": "t", name: ""}
    with self.assertRaisesRegex(UserError, f"{name}: is empty"):
      Origin(**arguments)

  def test_origin_cannot_be_left_out(self):
    frames = smooth(16, 16, 2)
    with self.assertRaises(TypeError):
      provenance.write_picture(self.folder / "a.png", frames[0])
    with self.assertRaises(TypeError):
      provenance.write_video(self.folder / "a.mp4", frames)
    for name in ("a.png", "a.jpg", "a.mp4", "a.gif", "a.webp"):
      with self.assertRaisesRegex(TypeError, "expected an Origin, got None"):
        self.write(name, None)
    self.assertEmpty(os.listdir(self.folder))

  @parameterized.parameters("a.png", "a.jpg", "a.mp4", "a.gif", "a.webp")
  def test_too_long_details(self, name):
    origin = Origin("a", "b", "t", (("key", "&" * 12_000),))
    with self.assertRaisesRegex(UserError, f"{name}: .* shorten the details"):
      self.write(name, origin)
    self.assertEmpty(os.listdir(self.folder))

  @parameterized.parameters("a.mp4", "a.gif", "a.webp")
  def test_failed_frames_leave_nothing(self, name):
    path = self.folder / name
    with self.assertRaises(KeyboardInterrupt):
      provenance.write_video(path, broken(smooth(16, 16, 2)), ORIGIN)
    self.assertEmpty(os.listdir(self.folder))
    path.write_text("old")
    with self.assertRaises(KeyboardInterrupt):
      provenance.write_video(path, broken([]), ORIGIN)
    self.assertEqual(os.listdir(self.folder), [name])
    self.assertEqual(path.read_text(), "old")

  @parameterized.parameters("a.png", "a.jpg", "a.mp4", "a.gif", "a.webp")
  def test_failed_write_leaves_nothing(self, name):
    with mock.patch.object(os, "replace", side_effect=OSError):
      with self.assertRaises(OSError):
        self.write(name)
    self.assertEmpty(os.listdir(self.folder))

  def test_failing_ffmpeg(self):
    self.program("echo Conversion failed! >&2; exit 3")
    # It ends, so frames go one by one, and not on when nobody takes them.
    frames = itertools.repeat(smooth(64, 64)[0])
    with self.assertRaisesRegex(
      UserError, "a.mp4: ffmpeg cannot write it: Conversion failed!$"
    ):
      self.write("a.mp4", frames=frames)
    self.assertEmpty(os.listdir(self.folder))
    self.assert_program_ended()

  def test_silent_ffmpeg(self):
    self.program("cat > /dev/null; exit 3")
    with self.assertRaisesRegex(UserError, "a.mp4: .*: exit status 3$"):
      self.write("a.mp4")
    self.assertEmpty(os.listdir(self.folder))

  def test_ffmpeg_is_ended(self):
    self.program("exec sleep 60")
    start = time.monotonic()

    def frames():
      yield smooth(16, 16)[0]
      while not (self.folder.parent / "pid").exists():
        time.sleep(0.01)
      raise KeyboardInterrupt

    with self.assertRaises(KeyboardInterrupt):
      self.write("a.mp4", frames=frames())
    self.assertLess(time.monotonic() - start, 30)
    self.assert_program_ended()

  @parameterized.parameters(
    ({"imageio_ffmpeg": None}, "needs imageio-ffmpeg"), ({}, "needs ffmpeg")
  )
  def test_no_ffmpeg(self, modules, message):
    self.enter_context(
      mock.patch.object(
        imageio_ffmpeg, "get_ffmpeg_exe", side_effect=RuntimeError("none")
      )
    )
    frames = iter(smooth(16, 16, 2))
    with mock.patch.dict(sys.modules, modules):
      with self.assertRaisesRegex(
        UserError, f"a.mp4: .*{message}: pip install imageio-ffmpeg"
      ):
        self.write("a.mp4", frames=frames)
    self.assertLen(list(frames), 2)  # none was drawn in vain
    self.assertEmpty(os.listdir(self.folder))

  @parameterized.parameters(
    ([], "there are no frames"),
    (
      [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)],
      "frame 1 has 4 x 6 pixels, the others 4 x 4",
    ),
    ([np.zeros((4, 4, 3))], "frame 0: expected uint8"),
    ([np.zeros((4, 4), np.uint8)], "frame 0: expected uint8"),
  )
  def test_wrong_frames(self, frames, message):
    for name in ("a.mp4", "a.gif", "a.webp"):
      with self.assertRaisesRegex(UserError, f"{name}: {message}"):
        self.write(name, frames=frames)
    self.assertEmpty(os.listdir(self.folder))

  @parameterized.parameters(
    ((4, 4, 3), float),
    ((4, 4, 4), np.uint8),
    ((4,), np.uint8),
    ((1, 4, 4, 3), np.uint8),
  )
  def test_wrong_pictures(self, shape, dtype):
    for name in ("a.png", "a.jpg"):
      with self.assertRaisesRegex(UserError, f"{name}: expected an image"):
        self.write(name, frames=np.zeros((1, *shape), dtype))
    self.assertEmpty(os.listdir(self.folder))

  @parameterized.parameters(
    ("a.mp4", 0),
    ("a.mp4", -1),
    ("a.mp4", float("nan")),
    ("a.mp4", float("inf")),
    ("a.gif", 60),
    ("a.webp", 2000),
  )
  def test_wrong_rates(self, name, fps):
    with self.assertRaisesRegex(UserError, f"{name}: fps must lie in"):
      provenance.write_video(
        self.folder / name, smooth(16, 16, 2), ORIGIN, fps=fps
      )
    self.assertEmpty(os.listdir(self.folder))

  def test_wrong_suffixes(self):
    for name in ("a.bmp", "a", "a.mp4"):
      with self.assertRaisesRegex(UserError, f"{name}: .* .png, .jpg, .jpeg"):
        provenance.write_picture(self.folder / name, smooth(4, 4)[0], ORIGIN)
    for name in ("a.avi", "a", "a.png"):
      with self.assertRaisesRegex(UserError, f"{name}: .* .mp4, .gif, .webp"):
        provenance.write_video(self.folder / name, smooth(4, 4, 2), ORIGIN)


class ReadOriginTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / "a.png"
    provenance.write_picture(self.path, smooth(4, 4)[0], ORIGIN)
    with Image.open(self.path) as image:
      self.packet = image.info["xmp"]

  def put(self, packet):
    """Writes a PNG with another packet."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    Image.new("RGB", (2, 2)).save(self.path, pnginfo=chunks)

  def assert_refused(self, reason):
    with self.assertRaisesRegex(
      UserError, f"a.png: does not say that my3dgen_jax made it: {reason}"
    ):
      provenance.read_origin(self.path)

  @parameterized.parameters("PNG", "JPEG", "WEBP", "GIF")
  def test_plain_picture(self, kind):
    Image.new("RGB", (2, 2)).save(self.path, format=kind)
    self.assert_refused("has no XMP metadata")

  def test_no_picture(self):
    for content in (b"", b"text", bytes(100), b"\xff\xd8\xff"):
      self.path.write_bytes(content)
      self.assert_refused("is damaged, or not a PNG")
    self.path.unlink()
    with self.assertRaises(FileNotFoundError):
      provenance.read_origin(self.path)

  def test_damaged_videos(self):
    provenance.write_video(
      self.path.with_suffix(".mp4"), smooth(16, 16, 2), ORIGIN
    )
    data = self.path.with_suffix(".mp4").read_bytes()
    for end in (8, 12, len(data) // 2, len(data) - 1):
      self.path.write_bytes(data[:end])
      self.assert_refused("")
    for header in (bytes(4), b"\0\0\0\1", b"\0\0\0\7", b"\xff" * 4):
      for rest in (b"", b"\xff" * 8, bytes(100)):
        self.path.write_bytes(header + b"ftyp" + rest)
        self.assert_refused("has no XMP metadata")

  def test_mp4_boxes_of_others(self):
    start = struct.pack(">I4s", 8, b"ftyp")
    uuid = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + self.packet
    for box in (
      struct.pack(">I4s", len(uuid) + 8, b"uuid") + uuid,
      struct.pack(">I4sQ", 1, b"uuid", len(uuid) + 16) + uuid,
      struct.pack(">I4s", 0, b"uuid") + uuid,
    ):
      other = struct.pack(">I4s", 24, b"uuid") + bytes(16)
      self.path.write_bytes(start + other + box)
      self.assertEqual(provenance.read_origin(self.path), ORIGIN)

  def test_rewritten_by_another_tool(self):
    """As attributes, and structures as descriptions, with room at the end."""
    packet = re.sub(rb"\s*<my3dgen:(Adapter|Base|Task)>.*", b"", self.packet)
    packet = packet.replace(
      b'rdf:about=""',
      b'rdf:about="" my3dgen:Adapter="0123456789abcdef" '
      b'my3dgen:Base="ffhq-0042" my3dgen:Task="edit"',
    )
    packet = re.sub(
      rb'<rdf:li rdf:parseType="Resource">(.*?)</rdf:li>',
      rb"<rdf:li><rdf:Description>\1</rdf:Description></rdf:li>",
      packet,
    )
    self.assertNotEqual(packet, self.packet)
    self.put(packet + b" " * 2000 + b"\0")
    self.assertEqual(provenance.read_origin(self.path), ORIGIN)

  def test_another_program(self):
    self.put(b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>')
    self.assert_refused("its XMP metadata is another program's")

  @parameterized.parameters(
    ("utf-8", "its XMP metadata holds declarations"),
    ("utf-16", "'utf-8' codec can't decode"),
    ("utf-7", "not well-formed"),
  )
  def test_declarations(self, encoding, reason):
    text = (
      f'<?xml version="1.0" encoding="{encoding}"?>'
      '<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'
    )
    packet = text.encode(encoding)
    if encoding == "utf-7":  # which may write any character as a number
      packet = packet.replace(b"<!", b"+ADwAIQ-")
    self.put(packet)
    self.assert_refused(reason)

  @parameterized.parameters(
    (b"", ""),
    (b"<x>", "no element|unclosed"),
    (b"<x/>" + b" \n" * 2**20, "its XMP .* too long"),
  )
  def test_odd_packets(self, packet, reason):
    self.put(packet)
    self.assert_refused(reason)

  def test_empty_values(self):
    self.put(
      self.packet.replace(
        b"<my3dgen:Task>edit</my3dgen:Task>", b"<my3dgen:Task/>"
      )
    )
    self.assert_refused("task: is empty")


if __name__ == "__main__":
  absltest.main()
