"""Writes images and videos with metadata that says how they were made.

Every file carries an XMP packet, which photo managers, news agencies' tools and
web sites read: IPTC's digital source type, "trained algorithmic media", and
which adapter of which generator did which task. A format's plain comments say
the same to anyone who opens the file's properties. Nothing here writes a file
without them; like all metadata, they are lost where a site or a tool strips
them.

Source: IPTC Photo Metadata Standard, "Digital Source Type"
    (https://cv.iptc.org/newscodes/digitalsourcetype/); the place of XMP in each
    format: XMP Specification part 3, Storage in Files.
"""

import dataclasses
import io
import math
import os
import pathlib
import re
import struct
from collections.abc import Iterable
from xml.etree import ElementTree
from xml.sax import saxutils

import numpy as np
from PIL import Image, PngImagePlugin

from my3dgen_jax._version import __version__
from my3dgen_jax.data.video_encoding import (
  checked_frames,
  durations,
  find_ffmpeg,
  GIF_TRAILER,
  GIF_XMP,
  MP4_UUID,
  write_gif,
  write_mp4,
)
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import checks
from my3dgen_jax.storage.files import replacing

SOURCE_TYPE = (
  "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
)
SOFTWARE = f"my3dgen_jax {__version__}"
PICTURES = (".png", ".jpg", ".jpeg")
VIDEOS = (".mp4", ".gif", ".webp")

_NAMESPACES = {
  "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
  "dc": "http://purl.org/dc/elements/1.1/",
  "xmp": "http://ns.adobe.com/xap/1.0/",
  "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
  "my3dgen": "my3dgen-jax:ns:origin/1.0/",
}
# One segment of a JPEG holds 65,502 bytes of XMP; one limit for all formats.
_LONGEST_PACKET = 60_000
_MOST_READ = 2**20  # largest packet accepted from other programs, bytes
# Characters that XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MOST_FPS = {".gif": 50}  # viewers slow down frames of 1/100 s


@dataclasses.dataclass(frozen=True)
class Origin:
  """How an image was made.

  Any text that XML can hold: no control characters except tabs and line breaks.

  Raises: UserError: a text is empty (keys and values of `details` may be), or
    XML cannot hold it.
  """

  adapter: str  # the personal adapter's id; "none": the bare base
  base: str  # the base generator's id
  task: str  # e.g. "invert", "edit"
  details: tuple[tuple[str, str], ...] = ()  # keys and values, e.g. a seed

  def __post_init__(self):
    for name in ("adapter", "base", "task"):
      if not getattr(self, name):
        raise UserError(f"{name}: is empty; every picture names its origin")
    for text in (self.adapter, self.base, self.task, *sum(self.details, ())):
      if wrong := _NOT_XML.search(text):
        raise UserError(
          f"{ascii(text)}: contains {ascii(wrong[0])}, which is not allowed in "
          "a picture's metadata"
        )


def write_picture(path: str | os.PathLike, image: np.ndarray, origin: Origin):
  """Writes an image that says how it was made, atomically.

  Args:
    path: path of the file, ending in .png, .jpg or .jpeg (quality 95, colors at
      full resolution).
    image: uint8 [H, W, 3], [H, W, 1] or [H, W].
    origin: how it was made.

  Raises:
    UserError: another suffix, another kind of array, or details that are too
      long; names the file.
    OSError: the folder cannot be written.
  """
  path = pathlib.Path(path)
  suffix = _known_suffix(path, PICTURES)
  packet = _packet(path, "image", origin)
  sentence = _sentence("image", origin)
  if image.ndim == 3 and image.shape[-1] == 1:
    image = image[..., 0]
  if (
    image.dtype != np.uint8
    or image.ndim < 2
    or image.shape[2:] not in ((), (3,))
  ):
    raise UserError(
      f"{path}: expected an image of uint8 [H, W, 3], [H, W, 1] "
      f"or [H, W], got {image.dtype} {list(image.shape)}"
    )
  picture = Image.fromarray(image)
  with replacing(path) as file:
    if suffix == ".png":
      chunks = PngImagePlugin.PngInfo()
      chunks.add_itxt("XML:com.adobe.xmp", packet.decode())
      chunks.add_text("Software", SOFTWARE)
      chunks.add_text("Digital Source Type", SOURCE_TYPE)
      # Pillow makes it an iTXt chunk where Latin-1 is not enough.
      chunks.add_text("Comment", sentence)
      picture.save(file, format="PNG", pnginfo=chunks)
    else:
      picture.save(
        file,
        format="JPEG",
        quality=95,
        subsampling="4:4:4",
        xmp=packet,
        comment=sentence.encode(),
      )


def write_video(
  path: str | os.PathLike,
  frames: Iterable[np.ndarray],
  origin: Origin,
  *,
  fps: float = 24,
  crf: int = 17,
):
  """Writes a video that says how it was made, atomically.

  Args:
    path: path of the file, ending in .mp4 (H.264, for every browser; frames go
      to ffmpeg one by one), .gif (256 colors per frame; repeated frames are
      merged) or .webp. The last two loop forever, and their frames are all held
      in memory.
    frames: uint8 [H, W, 3], one size. MP4 needs even sides: an odd one grows by
      one pixel that repeats the last column or row.
    origin: how it was made.
    fps: frames per second; GIF supports up to 50.
    crf: MP4's quality, 0 … 51: 17 is visually lossless, every 6 more halve the
      file.

  Raises:
    UserError: another suffix, no frames, another kind of array or size, an
      impossible rate, details that are too long, no ffmpeg; names the file.
    OSError: the folder cannot be written.
  """
  path = pathlib.Path(path)
  suffix = _known_suffix(path, VIDEOS)
  packet = _packet(path, "video", origin)
  most = _MOST_FPS.get(suffix, 1000)
  # GIF's clock ends at 655 s per frame; slower than this is a mistake.
  if not (math.isfinite(fps) and 0.01 <= fps <= most):
    raise UserError(f"{path}: fps must lie in 0.01 … {most}, got {fps}")
  checks.whole_number("crf", crf, 0, 51)
  executable = find_ffmpeg(path) if suffix == ".mp4" else None
  frames = checked_frames(path, frames)
  with replacing(path) as file:
    if suffix == ".mp4":
      write_mp4(
        path,
        file,
        executable,
        frames,
        fps,
        crf,
        _sentence("video", origin),
        f"{_sentence('video', origin)} {SOURCE_TYPE}",
        packet,
      )
    elif suffix == ".gif":
      write_gif(file, list(frames), fps, _sentence("video", origin), packet)
    else:
      pictures = [Image.fromarray(frame) for frame in frames]
      pictures[0].save(
        file,
        format="WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=durations(len(pictures), fps, 1000),
        loop=0,
        quality=90,
        xmp=packet,
      )


def check_video(suffix: str):
  """Checks that a video format can be written here, before rendering frames.

  Args:
    suffix: one of `VIDEOS`.

  Raises: UserError: what is missing.
  """
  if suffix == ".mp4":
    try:
      find_ffmpeg(pathlib.Path("video"))
    except UserError as error:
      raise UserError(f"{error}, or video formats gif and webp") from error


def read_origin(path: str | os.PathLike) -> Origin:
  """Reads how an image or video was made.

  The format is recognized by content. A file that others edited may still say
  it, because most tools keep XMP.

  Raises:
    UserError: it holds no metadata of this project, or is damaged; names the
      file.
    OSError: the file cannot be read.
  """
  with open(path, "rb") as file:
    data = file.read()
  try:
    packet = _find_packet(data)
    if packet is None:
      raise ValueError("has no XMP metadata")
    return _parse(packet)
  # Pillow raises a dozen types of errors for damaged files.
  except Exception as error:  # pylint: disable=broad-exception-caught
    reason = " ".join(str(error).split()) or type(error).__name__
    raise UserError(
      f"{path}: does not say that my3dgen_jax made it: {reason}"
    ) from error


def _known_suffix(path: pathlib.Path, known: tuple[str, ...]) -> str:
  suffix = path.suffix.lower()
  if suffix not in known:
    raise UserError(f"{path}: the name must end in " + ", ".join(known))
  return suffix


def _sentence(kind: str, origin: Origin) -> str:
  return (
    f"Synthetic {kind}, generated by {SOFTWARE}: task {origin.task}, "
    f"adapter {origin.adapter}, base {origin.base}."
  )


def _packet(path: pathlib.Path, kind: str, origin: Origin) -> bytes:
  """The XMP packet, UTF-8."""
  if not isinstance(origin, Origin):
    raise TypeError(f"origin: expected an Origin, got {origin!r}")
  # XML turns an unescaped carriage return into a line feed.
  escape = lambda text: saxutils.escape(text, {"\r": "&#13;"})
  details = "".join(
    '<rdf:li rdf:parseType="Resource">'
    f"<my3dgen:Key>{escape(key)}</my3dgen:Key>"
    f"<my3dgen:Value>{escape(value)}</my3dgen:Value></rdf:li>"
    for key, value in origin.details
  )
  namespaces = "".join(
    f'\n    xmlns:{prefix}="{uri}"' for prefix, uri in _NAMESPACES.items()
  )
  packet = f"""\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF{namespaces}>
  <rdf:Description rdf:about="">
   <Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
   <xmp:CreatorTool>{SOFTWARE}</xmp:CreatorTool>
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{
    escape(_sentence(kind, origin))
  }</rdf:li></rdf:Alt></dc:description>
   <my3dgen:Adapter>{escape(origin.adapter)}</my3dgen:Adapter>
   <my3dgen:Base>{escape(origin.base)}</my3dgen:Base>
   <my3dgen:Task>{escape(origin.task)}</my3dgen:Task>
   <my3dgen:Details><rdf:Seq>{details}</rdf:Seq></my3dgen:Details>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()
  if len(packet) > _LONGEST_PACKET:
    raise UserError(
      f"{path}: its metadata would be {len(packet)} bytes, at "
      f"most {_LONGEST_PACKET} fit; shorten the details"
    )
  return packet


def _parse(packet: bytes) -> Origin:
  """Raises: ValueError, ParseError."""
  if len(packet) > _MOST_READ:
    raise ValueError("its XMP metadata is too long")
  # As text, so that the packet's own encoding cannot hide what comes next.
  text = packet.rstrip(b"\0 ").decode("utf-8-sig")
  if "<!" in text:  # a document type, whose entities could fill the memory
    raise ValueError("its XMP metadata holds declarations")
  root = ElementTree.fromstring(text)
  details = tuple(
    (_property(item, "Key"), _property(item, "Value"))
    for entry in root.iter(_tag("my3dgen", "Details"))
    for item in entry.iter(_tag("rdf", "li"))
  )
  return Origin(
    _property(root, "Adapter"),
    _property(root, "Base"),
    _property(root, "Task"),
    details,
  )


def _tag(prefix: str, name: str) -> str:
  return f"{{{_NAMESPACES[prefix]}}}{name}"


def _property(root: ElementTree.Element, name: str) -> str:
  """One of our properties; tools that rewrite XMP may make it an attribute."""
  name = _tag("my3dgen", name)
  for element in root.iter():
    if element.tag == name:
      return element.text or ""
    if name in element.attrib:
      return element.attrib[name]
  raise ValueError("its XMP metadata is another program's")


def _find_packet(data: bytes) -> bytes | None:
  if data[4:8] == b"ftyp":
    return _mp4_packet(data)
  if data.startswith(b"GIF8"):
    # UTF-8 has no bytes like the trailer's first ones.
    found = re.search(
      re.escape(GIF_XMP) + rb"(.*?)" + re.escape(GIF_TRAILER[:3]),
      data,
      re.DOTALL,
    )
    return found and found[1]
  try:
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
      return image.info.get("xmp")
  except Image.UnidentifiedImageError:
    raise ValueError(
      "is damaged, or not a PNG, JPEG, WebP, GIF or MP4"
    ) from None


def _mp4_packet(data: bytes) -> bytes | None:
  """Finds the XMP box between the outermost boxes."""
  start = 0
  while start + 16 <= len(data):  # our box is longer
    size, kind = struct.unpack_from(">I4s", data, start)
    header = 8
    if size == 1:  # the real size follows
      (size,) = struct.unpack_from(">Q", data, start + 8)
      header = 16
    elif size == 0:  # extends to the end
      size = len(data) - start
    if size < header:
      return None
    if (
      kind == b"uuid" and data[start + header : start + header + 16] == MP4_UUID
    ):
      return data[start + header + 16 : start + size]
    start += size
  return None
