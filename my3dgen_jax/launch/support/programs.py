"""Compiled programs are kept, so that a command compiles them only once.

JAX's own cache on disk, in the user's cache folder, with what XLA found out
about kernels of a GPU. It makes commands start sooner and nothing else: where
it does not work, they compile.
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

# JAX bounds a cache itself only with the package filelock, takes a lock for
# every program, and cannot write at all among files that were written without
# a bound. Here what was not used for longest is removed before a command.
_MOST_BYTES = 2 * 2**30
_KEPT_SHARE = 0.75  # of the bound, so that not every command has to remove
_LEAST_FREE = 512 * 2**20  # bytes on the disk
_REMEDY = (
  "--program_cache=FOLDER keeps them elsewhere, --program_cache= nowhere"
)
# JAX's words for an entry that is damaged, or a disk that is full.
_TROUBLE = (
  "Error (reading|writing) persistent compilation cache entry for "
  "'(?P<name>.*?)'"
)

_SETTINGS = {
  # A command compiles a hundred small programs, in a third of its start;
  # they are 4 kB each. On a GPU each one is tuned besides.
  "jax_persistent_cache_min_compile_time_secs": 0.0,
  # As JAX has it so far: XLA's measurements of a GPU's kernels.
  "jax_persistent_cache_enable_xla_caches": "xla_gpu_per_fusion_autotune_cache_dir",
}


def default_folder() -> str:
  """Where programs are kept unless told otherwise, on this kind of processor.

  Programs of a processor run on its own kind alone, and the homes of a
  cluster are on many.
  """
  parent = pathlib.Path(default_cache()).expanduser().absolute().parent
  return str(parent / "programs" / f"{platform.machine()}-{_processor()}")


def keep_programs(wanted: str | None = None):
  """Has JAX keep what it compiles from now on, and find it again.

  Args:
    wanted: folder; empty: none; None: what JAX was told by its environment
      variables or its config, else `default_folder`.

  A folder that cannot be used is a warning on stderr.
  """
  told = jax.config.jax_compilation_cache_dir
  if wanted is None and (told or not jax.config.jax_enable_compilation_cache):
    _watch(None)  # theirs: nothing but its troubles is looked after
    return
  # Empty in the environment means none; XLA would write where one stands.
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
      # Whoever can write there decides what runs here.
      _make_private(folder)
    folder = make_writable(folder, _REMEDY)
    _check_room(folder)
    prune(folder)
  # Also a home that nobody knows, or a disk that fails.
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
  """Removes what was not used for longest, where there is too much.

  Args:
    folder: of programs.
    most: bytes that may stay.
  """
  found: list[tuple[float, int, str]] = []
  for place, _, names in os.walk(folder):
    for name in names:
      try:
        path = os.path.join(place, name)
        status = os.lstat(path)
        # Not every disk notes when a file was read; then it is when written.
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
    pass  # `make_writable` says why


def _check_room(folder: pathlib.Path):
  free = shutil.disk_usage(folder).free
  if free < _LEAST_FREE:
    raise UserError(
      f"{folder}: the disk has {free / 2**20:.0f} MB left; {_REMEDY}"
    )


def _processor() -> str:
  """Another text for another kind of processor."""
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
  """Lines about the first processor; there may be hundreds, all alike."""
  lines = []
  for line in file:
    if not line.strip():
      break
    lines.append(line)
  return lines


def _watch(folder: pathlib.Path | None):
  """Removes damaged entries, and makes one line of JAX's other warnings.

  JAX never writes over an entry, so a damaged one would trouble each command.

  Args:
    folder: where entries are removed; None: nowhere.
  """
  show, shown = warnings.showwarning, []

  def show_briefly(message, category, filename, lineno, file=None, line=None):
    match = re.match(_TROUBLE, str(message))
    if not match:
      show(message, category, filename, lineno, file, line)
      return
    if folder is not None and match[1] == "reading":
      # It may be one that another process is writing just now, too.
      _forget(folder, match["name"])
    elif not shown:
      _warn(f"{one_line(message)}; the work goes on without")
      shown.append(match["name"])

  warnings.filterwarnings("always", message=_TROUBLE)
  warnings.showwarning = show_briefly


def _forget(folder: pathlib.Path, name: str):
  """Removes the entries of a program."""
  for path in folder.glob(f"{re.sub('[^A-Za-z0-9_.<>-]', '?', name)}-*"):
    try:
      path.unlink()
    except OSError:
      pass


def _warn(text: str):
  print(f"warning: {text}", file=sys.stderr)
