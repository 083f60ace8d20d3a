"""Serves the page for marking photos, to this machine only, until marking ends.

    marks = Marks(path, items, kind_of("cat"))
    mark_in_browser(marks, stop, detect=cat_detector.find_cats)

Marks are written after each photo, so a killed process loses at most one
photo's points; the same call resumes.
"""

import collections
import functools
import http
import http.server
import importlib.resources
import io
import json
import secrets
import socketserver
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from my3dgen_jax.apps import gate as gate_lib
from my3dgen_jax.apps.marking.marks import Box, Marks
from my3dgen_jax.data import photo_files
from my3dgen_jax.data.faces.landmarks import Face
from my3dgen_jax.errors import one_line, UserError
from my3dgen_jax.jobs.interrupts import StopRequest

PORT = 8090  # or the next free one
BODY_BYTES = 2**14  # limit of a request body; nine points need 500
_HOST = "127.0.0.1"
_SHOWN = 1600  # largest side of a shown photo, pixels
_QUALITY = 90
_KEPT = 4  # photos in memory; the next one is prefetched
_PATIENCE = 30.0  # seconds to wait for a browser's request
_POLICY = (
  "default-src 'none'; img-src 'self' data:; connect-src 'self'; "
  "style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Detect = Callable[[np.ndarray], Sequence[Box]]


class _Shown(NamedTuple):
  """A photo as shown on the page.

  Attributes:
    jpeg: JPEG bytes of the downscaled photo.
    size: width and height of the file, pixels.
    boxes: boxes of faces, in pixels of the file, largest first.
  """

  jpeg: bytes
  size: tuple[int, int]
  boxes: Sequence[Box]


class Page:
  """Answers the page's requests; independent of HTTP."""

  def __init__(self, marks: Marks, detect: Detect | None):
    """Reads no photos yet.

    Args:
      marks: the marks.
      detect: function that finds the boxes of faces in a [H, W, 3] uint8 image;
        None: no boxes.
    """
    self.marks, self._detect = marks, detect
    self.done = threading.Event()
    self._lock = threading.Lock()  # one photo is decoded at a time
    self._photos: collections.OrderedDict[int, _Shown] = (
      collections.OrderedDict()
    )

  def state(self) -> dict[str, Any]:
    """The page's data besides the photo."""
    marks, kind = self.marks, self.marks.kind
    return {
      "title": kind.title,
      "points": kind.names,
      "drawing": kind.shape.tolist(),
      "lines": kind.lines,
      "photos": [
        {"name": item.name, "state": _state(marks.of(item.name))}
        for item in marks.items
      ],
    }

  def photo(self, index: int) -> dict[str, Any]:
    """The page's data about a photo.

    Raises: UserError: the photo cannot be read; IndexError: it does not exist.
    """
    name = self.marks.items[index].name
    shown = self._shown(index)
    box = shown.boxes[0] if shown.boxes else None
    proposal, faces = self.marks.proposal(box), self.marks.of(name)
    return {
      "name": name,
      "size": shown.size,
      "box": box,
      "shape": self.marks.shape().tolist(),
      "proposal": None if proposal is None else proposal.tolist(),
      "points": faces[0].points.tolist() if faces else None,
      "state": _state(faces),
    }

  def jpeg(self, index: int) -> bytes:
    """The photo itself; raises as `photo`."""
    return self._shown(index).jpeg

  def mark(self, index: int, what: dict[str, Any]) -> dict[str, Any]:
    """Saves a photo's marks.

    Args:
      index: the photo's index.
      what: an object with "points" or "skip".

    Raises: UserError: the marks are invalid; IndexError; OSError.
    """
    name = self.marks.items[index].name
    if what.get("skip") is True:
      self.marks.set(name, None)
    else:
      shown = self._shown(index)
      points = self.marks.kind.checked(what.get("points"), shown.size)
      box = _box_of(points, shown.boxes)
      self.marks.set(name, Face(points, box=box))
    return self.state()

  def _shown(self, index: int) -> _Shown:
    with self._lock:
      if index not in self._photos:
        self._photos[index] = self._read(index)
      self._photos.move_to_end(index)
      while len(self._photos) > _KEPT:
        self._photos.popitem(last=False)
      return self._photos[index]

  def _read(self, index: int) -> _Shown:
    # pylint: disable-next=import-outside-toplevel
    from PIL import Image

    photo = photo_files.read_photo(self.marks.items[index].path)
    height, width = photo.pixels.shape[:2]
    image = Image.fromarray(photo.pixels)
    image.thumbnail((_SHOWN, _SHOWN))
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=_QUALITY)
    boxes = self._detect(photo.pixels) if self._detect else ()
    return _Shown(
      data.getvalue(),
      (width * photo.shrunk, height * photo.shrunk),
      [_scaled(box, photo.shrunk) for box in boxes],
    )


def _scaled(box: Box, by: float) -> Box:
  left, top, right, bottom = box
  return by * left, by * top, by * right, by * bottom


def _state(faces: list[Face] | None) -> str:
  return "open" if faces is None else "marked" if faces else "skipped"


def _box_of(points: np.ndarray, boxes: Sequence[Box]) -> Box | None:
  """The box that contains the center of the points."""
  x, y = points.mean(axis=0)
  for box in boxes:
    if box[0] <= x <= box[2] and box[1] <= y <= box[3]:
      return box
  return None


class _Handler(http.server.BaseHTTPRequestHandler):
  """HTTP around a `Page`, behind a `Gate`."""

  protocol_version = "HTTP/1.1"
  timeout = _PATIENCE
  server_version, sys_version = "my3dgen", ""

  def __init__(self, page: Page, gate: gate_lib.Gate, *arguments: Any):
    self._page, self._gate = page, gate
    super().__init__(*arguments)

  def log_message(self, format: str, *args: Any):  # pylint: disable=redefined-builtin
    """Logs nothing, because strangers can send anything."""

  def do_GET(self):
    """Serves the page, a photo, or its data."""
    path = self._admitted()
    if path is None:
      return
    if path == "/":
      nonce = secrets.token_urlsafe(16)
      self._send(
        _page_text().replace("NONCE", nonce).encode(),
        "text/html; charset=utf-8",
        {"Content-Security-Policy": _POLICY.format(nonce=nonce)},
      )
    elif path == "/state":
      self._send_json(self._page.state())
    elif (index := _index(path, "/photos/", ".jpg")) is not None:
      self._answer(functools.partial(self._page.jpeg, index), "image/jpeg")
    elif (index := _index(path, "/photos/", "")) is not None:
      self._answer(functools.partial(self._page.photo, index))
    else:
      self._refuse(http.HTTPStatus.NOT_FOUND, "No such page.")

  def do_POST(self):
    """Saves marks, or ends the server."""
    path = self._admitted()
    if path is None:
      return
    what = self._body()
    if what is None:
      return
    if path == "/done":
      self._send_json({})
      self._page.done.set()
    elif (index := _index(path, "/photos/", "")) is not None:
      self._answer(functools.partial(self._page.mark, index, what))
    else:
      self._refuse(http.HTTPStatus.NOT_FOUND, "No such page.")

  def _admitted(self) -> str | None:
    """The path without its query; None after a refusal."""
    answer = self._gate.judge(self.path, dict(self.headers.items()))
    if answer is None:
      return urllib.parse.unquote(self.path.partition("?")[0])
    self.close_connection = True
    self.send_response(answer.status)
    body = answer.text.encode()
    for name, value in (
      *answer.headers,
      ("Content-Type", "text/plain; charset=utf-8"),
      ("Content-Length", str(len(body))),
      ("Connection", "close"),
    ):
      self.send_header(name, value)
    self.end_headers()
    self.wfile.write(body)
    return None

  def _body(self) -> dict[str, Any] | None:
    """The request's JSON object; None after a refusal."""
    # Another site's form cannot send this type without a preflight request.
    kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
    length = self.headers.get("Content-Length", "")
    if kind != "application/json":
      self._refuse(http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON.")
      return None
    if not length.isascii() or not length.isdigit() or len(length) > 9:
      self._refuse(http.HTTPStatus.LENGTH_REQUIRED, "Send a Content-Length.")
      return None
    if int(length) > BODY_BYTES:
      self._refuse(
        http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large."
      )
      return None
    try:
      what = json.loads(self.rfile.read(int(length)))
    except (ValueError, RecursionError):
      what = None
    if not isinstance(what, dict):
      self._refuse(http.HTTPStatus.BAD_REQUEST, "Send a JSON object.")
      return None
    return what

  def _answer(self, make: Callable[[], Any], kind: str | None = None):
    try:
      found = make()
    except IndexError:
      self._refuse(http.HTTPStatus.NOT_FOUND, "No such photo.")
    except UserError as error:
      self._refuse(http.HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
    except OSError as error:
      self._refuse(http.HTTPStatus.INTERNAL_SERVER_ERROR, one_line(error))
    else:
      if kind is None:
        self._send_json(found)
      else:
        self._send(found, kind)

  def _refuse(self, status: http.HTTPStatus, text: str):
    self.close_connection = True  # a body may not have been read
    self._send(text.encode(), "text/plain; charset=utf-8", status=status)

  def _send_json(self, value: Any):
    self._send(json.dumps(value).encode(), "application/json")

  def _send(
    self,
    body: bytes,
    kind: str,
    headers: dict[str, str] | None = None,
    status: http.HTTPStatus = http.HTTPStatus.OK,
  ):
    self.send_response(status)
    for name, value in {
      "Content-Type": kind,
      "Content-Length": str(len(body)),
      "Cache-Control": "no-store",
      "X-Content-Type-Options": "nosniff",
      "Referrer-Policy": "no-referrer",
      **(headers or {}),
    }.items():
      self.send_header(name, value)
    self.end_headers()
    self.wfile.write(body)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
  """One thread per connection; quiet."""

  daemon_threads = True
  allow_reuse_address = True

  def handle_error(self, request: Any, client_address: Any):
    """Ignores browsers that disconnect."""


def _index(path: str, before: str, after: str) -> int | None:
  """The number between two strings, or None."""
  number = path.removeprefix(before).removesuffix(after)
  fits = path == f"{before}{number}{after}"
  # No photo's index has that many digits.
  return (
    int(number) if fits and number.isdecimal() and len(number) < 9 else None
  )


@functools.cache
def _page_text() -> str:
  return (
    importlib.resources.files("my3dgen_jax.apps.marking")
    .joinpath("page.html")
    .read_text(encoding="utf-8")
  )


def mark_in_browser(
  marks: Marks,
  stop: StopRequest,
  *,
  detect: Detect | None = None,
  log: Callable[[str], None] = print,
  port: int = PORT,
  open_browser: bool = True,
):
  """Serves the page until the user ends it.

  Args:
    marks: the marks, saved after each photo.
    stop: request to stop, checked ten times a second.
    detect: face detector, see `Page`.
    log: called with the address and the result.
    port: the port to listen on, or the next free one after it.
    open_browser: whether to open the page in this machine's browser, if it has
      a screen.

  Raises:
    Interrupted: `stop` was requested; the marks are saved.
    UserError: no port is free.
  """
  if not marks.items:
    return
  token = secrets.token_urlsafe(24)
  port = gate_lib.free_port(_HOST, port)
  gate = gate_lib.Gate(token=token, host=_HOST, port=port, page="marking page")
  page = Page(marks, detect)
  with _Server(
    (_HOST, port), functools.partial(_Handler, page, gate)
  ) as server:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
      address = f"http://{_HOST}:{port}/?token={token}"
      log(
        f"mark {marks.kind.title} in {len(marks.items)} photos "
        f"({marks.count()} are done): open {address} "
        "(end with “Done” or Ctrl-C; each photo is saved at once)"
      )
      sys.stdout.flush()  # a program that reads from a pipe needs the address
      if open_browser:
        gate_lib.open_page(address)
      while not page.done.is_set():
        stop.raise_if_wanted(
          f"stopped while marking: {marks.count()} of {len(marks.items)} "
          "photos are saved; the same command resumes"
        )
        time.sleep(0.1)
    finally:
      server.shutdown()
      thread.join()
  log(f"{marks.count()} of {len(marks.items)} photos are marked or skipped")
