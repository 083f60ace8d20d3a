"""Files and folders, local or at a URL that fsspec supports."""

import os
import pathlib
import urllib.parse
import urllib.request
from typing import Any

from my3dgen_jax.errors import one_line, UserError, without_package
from my3dgen_jax.storage.files import is_leftover, replacing

_EXTRA = 'pip install "my3dgen-jax[fleet]"'


def is_url(text: str) -> bool:
  """Whether a place is a URL, e.g. "s3://bucket/people"."""
  return "://" in text and not text.startswith("file://")


class Place:
  """A file or a folder.

  Attributes:
    local: its path on this machine; None: it is at a URL.
  """

  def __init__(self, where: str | os.PathLike):
    """Opens nothing yet.

    Args:
      where: a path, or a URL with a scheme; `file://` counts as a path.

    Raises: UserError: no package handles the scheme.
    """
    self._where = os.fspath(where)
    self.local: pathlib.Path | None = None
    self._files: Any = None
    self._path = ""
    if is_url(self._where):
      self._files, self._path = _opened(self._where)
    else:
      path = self._where
      if path.startswith("file://"):
        path = urllib.request.url2pathname(urllib.parse.urlsplit(path).path)
      self.local = pathlib.Path(path).expanduser().absolute()

  def __str__(self) -> str:
    return self._where if self.local is None else str(self.local)

  def __truediv__(self, name: str) -> "Place":
    if self.local is not None:
      return Place(self.local / name)
    return Place(f"{self._where.rstrip('/')}/{name}")

  def read(self) -> bytes | None:
    """The bytes of a file; None: no such file.

    Raises: OSError: names the place, in one line.
    """
    try:
      if self.local is not None:
        return self.local.read_bytes()
      return self._files.cat_file(self._path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
      return None
    except Exception as error:
      raise self._failed("cannot be read", error) from error

  def write(self, data: bytes):
    """Writes a file, atomically where the store can.

    Raises: OSError: names the place, in one line.
    """
    try:
      if self.local is not None:
        self.local.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.local) as file:
          file.write(data)
      else:
        self._make_parent()
        self._files.pipe_file(self._path, data)
    except Exception as error:
      raise self._failed("cannot be written", error) from error

  def remove(self):
    """Removes a file, if there is one."""
    try:
      if self.local is not None:
        self.local.unlink(missing_ok=True)
      else:
        self._files.rm_file(self._path)
    except FileNotFoundError:
      pass
    except Exception as error:
      raise self._failed("cannot be removed", error) from error

  def files(self) -> dict[str, tuple[int, str]]:
    """The files in a folder and below it.

    Returns: relative name to size, and time or version of writing (as text);
      for a file, one entry named "".
    Raises: OSError: names the place.
    """
    if self.local is not None:
      if self.local.is_file():
        return {"": _described(self.local)}
      return {
        path.relative_to(self.local).as_posix(): _described(path)
        for path in sorted(self.local.rglob("*"))
        if path.is_file() and not is_leftover(path)
      }
    try:
      self._files.invalidate_cache()
      found = self._files.find(self._path, detail=True)
    except FileNotFoundError:
      return {}
    except Exception as error:
      raise self._failed("cannot be listed", error) from error
    root = self._path.rstrip("/")
    return {
      path[len(root) :].lstrip("/"): (
        int(entry.get("size") or 0),
        str(
          entry.get("ETag")
          or entry.get("mtime")
          or entry.get("LastModified")
          or entry.get("created")
        ),
      )
      for path, entry in sorted(found.items())
    }

  def fetch(self, target: pathlib.Path) -> bool:
    """Copies a file or folder from a URL to this machine.

    Args:
      target: the path to write; a folder's files go below it.

    Returns: whether there was anything to copy.
    Raises: OSError: names the place; UserError: a name would lead out of
      `target`.
    """
    names = self._names_below()
    for name in names:
      data = (self / name if name else self).read()
      if data is not None:
        path = target / name if name else target
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
          file.write(data)
    return bool(names)

  def mirror(self, source: pathlib.Path, *, last: str = "", kept: str = ""):
    """Makes a folder at a URL equal to a local one.

    Args:
      source: the local folder.
      last: name of the file that makes the others valid: written after they are
        there, and before others are removed.
      kept: suffix of files that never change once written, so existing ones are
        not written again; "": none.

    Raises: OSError: names a file; UserError: a name there leads out of the
      folder.
    """
    have, want = self._names_below(), Place(source).files()
    for name in sorted(want, key=lambda name: name == last):
      same = kept and name.endswith(kept) and name in have
      if not same or have[name][0] != want[name][0]:
        (self / name).write((source / name).read_bytes())
    for name in have.keys() - want.keys():
      (self / name).remove()

  def _names_below(self) -> dict[str, tuple[int, str]]:
    """`files`, checked to lie below the folder: stores allow any name."""
    found = self.files()
    for name in found:
      if leads_out(name):
        raise UserError(
          f"{self}: contains {name!r}, a name that points outside the folder; "
          "remove it there"
        )
    return found

  def _make_parent(self):
    # Object stores have no folders; other stores need them.
    self._files.makedirs(self._files._parent(self._path), exist_ok=True)

  def _failed(self, what: str, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.filename is not None:
      return error
    reason = one_line(getattr(error, "strerror", None) or error)
    return OSError(f"{self}: {what}: {reason or type(error).__name__}")


def leads_out(name: str, *, windows: bool = os.name == "nt") -> bool:
  """Whether a relative name in a store leads out of a local folder."""
  if windows and ("\\" in name or ":" in name):
    return True
  return ".." in name.split("/")


def _described(path: pathlib.Path) -> tuple[int, str]:
  status = path.stat()
  return status.st_size, str(status.st_mtime_ns)


def _opened(url: str) -> tuple[Any, str]:
  """The file system of a URL, and the path in it."""
  try:
    import fsspec
  except ImportError as error:
    raise without_package(
      error, "fsspec", f"{url}: URLs need fsspec: {_EXTRA}"
    ) from None
  try:
    return fsspec.core.url_to_fs(url)
  except (ImportError, ValueError) as error:
    raise UserError(f"{url}: cannot be opened: {one_line(error)}") from None
