"""A guard in front of viser's server: who may connect, and what they may send.

viser (1.1) does not check a token, accepts messages of 50 MB and files that no
control of ours requests, and prints a traceback for each failed connection. All
of this passes through `serve` of the websockets library: `guarding` adds the
checks there while viser starts. `check_guarded` then tries to connect as a
stranger, so that a viser that starts its server in another way is refused
instead of left open.
"""

import asyncio
import contextlib
import functools
import http
import http.client
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from my3dgen_jax.apps.gate import Answer, Gate, reachable
from my3dgen_jax.errors import one_line, UserError

MESSAGE_BYTES = 2**18  # limit of one message; a camera or a slider needs 1 KB
MOST_WINDOWS = 64  # open at the same time
_TRY_SECONDS = 10.0
_MOST_KINDS = 20  # kinds of trouble that are counted separately
_LONGEST_LINE = 200
# The messages that our windows send; others are not read.
_EXPECTED = frozenset({"GuiUpdateMessage", "ViewerCameraMessage"})
_UPLOADS = "FileTransfer"
_REFUSED = 1008  # "policy violation" of RFC 6455
_FAILED = 1011
_OTHER_VERSION = 1002


class Troubles:
  """Reports problems with connections, in few lines however many there are.

  Each kind of problem is reported the first time, the tenth, the hundredth, ….
  """

  def __init__(self, log: Callable[[str], None]):
    """Reports nothing before `begin`.

    Args:
      log: called with lines for the user who started the server.
    """
    self._log = log
    self._counts: dict[str, int] | None = None
    self._lock = threading.Lock()

  def begin(self):
    """Starts reporting."""
    self._counts = {}

  def note(self, kind: str):
    """Counts a problem, and reports it when due.

    Args:
      kind: description, one line; equal ones are counted together.
    """
    line = " ".join(kind.split())[:_LONGEST_LINE]
    line = "".join(char if char.isprintable() else "?" for char in line)
    with self._lock:
      if self._counts is None:
        return
      if line not in self._counts and len(self._counts) >= _MOST_KINDS:
        line = "other problems with connections"
      count = self._counts[line] = self._counts.get(line, 0) + 1
    if str(count).rstrip("0") == "1":  # 1, 10, 100, …
      times = "" if count == 1 else f" ({count} times so far)"
      self._log(f"warning: {line}{times}")


class _TroubleHandler(logging.Handler):
  """Passes the log of the websockets library on as troubles."""

  def __init__(self, troubles: Troubles):
    super().__init__(logging.WARNING)
    self._troubles = troubles

  def emit(self, record: logging.LogRecord):
    """Reports a record without its traceback."""
    self._troubles.note(f"a connection: {record.getMessage()}")


def refusal(message: str | bytes) -> str | None:
  """Why a message closes its connection; None: it does not.

  Args:
    message: the message as received.
  """
  kind = kind_of(message)
  if kind is None:
    return "it sent an unknown message"
  if kind.startswith(_UPLOADS):
    return "it sent a file that was not requested"
  return None


def kind_of(message: str | bytes) -> str | None:
  """The type of a viser message; None: it is not a viser message."""
  if not isinstance(message, bytes):
    return None
  try:
    return _decoder().decode(message).type
  except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
    return None


@functools.cache
def _decoder() -> Any:
  """A msgpack decoder that reads only a message's type."""
  import msgspec  # viser brings it; pylint: disable=import-outside-toplevel

  return msgspec.msgpack.Decoder(msgspec.defstruct("Head", [("type", str)]))


def _connection_class(troubles: Troubles) -> type:
  """A connection class that passes only our windows' messages to viser."""
  # pylint: disable=import-outside-toplevel
  from websockets.asyncio.server import ServerConnection

  class Connection(ServerConnection):
    """Closes on messages with a `refusal`, and drops unexpected ones."""

    async def recv(self, decode: bool | None = None) -> Any:
      while True:
        # Raises, as viser expects, once the connection is closed.
        message = await super().recv(decode)
        if why := refusal(message):
          troubles.note(f"a window was closed: {why}")
          await self.close(_REFUSED, why)
        elif kind_of(message) in _EXPECTED:
          return message

  return Connection


@contextlib.contextmanager
def guarding(
  gate: Gate, troubles: Troubles, *, protocol: str | None = None
) -> Iterator[None]:
  """Guards the servers of websockets that start within the block.

  Args:
    gate: decides who may connect.
    troubles: reports problems.
    protocol: name of the subprotocol that a window must speak, if any.
  """
  # Imported here: only servers need it.
  # pylint: disable=import-outside-toplevel
  import websockets.asyncio.server as library

  serve = library.serve
  logger = logging.Logger(
    "my3dgen_jax.viewer"
  )  # not affected by other settings
  logger.addHandler(_TroubleHandler(troubles))

  def guarded(
    handler: Any, *arguments: Any, process_request: Any = None, **options: Any
  ) -> Any:
    # Failures in tasks that are not awaited, such as viser's for each message,
    # would be printed with a traceback.
    asyncio.get_running_loop().set_exception_handler(
      lambda _, context: troubles.note(_described(context))
    )

    def process(connection: Any, request: Any) -> Any:
      headers = dict(request.headers.raw_items())
      answer = gate.judge(request.path, headers)
      if answer is None and request.headers.get("Upgrade"):
        answer = _full(connection.server)
      if answer is None:
        return process_request(connection, request) if process_request else None
      if answer.status >= http.HTTPStatus.BAD_REQUEST:
        troubles.note(f"refused: {answer.text}")
      return _response(answer)

    async def handle(connection: Any):
      if protocol is not None and connection.subprotocol != protocol:
        troubles.note("refused: the page is of another version of viser")
        await connection.close(_OTHER_VERSION, f"expected {protocol}")
        return
      try:
        await handler(connection)
      # One connection's failure must not affect others.
      except Exception as error:  # pylint: disable=broad-exception-caught
        troubles.note(_described({"exception": error}))
        await connection.close(_FAILED)

    options |= {
      "process_request": process,
      "logger": logger,
      "max_size": MESSAGE_BYTES,
      "create_connection": _connection_class(troubles),
    }
    return serve(handle, *arguments, **options)

  library.serve = guarded
  try:
    yield
  finally:
    library.serve = serve


def _described(context: dict[str, Any]) -> str:
  error = context.get("exception")
  if error is None:
    return f"a window: {context.get('message')}"
  return f"a window: {type(error).__name__}: {one_line(error)}"


def _full(server: Any) -> Answer | None:
  if len(server.connections) < MOST_WINDOWS:
    return None
  return Answer(
    http.HTTPStatus.SERVICE_UNAVAILABLE,
    (),
    f"{MOST_WINDOWS} windows are open; close one.\n",
  )


def _response(answer: Answer) -> Any:
  # pylint: disable=import-outside-toplevel
  from websockets.datastructures import Headers
  from websockets.http11 import Response

  body = answer.text.encode()
  return Response(
    answer.status.value,
    answer.status.phrase,
    Headers(
      [
        *answer.headers,
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
      ]
    ),
    body,
  )


def check_guarded(port: int, host: str):
  """Tries to connect as a stranger.

  Args:
    port: the server's port.
    host: the host that it listens on.

  Raises: UserError: the connection was not refused.
  """
  strange = {"Host": "stranger.invalid", "Origin": "http://other.invalid"}
  for upgrade in (
    {},
    {
      "Upgrade": "websocket",
      "Connection": "Upgrade",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "c3RyYW5nZXIgaXMgaGVyZQ==",
    },
  ):
    connection = http.client.HTTPConnection(
      reachable(host), port, timeout=_TRY_SECONDS
    )
    try:
      connection.request("GET", "/", headers={**strange, **upgrade})
      status = connection.getresponse().status
    finally:
      connection.close()
    if status != http.HTTPStatus.FORBIDDEN:
      raise UserError(
        "viser: this version bypasses the viewer's access checks; install a "
        "supported one: pip install 'viser>=1.1,<2'"
      )
