"""Who may open a viewer: a check in front of viser's server.

viser cannot ask for a token (1.1), so the check is put before viser's own at
the one place where every connection begins: the `process_request` of the
websockets library, which serves viser's page and its messages on one port.
`guarding` hands it in while viser starts, and `check_guarded` then tries the
door, so that a viser that starts its server some other way is refused and not
left open.
"""

import contextlib
import errno
import hashlib
import hmac
import http
import http.client
import ipaddress
import re
import socket
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from my3dgen_jax.errors import UserError

_COOKIE = "my3dgen_viewer"
_MARK = 8  # letters by which viewers on one machine tell their cookies apart
_TOKEN = re.compile(r"[\w.~-]{8,128}", re.ASCII)
_PORTS = 100  # that are tried
_TRY_SECONDS = 10.0


class Answer(NamedTuple):
  """What a connection is told that does not get through.

  Attributes:
    status: of HTTP.
    headers: names and values.
    text: the body.
  """

  status: http.HTTPStatus
  headers: tuple[tuple[str, str], ...]
  text: str


def check_token(token: str):
  """Checks that a token fits into an address and is no word to guess.

  Raises: UserError.
  """
  if not _TOKEN.fullmatch(token):
    raise UserError(
      "token: expected 8 to 128 letters, digits or -._~, as "
      "python -c 'import secrets; "
      "print(secrets.token_urlsafe())' prints them"
    )


def judge(
  path: str, headers: Mapping[str, str], *, token: str | None, host: str
) -> Answer | None:
  """Decides on a request.

  With a token: whoever brings it in the address (?token=…) gets a cookie and
  is sent to the address without it, so that it stays out of histories and
  screenshots; whoever has the cookie may enter. Without one: pages of other
  sites that the same browser shows may not read the faces.

  Args:
    path: of the request, with its query.
    headers: names in any case.
    token: that is asked for; None: none is.
    host: that the server listens on.

  Returns: None: it may pass.
  """
  headers = {name.lower(): value for name, value in headers.items()}
  if token is None:
    return _same_site(headers, host)
  secret = _secret(token)
  cookie = f"{_COOKIE}_{secret[:_MARK]}"
  given = urllib.parse.parse_qs(path.partition("?")[2]).get("token")
  if given and hmac.compare_digest(_secret(given[-1]), secret):
    return Answer(
      http.HTTPStatus.SEE_OTHER,
      (
        ("Location", "/"),
        ("Cache-Control", "no-store"),
        ("Set-Cookie", f"{cookie}={secret}; Path=/; HttpOnly; SameSite=Lax"),
      ),
      "",
    )
  if any(
    name == cookie and hmac.compare_digest(value.encode(), secret.encode())
    for name, value in _cookies(headers.get("cookie", ""))
  ):
    return None
  return Answer(
    http.HTTPStatus.FORBIDDEN,
    (),
    "This viewer needs a token: "
    "open the whole address that it printed, with ?token=…\n",
  )


def _cookies(header: str) -> Iterator[tuple[str, str]]:
  """Names and values; http.cookies drops all if one is not of its liking.

  Other servers of this machine leave theirs, too: ports are no difference.
  """
  for part in header.split(";"):
    name, _, value = part.strip().partition("=")
    yield name, value


def _same_site(headers: Mapping[str, str], host: str) -> Answer | None:
  asked, origin = headers.get("host", ""), headers.get("origin")
  if origin is not None and origin.partition("://")[2] != asked:
    return Answer(
      http.HTTPStatus.FORBIDDEN,
      (),
      "Pages of other sites may "
      "not look at this viewer; --token lets them through that "
      "know it.\n",
    )
  # A name that leads here, but is not ours, belongs to somebody's page.
  if is_local(host) and not is_local(_without_port(asked)):
    return Answer(
      http.HTTPStatus.FORBIDDEN,
      (),
      "This viewer listens for "
      f"this machine alone, not as {_without_port(asked)!r}; say "
      "--host, or --token.\n",
    )
  return None


def is_local(host: str) -> bool:
  """Whether a host is this machine, and nothing but."""
  if host.lower() == "localhost":
    return True
  try:
    return ipaddress.ip_address(host.strip("[]")).is_loopback
  except ValueError:
    return False


def _without_port(host: str) -> str:
  return re.sub(r":\d*$", "", host)


def _secret(token: str) -> str:
  return hashlib.sha256(token.encode()).hexdigest()


@contextlib.contextmanager
def guarding(*, token: str | None, host: str) -> Iterator[None]:
  """Within the block, servers of websockets begin with `judge`.

  Args:
    token: see `judge`.
    host: see `judge`.
  """
  # Only whoever serves needs it.
  # pylint: disable=import-outside-toplevel
  import websockets.asyncio.server as library
  from websockets.datastructures import Headers
  from websockets.http11 import Response

  serve = library.serve

  def guarded(
    *arguments: Any, process_request: Any = None, **options: Any
  ) -> Any:
    def process(connection: Any, request: Any) -> Any:
      answer = judge(
        request.path, dict(request.headers.raw_items()), token=token, host=host
      )
      if answer is None:
        return (
          process_request(connection, request) if process_request else (None)
        )
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

    return serve(*arguments, process_request=process, **options)

  library.serve = guarded
  try:
    yield
  finally:
    library.serve = serve


def check_guarded(port: int, host: str):
  """Tries to get in as a stranger.

  Args:
    port: of the server.
    host: that it listens on.

  Raises: UserError: nobody stopped us.
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
        "viser: this version lets everybody in, whatever we "
        "check; install the one that we know: pip install "
        "'viser>=1.1,<2'"
      )


def reachable(host: str) -> str:
  """An address by which this machine reaches what listens on a host."""
  return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


def free_port(host: str, port: int) -> int:
  """The port, or the next one that is free.

  Raises: UserError: none of the next hundred is, or there is no such host.
  """
  last = min(port + _PORTS, 2**16)
  for candidate in range(port, last):
    try:
      addresses = _addresses(host, candidate)
      for family, address in addresses:
        with socket.socket(family, socket.SOCK_STREAM) as one:
          one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
          if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
          one.bind(address)
      return candidate
    except PermissionError:
      continue
    except OSError as error:
      if error.errno != errno.EADDRINUSE:
        raise UserError(
          f"host: cannot listen on {host!r}: {error.strerror}"
        ) from None
  raise UserError(f"port: none from {port} to {last - 1} is free on {host}")


def _addresses(host: str, port: int) -> list[tuple[Any, Any]]:
  return [
    (family, address)
    for family, _, _, _, address in socket.getaddrinfo(
      host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
  ]
