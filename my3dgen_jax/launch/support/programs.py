"""Keeps compiled programs on disk, so that later commands start sooner.

This is JAX's compilation cache, in the user's cache folder, with XLA's
autotuning results for GPUs. If it cannot be used, commands compile as usual.
"""

import hashlib
import os
import pathlib
import platform
import re
import shutil
import sys
import warnings

import jax

from my3dgen_jax.errors import one_line, UserError
from my3dgen_jax.storage.files import make_writable
from my3dgen_jax.training.anchors import default_cache

# JAX can bound its cache only with the package filelock and a lock for every
# program, and not in a folder that was written without a bound. So each command
# first removes the least recently used programs here.
_MOST_BYTES = 2 * 2**30
_KEPT_SHARE = (
  0.75  # of the bound, so that not every command has to remove files
)
_LEAST_FREE = 512 * 2**20  # bytes on the disk
_REMEDY = (
  "use --program_cache=FOLDER for another folder, --program_cache= for none"
)
# JAX's warnings about a damaged entry or a full disk.
_TROUBLE = (
  "Error (reading|writing) persistent compilation cache entry for "
  "'(?P<name>.*?)'"
)

_SETTINGS = {
  # A command compiles a hundred small programs of 4 kB each, which takes a
  # third of its start. On a GPU each one is autotuned, too.
  "jax_persistent_cache_min_compile_time_secs": 0.0,
  # JAX's default: XLA's autotuning results for a GPU's kernels.
  "jax_persistent_cache_enable_xla_caches": "xla_gpu_per_fusion_autotune_cache_dir",
}


def default_folder() -> str:
  """The default folder for programs compiled for this kind of processor.

  Programs run only on the kind of processor they were compiled for, and the
  machines of a cluster may share home folders.
  """
  parent = pathlib.Path(default_cache()).expanduser().absolute().parent
  return str(parent / "programs" / f"{platform.machine()}-{_processor()}")


def keep_programs(wanted: str | None = None):
  """Turns on JAX's compilation cache.

  A folder that cannot be used causes a warning on stderr.

  Args:
    wanted: the folder; empty: no cache; None: the one set by JAX's environment
      variables or config, else `default_folder`.
  """
  told = jax.config.jax_compilation_cache_dir
  if wanted is None and (told or not jax.config.jax_enable_compilation_cache):
    _watch(None)  # the user's own cache: only shorten its warnings
    return
  # An empty variable means no cache; XLA would write to the current folder.
  jax.config.update("jax_compilation_cache_dir", None)
  if wanted == "" or (wanted is None and told == ""):
    return
  try:
    folder = (
      os.path.abspath(os.path.expanduser(wanted))
      if wanted
      else default_folder()
    )
    if not os.path.lexists(folder):
      # Anyone who can write to it can run code here.
      _make_private(folder)
    folder = make_writable(folder, _REMEDY)
    _check_room(folder)
    prune(folder)
  # E.g. an unknown home folder, or a failing disk.
  except (UserError, OSError, RuntimeError, ValueError) as error:
    _warn(f"compiled programs are not kept: {one_line(error)}")
    return
  for name, value in _SETTINGS.items():
    if name.upper() not in os.environ:
      jax.config.update(name, value)
  jax.config.update("jax_enable_compilation_cache", True)
  jax.config.update("jax_compilation_cache_dir", str(folder))
  _watch(folder)


def prune(folder: pathlib.Path, most: int = _MOST_BYTES):
  """Removes the least recently used programs if a folder is too large.

  Args:
    folder: the folder of programs.
    most: bytes that may stay.
  """
  found: list[tuple[float, int, str]] = []
  for place, _, names in os.walk(folder):
    for name in names:
      try:
        path = os.path.join(place, name)
        status = os.lstat(path)
        # Some disks do not record reads; then the time of writing counts.
        found.append(
          (max(status.st_atime, status.st_mtime), status.st_size, path)
        )
      except OSError:  # another process has removed it
        pass
  total = sum(size for _, size, _ in found)
  if total <= most:
    return
  for _, size, path in sorted(found):
    if total <= most * _KEPT_SHARE:
      break
    try:
      os.unlink(path)
      total -= size
    except OSError:
      pass


def _make_private(folder: str):
  try:
    os.makedirs(folder, 0o700, exist_ok=True)
  except OSError:
    pass  # `make_writable` reports the reason


def _check_room(folder: pathlib.Path):
  free = shutil.disk_usage(folder).free
  if free < _LEAST_FREE:
    raise UserError(
      f"{folder}: only {free / 2**20:.0f} MB of disk space left; {_REMEDY}"
    )


def _processor() -> str:
  """A hash that differs between kinds of processors."""
  try:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
      lines = [
        line
        for line in _first_of(file)
        if line.startswith(("flags", "Features", "model name"))
      ]
  except OSError:  # not Linux
    lines = [platform.processor()]
  return hashlib.sha256("".join(lines).encode()).hexdigest()[:8]


def _first_of(file) -> list[str]:
  """Lines about the first processor; the others repeat them."""
  lines = []
  for line in file:
    if not line.strip():
      break
    lines.append(line)
  return lines


def _watch(folder: pathlib.Path | None):
  """Removes damaged entries, and shortens JAX's other warnings to one line.

  JAX never overwrites an entry, so a damaged one would fail in every command.

  Args:
    folder: the folder to remove entries from; None: remove none.
  """
  show, shown = warnings.showwarning, []

  def show_briefly(message, category, filename, lineno, file=None, line=None):
    match = re.match(_TROUBLE, str(message))
    if not match:
      show(message, category, filename, lineno, file, line)
      return
    if folder is not None and match[1] == "reading":
      # Or another process may be writing it just now.
      _forget(folder, match["name"])
    elif not shown:
      _warn(f"{one_line(message)}; continuing without the cache")
      shown.append(match["name"])

  warnings.filterwarnings("always", message=_TROUBLE)
  warnings.showwarning = show_briefly


def _forget(folder: pathlib.Path, name: str):
  """Removes a program's entries."""
  for path in folder.glob(f"{re.sub('[^A-Za-z0-9_.<>-]', '?', name)}-*"):
    try:
      path.unlink()
    except OSError:
      pass


def _warn(text: str):
  print(f"warning: {text}", file=sys.stderr)
