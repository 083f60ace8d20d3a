"""Who may open a page that a command serves: a viewer, or one for marks.

Two checks are always made, with a token or without: the page that asks
(Origin) must be ours, and the name that it asked for (Host) must be this
machine's where nobody else can reach it. A browser that brings the token gets
a cookie in its place, which is random and says nothing of the token.
"""

import errno
import hmac
import http
import ipaddress
import os
import re
import secrets
import socket
import sys
import urllib.parse
import webbrowser
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from my3dgen_jax.errors import UserError

_TOKEN = re.compile(r"[\w.~-]{8,128}", re.ASCII)
_SESSION_BYTES = 32
_PORTS = 100  # that are tried
_LONGEST_NAME = 60  # of a host, where it is repeated


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


class Gate:
  """Decides on requests from a server's start to its end.

  Attributes:
    cookie: name of the cookie; servers of this machine, and of others that
      are forwarded to it, tell theirs apart by it.
  """

  def __init__(
    self,
    *,
    token: str | None,
    host: str,
    port: int,
    names: Iterable[str] = (),
    page: str = "viewer",
    hint: str = "",
  ):
    """Draws the session's secret, which ends with the server.

    Args:
      token: what is asked for; None: nothing is.
      host: what the server listens on.
      port: likewise.
      names: names besides this machine's own by which it may be asked for.
      page: what is guarded, for the cookie's name and the refusals.
      hint: what lets another name of this machine in.
    """
    self._token, self._host, self._page = token, host, page
    self._hint = hint
    self._names = {name.lower() for name in names}
    self._session = secrets.token_urlsafe(_SESSION_BYTES)
    # The same after a restart: browsers would collect them otherwise.
    place = zlib.crc32(f"{socket.gethostname()}:{port}".encode())
    self.cookie = f"my3dgen_{page.replace(' ', '_')}_{place:08x}"

  def admit(self, name: str):
    """Lets the server be asked for by one more name, e.g. a public one."""
    self._names.add(name.lower())

  def judge(self, path: str, headers: Mapping[str, str]) -> Answer | None:
    """Decides on a request.

    Pages of other sites that the same browser shows may not read the faces.
    With a token: whoever brings it in the address (?token=…) gets a cookie and
    is sent to the address without it, so that it stays out of histories and
    screenshots; whoever has the cookie may enter.

    Args:
      path: of the request, with its query.
      headers: names in any case.

    Returns: None: it may pass.
    """
    headers = {name.lower(): value for name, value in headers.items()}
    if (strange := self._from_elsewhere(headers)) or self._token is None:
      return strange
    given = urllib.parse.parse_qs(path.partition("?")[2]).get("token")
    if given and _equal(given[-1], self._token):
      return Answer(
        http.HTTPStatus.SEE_OTHER,
        (
          ("Location", "/"),
          ("Cache-Control", "no-store"),
          (
            "Set-Cookie",
            f"{self.cookie}={self._session}; Path=/; HttpOnly; SameSite=Lax",
          ),
        ),
        "",
      )
    if any(
      name == self.cookie and _equal(value, self._session)
      for name, value in _cookies(headers.get("cookie", ""))
    ):
      return None
    return Answer(
      http.HTTPStatus.FORBIDDEN,
      (),
      f"This {self._page} needs a token: "
      "open the whole address that it printed, with ?token=…\n",
    )

  def _from_elsewhere(self, headers: Mapping[str, str]) -> Answer | None:
    asked, origin = headers.get("host", ""), headers.get("origin")
    if origin is not None and not _same_host(origin, asked):
      return Answer(
        http.HTTPStatus.FORBIDDEN,
        (),
        f"Pages of other sites may not look at this {self._page}.\n",
      )
    # A name that leads here, but is not ours, belongs to somebody's page.
    # Where others can reach us, our names are not known; a cookie is then
    # what such a page does not have.
    name = _without_port(asked)
    if (
      is_local(self._host)
      and not is_local(name)
      and name.lower() not in self._names
    ):
      return Answer(
        http.HTTPStatus.FORBIDDEN,
        (),
        f"This {self._page} listens for this machine alone, not as "
        f"{name[:_LONGEST_NAME]!r}{self._hint}.\n",
      )
    return None


def _equal(given: str, secret: str) -> bool:
  """Compares in a time that does not tell where they differ."""
  return hmac.compare_digest(
    given.encode(errors="replace"), secret.encode(errors="replace")
  )


def _same_host(origin: str, asked: str) -> bool:
  # A proxy that ends HTTPS before us changes the scheme alone.
  host = origin.partition("://")[2].lower()
  return bool(host) and host == asked.lower()


def _cookies(header: str) -> Iterator[tuple[str, str]]:
  """Names and values; http.cookies drops all if one is not of its liking.

  Other servers of this machine leave theirs, too: ports are no difference.
  """
  for part in header.split(";"):
    name, _, value = part.strip().partition("=")
    yield name, value


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


def open_page(address: str):
  """Opens an address in this machine's browser, if it has a screen.

  Without one, a browser in the terminal would take it over.
  """
  if sys.platform != "linux" or any(
    os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
  ):
    webbrowser.open(address)
