"""Small files that would fill memory or time; each ends soon, and small.

    python -m tests.robustness.bombs

Each is read by a process of its own, whose peak of memory and seconds are
printed, less those of a process that reads nothing.
"""

import argparse
import functools
import io
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

SECONDS, BYTES = 20.0, 2**30
_ROOT = pathlib.Path(__file__).parents[2]


def _zip_of(name: str, make: Callable[[], bytes], times: int) -> bytes:
  """A zip with a file that is a piece many times over."""
  result = io.BytesIO()
  with zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as archive:
    with archive.open(name, "w", force_zip64=True) as file:
      piece = make()
      for _ in range(times):
        file.write(piece)
  return result.getvalue()


def _labels_zip(folder: pathlib.Path):
  """240 MB of labels, less than 1 MB in a zip."""
  entry = json.dumps(["photo.png", [0.0] * 25]).encode() + b","
  (folder / "album.zip").write_bytes(
    _zip_of("dataset.json", lambda: entry * 10_000, 180)
  )


def _npz(folder: pathlib.Path):
  """An array of 3 GB."""
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    header, {"descr": "<f4", "fortran_order": False, "shape": (3 * 2**28,)}
  )
  result = io.BytesIO()
  with zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as archive:
    with archive.open("ws.npy", "w", force_zip64=True) as file:
      file.write(header.getvalue())
      zeros = bytes(2**24)
      for _ in range(3 * 64):
        file.write(zeros)
  (folder / "a.npz").write_bytes(result.getvalue())


def _long(name: str, folder: pathlib.Path):
  """2 GB of nothing, which takes no room on the disk."""
  with (folder / name).open("wb") as file:
    file.truncate(2**31)


def _deep(name: str, folder: pathlib.Path):
  (folder / name).write_bytes(b"[" * 2**24)


def _png(folder: pathlib.Path):
  """30,000 x 30,000 grey pixels, 2.7 GB as a photo."""
  side = 30_000
  squeezer = zlib.compressobj(9)
  row = bytes(1 + side)
  pieces = [squeezer.compress(row * 100) for _ in range(side // 100)]
  data = b"".join([*pieces, squeezer.flush()])

  def chunk(kind, content):
    return (
      len(content).to_bytes(4, "big")
      + kind
      + content
      + zlib.crc32(kind + content).to_bytes(4, "big")
    )

  header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
  (folder / "a.png").write_bytes(
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", header)
    + chunk(b"IDAT", data)
    + chunk(b"IEND", b"")
  )


def _large_jpeg(folder: pathlib.Path):
  """64 megapixels, as new phones take them."""
  from PIL import Image  # pylint: disable=import-outside-toplevel

  rng = np.random.default_rng(0)
  small = Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8))
  small.resize((9280, 6944)).save(folder / "a.jpg", quality=85)


def _scans(folder: pathlib.Path):
  """A progressive JPEG whose last scan comes 1,000 times."""
  from PIL import Image  # pylint: disable=import-outside-toplevel

  rng = np.random.default_rng(0)
  small = Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8))
  file = io.BytesIO()
  small.resize((4000, 3000)).save(file, "JPEG", progressive=True)
  data = file.getvalue()
  last = data.rindex(b"\xff\xda")
  (folder / "a.jpg").write_bytes(
    data[:last] + data[last:-2] * 1000 + b"\xff\xd9"
  )


def _adapter(folder: pathlib.Path):
  """A header of 90 MB."""
  entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
  header = json.dumps(
    {f"name{i:0100d}": entry for i in range(500_000)}
  ).encode()
  (folder / "a.safetensors").write_bytes(
    len(header).to_bytes(8, "little") + header
  )


def _album(folder):
  from my3dgen_jax.data.albums import open_album

  open_album(folder / "album.zip")


def _latent(folder):
  from my3dgen_jax.data import latent_files

  with (folder / "a.npz").open("rb") as file:
    latent_files.read(file)


def _cameras(folder):
  from my3dgen_jax.apps.rendering import camera_paths
  from my3dgen_jax.config import RenderConfig

  camera_paths.read(folder / "a.json", RenderConfig(), frames=2)


def _landmarks(folder):
  from my3dgen_jax.data.faces import landmarks

  landmarks.read_json(folder / "a.json")


def _run(folder):
  from my3dgen_jax.training import run_folder

  run_folder.read_config(folder)


def _flags(folder):
  from my3dgen_jax.launch.support import flagfiles

  flagfiles.expanded([f"--flagfile={folder}/a.flags"])


def _csv(folder):
  from my3dgen_jax import directions

  directions.read_labels(folder / "a.csv", 3)


def _photo(folder):
  from my3dgen_jax.data import photo_files

  (path,) = folder.iterdir()
  photo_files.read_photo(path)


def _lora(folder):
  from my3dgen_jax import lora

  lora.load(folder / "a.safetensors")


BOMBS = {
  "labels of 240 MB in a zip": (_labels_zip, _album),
  "latent of 3 GB": (_npz, _latent),
  "cameras of 2 GB": (functools.partial(_long, "a.json"), _cameras),
  "cameras, deep": (functools.partial(_deep, "a.json"), _cameras),
  "landmarks of 2 GB": (functools.partial(_long, "a.json"), _landmarks),
  "config.json of 2 GB": (functools.partial(_long, "config.json"), _run),
  "config.json, deep": (functools.partial(_deep, "config.json"), _run),
  "flagfile of 2 GB": (functools.partial(_long, "a.flags"), _flags),
  "labels of 2 GB": (functools.partial(_long, "a.csv"), _csv),
  "PNG of 900 megapixels": (_png, _photo),
  "JPEG of 64 megapixels": (_large_jpeg, _photo),
  "JPEG of 1,000 scans": (_scans, _photo),
  "adapter with a header of 90 MB": (_adapter, _lora),
}


def measure(name: str, folder: pathlib.Path) -> tuple[float, int, str]:
  """Reads a bomb in a process of its own.

  Args:
    name: of `BOMBS`.
    folder: where it lies.

  Returns: seconds; bytes at the peak, less those before; what was said.
  """
  found = subprocess.run(
    [sys.executable, "-m", "tests.robustness.bombs", name, str(folder)],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    check=False,
    timeout=600,
  )
  if found.returncode:
    return 0.0, 0, f"traceback: {found.stderr}"
  seconds, size, said = found.stdout.split("\n", 2)
  return float(seconds), int(size), said.strip()


def _read(name: str, folder: str):
  """The other process's part."""
  # pylint: disable=import-outside-toplevel
  from my3dgen_jax.errors import one_line, UserError

  _, read = BOMBS[name]
  empty = pathlib.Path(tempfile.mkdtemp())
  try:  # so that imports do not count
    (empty / "a.x").touch()
    read(empty)
  except Exception:  # pylint: disable=broad-exception-caught
    pass
  peak = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  before, began, said = peak(), time.monotonic(), "read"
  try:
    read(pathlib.Path(folder))
  except (UserError, OSError, MemoryError) as error:
    said = one_line(error)
  print(f"{time.monotonic() - began}\n{peak() - before}\n{said}")


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("name", nargs="?")
  parser.add_argument("folder", nargs="?")
  flags = parser.parse_args()
  if flags.folder:
    return _read(flags.name, flags.folder)
  faults = 0
  for name, (make, _) in BOMBS.items():
    if flags.name not in (None, name):
      continue
    with tempfile.TemporaryDirectory() as place:
      folder = pathlib.Path(place)
      make(folder)
      seconds, size, said = measure(name, folder)
    is_fault = seconds > SECONDS or size > BYTES or said.startswith("traceback")
    faults += is_fault
    print(
      f"{'FAULT ' if is_fault else ''}{name}: {seconds:.1f} s, "
      f"{size / 1e6:.0f} MB: {said.replace(place, '.')[:300]}",
      flush=True,
    )
  print(f"{len(BOMBS)} bombs, {faults} faults")
  return bool(faults)


if __name__ == "__main__":
  sys.exit(main())
