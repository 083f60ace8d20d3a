"""What strangers and hostile windows may do to a viewer's server."""

import asyncio
import contextlib
import importlib.util
import io
import socket
import threading
import time
import unittest
from unittest import mock

from absl.testing import absltest, parameterized

from my3dgen_jax.apps.gate import Gate
from my3dgen_jax.apps.viewer import connections
from my3dgen_jax.apps.viewer.connections import Troubles
from my3dgen_jax.errors import UserError

TOKEN = "correct-horse"
HOSTILE = 1000  # connections
FEW = 40  # lines that they may cost
CAMERA = {
  "type": "ViewerCameraMessage",
  "wxyz": [1.0, 0.0, 0.0, 0.0],
  "position": [0.0, 0.0, 3.0],
  "fov": 1.0,
  "image_height": 100,
  "image_width": 100,
  "near": 0.1,
  "far": 10.0,
  "look_at": [0.0, 0.0, 0.0],
  "up_direction": [0.0, 1.0, 0.0],
}


def made(host="127.0.0.1"):
  return Gate(token=TOKEN, host=host, port=8080)


def cookie_of(gate):
  answer = gate.judge(f"/?token={TOKEN}", {"Host": "127.0.0.1"})
  return dict(answer.headers)["Set-Cookie"].split(";")[0]


def until(condition, what):
  ended = time.monotonic() + 30
  while not condition():
    if time.monotonic() > ended:
      raise AssertionError(f"{what}: did not come")
    time.sleep(0.01)


class TroublesTest(absltest.TestCase):
  def test_few_lines_for_many(self):
    lines = []
    troubles = Troubles(lines.append)
    troubles.note("before anybody listens")
    self.assertEmpty(lines)
    troubles.begin()
    for _ in range(1000):
      troubles.note("the same\n")
    self.assertEqual(
      lines,
      [
        "warning: the same",
        "warning: the same (10 times so far)",
        "warning: the same (100 times so far)",
        "warning: the same (1000 times so far)",
      ],
    )
    for i in range(1000):
      troubles.note(f"{i}\x1b[2J" + "x" * 10_000)
    self.assertLess(len(lines), FEW)
    for line in lines:
      self.assertTrue(line.isprintable())
      self.assertLess(len(line), 300)


@unittest.skipIf(
  importlib.util.find_spec("websockets") is None,
  "websockets is not installed; viser brings it",
)
class DoorTest(absltest.TestCase):
  """With websockets' own server."""

  def serve(self, guarded):
    # pylint: disable=import-outside-toplevel
    import websockets.asyncio.server as library

    ports, ready, loop = [], threading.Event(), asyncio.new_event_loop()

    async def answer(connection):
      await connection.wait_closed()

    async def main():
      async with library.serve(
        answer, "127.0.0.1", 0, process_request=lambda c, r: None
      ) as server:
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()

    async def run():
      nonlocal stop
      stop = asyncio.Event()
      await main()

    stop = None
    before = library.serve
    with (
      connections.guarding(made(), Troubles(print))
      if guarded
      else contextlib.nullcontext()
    ):
      thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
      thread.start()
      self.assertTrue(ready.wait(30))
    self.assertIs(library.serve, before)
    self.addCleanup(
      lambda: (loop.call_soon_threadsafe(stop.set), thread.join())
    )
    return ports[0]

  def test_the_door_is_tried(self):
    connections.check_guarded(self.serve(True), "127.0.0.1")

  def test_an_open_door_is_noticed(self):
    with self.assertRaisesRegex(UserError, "bypasses the viewer"):
      connections.check_guarded(self.serve(False), "127.0.0.1")


@unittest.skipIf(
  importlib.util.find_spec("viser") is None, "viser is not installed"
)
class WindowsTest(parameterized.TestCase):
  """viser's server with a button for uploads, which the viewer has not."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    import viser  # pylint: disable=import-outside-toplevel

    with socket.socket() as one:
      one.bind(("127.0.0.1", 0))
      port = one.getsockname()[1]
    cls.gate, cls.lines = made(), []
    cls.protocol = f"viser-v{viser.__version__}"
    troubles = Troubles(cls.lines.append)
    with (
      connections.guarding(cls.gate, troubles, protocol=cls.protocol),
      contextlib.redirect_stdout(io.StringIO()),
    ):
      cls.server = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
    cls.addClassCleanup(cls.server.stop)
    cls.port = cls.server.get_port()
    cls.button = cls.server.gui.add_upload_button("Upload")
    cls.slider = cls.server.gui.add_slider("Slider", 0.0, 1.0, 0.1, 0.0)
    troubles.begin()

  def connect(self, *, origin=None, cookie=None, protocol=None, host=None):
    # pylint: disable=import-outside-toplevel
    from websockets.sync import client

    headers = {"Cookie": cookie_of(self.gate) if cookie is None else cookie}
    window = client.connect(
      f"ws://{host or '127.0.0.1'}:{self.port}",
      sock=socket.create_connection(("127.0.0.1", self.port)),
      origin=origin or f"http://127.0.0.1:{self.port}",
      subprotocols=[protocol or self.protocol],
      additional_headers=headers,
      compression=None,
      max_size=None,
      ping_interval=None,
    )
    self.addCleanup(window.close)
    return window

  def send(self, window, **message):
    import msgspec  # pylint: disable=import-outside-toplevel

    window.send(msgspec.msgpack.encode(message))

  def closed(self, window):
    """The code with which the server has closed."""
    # pylint: disable=import-outside-toplevel
    from websockets.exceptions import ConnectionClosed

    try:
      while True:
        window.recv(timeout=30)
    except ConnectionClosed as error:
      return error.rcvd.code if error.rcvd else None

  def uploads(self):
    # pylint: disable=protected-access
    return self.server.gui._current_file_upload_states

  def start_upload(self, window, name="file"):
    self.send(
      window,
      type="FileTransferStartUpload",
      source_component_uuid=self.button._impl.uuid,
      transfer_uuid=name,
      filename=name,
      mime_type="",
      part_count=40,
      size_bytes=40 * 45_000_000,
    )

  def test_a_window_of_ours(self):
    window = self.connect()
    self.send(window, **CAMERA)
    until(lambda: self.server.get_clients(), "a window")
    self.send(
      window,
      type="GuiUpdateMessage",
      uuid=self.slider._impl.uuid,
      updates={"value": 0.5},
    )
    until(lambda: self.slider.value == 0.5, "the slider")
    # What viser knows, but no window of ours has reason to send.
    self.send(window, type="GuiFormDirtyMessage", uuid="x")
    self.send(
      window,
      type="GuiUpdateMessage",
      uuid=self.slider._impl.uuid,
      updates={"value": 0.7},
    )
    until(lambda: self.slider.value == 0.7, "the slider")

  def test_a_message_over_the_limit_closes(self):
    window = self.connect()
    try:
      window.send(b"x" * (connections.MESSAGE_BYTES + 1))
    except OSError:
      pass  # closed before all of it was sent
    self.assertIn(self.closed(window), (1009, None))

  def test_an_upload_closes_and_nothing_is_kept(self):
    window = self.connect()
    self.start_upload(window)
    self.assertEqual(self.closed(window), 1008)
    self.assertEmpty(self.uploads())
    part = self.connect()
    self.send(
      part,
      type="FileTransferPart",
      source_component_uuid=self.button._impl.uuid,
      transfer_uuid="file",
      part_index=0,
      content=b"x" * 1000,
    )
    self.assertEqual(self.closed(part), 1008)
    self.assertEmpty(self.uploads())

  @parameterized.parameters(
    "text", b"", b"\xc1", b"\x93\x01\x02\x03", b"\x81\xa4type\x01", b"\x91" * 99
  )
  def test_what_no_window_sends(self, message):
    window = self.connect()
    window.send(message)
    self.assertEqual(self.closed(window), 1008)

  @parameterized.parameters(
    dict(origin="https://other.example"),
    dict(host="other.example", origin="http://other.example"),
    dict(cookie="x=y"),
  )
  def test_strangers_with_a_token(self, **options):
    # pylint: disable=import-outside-toplevel
    from websockets.exceptions import InvalidStatus

    with self.assertRaises(InvalidStatus) as caught:
      self.connect(**options)
    self.assertEqual(caught.exception.response.status_code, 403)

  def test_so_many_windows(self):
    # pylint: disable=import-outside-toplevel
    from websockets.exceptions import InvalidStatus

    with mock.patch.object(connections, "MOST_WINDOWS", 2):
      windows = []
      with self.assertRaises(InvalidStatus) as caught:
        while len(windows) < 3:
          windows.append(self.connect())
    self.assertEqual(caught.exception.response.status_code, 503)

  def test_a_thousand_hostile_connections(self):
    """All that is printed of them, by anybody, is a few lines."""
    # pylint: disable=import-outside-toplevel
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    def stranger():
      with contextlib.suppress(InvalidStatus):
        self.connect(cookie="x=y").close()

    def foreign():
      with contextlib.suppress(InvalidStatus):
        self.connect(origin=f"https://{time.monotonic_ns()}.example").close()

    def other_version():
      self.closed(self.connect(protocol="viser-v0.0.1"))

    def junk():
      window = self.connect()
      window.send(f"junk {time.monotonic_ns()}")
      self.closed(window)

    def no_http():
      with socket.create_connection(("127.0.0.1", self.port)) as one:
        one.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        one.recv(100)

    def leaves():
      with socket.create_connection(("127.0.0.1", self.port)):
        pass

    def torn():
      window = self.connect()
      with contextlib.suppress(ConnectionClosed, OSError):
        window.socket.shutdown(socket.SHUT_RDWR)

    def wrong_values():
      window = self.connect()
      self.send(
        window,
        type="GuiUpdateMessage",
        uuid=self.slider._impl.uuid,
        updates={f"no_such_{time.monotonic_ns()}": 1},
      )
      self.send(window, **{**CAMERA, "wxyz": None})
      window.close()

    acts = (
      stranger,
      foreign,
      other_version,
      junk,
      no_http,
      leaves,
      torn,
      wrong_values,
    )
    printed = io.StringIO()
    before = len(self.lines)
    with (
      contextlib.redirect_stderr(printed),
      contextlib.redirect_stdout(printed),
    ):
      for i in range(HOSTILE):
        acts[i % len(acts)]()
      window = self.connect()  # the server goes on
      self.send(window, **CAMERA)
      until(lambda: self.server.get_clients(), "a window")
      time.sleep(0.5)  # what is still to be printed
    self.assertLess(len(self.lines) - before, FEW, self.lines[before:])
    self.assertLess(len(printed.getvalue().splitlines()), FEW)


if __name__ == "__main__":
  absltest.main()
