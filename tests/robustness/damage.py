"""Ways in which files are damaged, by chance or on purpose."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator

# What nobody expects where a value stands.
VALUES: tuple[Any, ...] = (
  None,
  True,
  0,
  -1,
  1e308,
  -1e-320,
  float("nan"),
  float("inf"),
  10**30,
  10**400,
  "",
  "\x1b[2J\x07",
  "…" * 3000,
  "../../etc/passwd",
  "nan",
  [],
  {},
  [[]],
  {"": None},
  [None] * 25,
  ["1"] * 25,
  [[[[[[0]]]]]],
)
_ARRAYS: tuple[np.ndarray, ...] = (
  np.zeros(0),
  np.zeros((0, 14, 512)),
  np.array("text"),
  np.array(["a", "b\x1b[2J"] * 4),
  np.array(b"bytes"),
  np.array([np.nan, np.inf]),
  np.zeros((3, 3), np.complex64),
  np.zeros(5, "M8[s]"),
  np.zeros((2, 2), [("x", "f4"), ("y", "U3")]),
  np.array(10**300),
  np.full((4, 25), 1e39),
  np.zeros((1,) * 30),
  np.zeros((1, 1, 1), bool),
  np.arange(25, dtype=np.uint64),
)


def damaged(rng: Rng, name: str, data: bytes) -> bytes:
  """One file's bytes, damaged somehow.

  Args:
    rng: decides how.
    name: of the file; JSON, CSV and arrays are damaged as such, too.
    data: sound.
  """
  ways: list[Callable[[Rng, bytes], bytes]] = [
    _flipped,
    _cut,
    _overwritten,
    _without_a_piece,
    _with_a_piece_twice,
  ]
  if name.endswith((".json", ".jsonl")):
    ways += [_json] * 12
  elif name.endswith((".csv", ".flags", ".txt")):
    ways += [_text] * 5
  elif name.endswith(".npz"):
    ways += [_npz] * 8
  elif name.endswith(".npy"):
    ways += [_npy] * 4
  elif name.endswith(".zip"):
    ways += [_zip] * 5
  elif name.endswith(".safetensors"):
    ways += [_safetensors] * 6
  return ways[rng.integers(len(ways))](rng, data)


def _flipped(rng: Rng, data: bytes) -> bytes:
  result = bytearray(data)
  for _ in range(int(rng.choice([1, 1, 1, 3, 20]))):
    if result:
      result[rng.integers(len(result))] ^= 1 << rng.integers(8)
  return bytes(result)


def _cut(rng: Rng, data: bytes) -> bytes:
  return data[: rng.integers(len(data) + 1)]


def _overwritten(rng: Rng, data: bytes) -> bytes:
  at = int(rng.integers(len(data) + 1))
  piece = rng.bytes(int(rng.choice([1, 4, 64])))
  if rng.random() < 0.3:
    piece = bytes([rng.choice([0, 255])]) * len(piece)
  return data[:at] + piece + data[at + len(piece) :]


def _without_a_piece(rng: Rng, data: bytes) -> bytes:
  at, size = rng.integers(len(data) + 1), rng.choice([1, 8, 200])
  return data[:at] + data[at + size :]


def _with_a_piece_twice(rng: Rng, data: bytes) -> bytes:
  at, size = rng.integers(len(data) + 1), rng.choice([1, 8, 200])
  return data[: at + size] + data[at:]


def _json(rng: Rng, data: bytes) -> bytes:
  """A value, or a name, is another; or text around all is odd."""
  try:
    content = json.loads(data)
  except ValueError:  # of a log: a line of it
    lines = data.splitlines()
    at = int(rng.integers(len(lines)))
    return b"\n".join(lines[:at] + [_json(rng, lines[at])] + lines[at + 1 :])
  chance = rng.random()
  if chance < 0.05:
    depth = int(rng.choice([100, 2000, 200_000]))
    return b"[" * depth + b"]" * depth
  if chance < 0.1:
    return json.dumps(content).encode(
      str(rng.choice(["utf-16", "utf-8-sig", "utf-32", "utf-16-le"]))
    )
  for _ in range(int(rng.choice([1, 1, 2, 4]))):
    content = _other(rng, content)
  return json.dumps(content).encode()


def _other(rng: Rng, content: Any) -> Any:
  """Plain data of which one place holds something else."""
  is_container = isinstance(content, (dict, list)) and content
  if not is_container or rng.random() < 0.1:
    return VALUES[rng.integers(len(VALUES))]
  if isinstance(content, list):
    at = int(rng.integers(len(content)))
    chance = rng.random()
    if chance < 0.1:
      return content[:at] + content[at + 1 :]
    if chance < 0.2:
      return content[: at + 1] + content[at:]
    return content[:at] + [_other(rng, content[at])] + content[at + 1 :]
  key = list(content)[rng.integers(len(content))]
  chance = rng.random()
  if chance < 0.1:
    return {name: value for name, value in content.items() if name != key}
  if chance < 0.2:
    return {**content, f"{key}\x1b": content[key]}
  return {**content, key: _other(rng, content[key])}


def _text(rng: Rng, data: bytes) -> bytes:
  if rng.random() < 0.3:
    return data.decode().encode(
      str(rng.choice(["utf-16", "utf-8-sig", "cp500", "utf-32"]))
    )
  lines = data.splitlines()
  at = int(rng.integers(len(lines) + 1))
  new = rng.choice(
    [
      "\x00",
      "\x1b[2J",
      "é",
      '"',
      ",,,",
      "nan,nan",
      "--x=" + "9" * 5000,
      "=",
      "a" * 70_000,
    ]
  )
  return b"\n".join([*lines[:at], str(new).encode("latin-1"), *lines[at:]])


def _array(rng: Rng, array: np.ndarray) -> np.ndarray:
  chance = rng.random()
  if chance < 0.6 or not array.size or array.dtype.kind != "f":
    return _ARRAYS[rng.integers(len(_ARRAYS))]
  if chance < 0.7:
    return array[..., :-1]
  if chance < 0.8:
    return np.concatenate([array, array])
  array = array.copy()
  array.reshape(-1)[rng.integers(array.size)] = rng.choice([np.nan, 1e38, -1])
  return array


def _npz(rng: Rng, data: bytes) -> bytes:
  with np.load(io.BytesIO(data)) as file:
    arrays = {name: file[name] for name in file.files}
  name = list(arrays)[rng.integers(len(arrays))]
  chance = rng.random()
  if chance < 0.15:
    del arrays[name]
  elif chance < 0.25:
    arrays[f"{name}/../x"] = arrays.pop(name)
  else:
    arrays[name] = _array(rng, arrays[name])
  result = io.BytesIO()
  np.savez(result, **arrays)
  return result.getvalue()


def _npy(rng: Rng, data: bytes) -> bytes:
  result = io.BytesIO()
  chance = rng.random()
  if chance < 0.2:
    np.save(result, np.array([{}, None], object), allow_pickle=True)
  elif chance < 0.3:  # a header that promises more than there is
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
      header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10)}
    )
    return header.getvalue() + bytes(100)
  else:
    np.save(result, _array(rng, np.load(io.BytesIO(data))))
  return result.getvalue()


def _zip(rng: Rng, data: bytes) -> bytes:
  """An entry is damaged, called otherwise, there twice, or missing."""
  result = io.BytesIO()
  with (
    zipfile.ZipFile(io.BytesIO(data)) as old,
    zipfile.ZipFile(result, "w") as new,
  ):
    names = old.namelist()
    chosen = names[rng.integers(len(names))]
    chance = rng.random()
    for name in names:
      inner = old.read(name)
      if name != chosen or chance > 0.3:
        new.writestr(
          name, damaged(rng, name, inner) if name == chosen else inner
        )
    if chance < 0.3:
      odd = [
        "",
        "/",
        "\\",
        "..",
        "../x.png",
        "a" * 60_000,
        "\x1b[2J.png",
        "con",
        "C:\\x.png",
        "__MACOSX/._x",
        chosen.upper(),
        "x_mask.png",
      ]
      entry = zipfile.ZipInfo("x")
      entry.filename = odd[rng.integers(len(odd))]  # as no zip program would
      new.writestr(entry, b"x")
  return result.getvalue()


def _safetensors(rng: Rng, data: bytes) -> bytes:
  """The header is other JSON."""
  size = int.from_bytes(data[:8], "little")
  header = _json(rng, data[8 : 8 + size])
  if rng.random() < 0.5:  # inside the metadata, which we write
    content = json.loads(data[8 : 8 + size])
    texts = content["__metadata__"]
    name = list(texts)[rng.integers(len(texts))]
    value = texts[name]
    if value.startswith("{"):
      value = _json(rng, value.encode()).decode("utf-8", "replace")
    else:
      value = str(VALUES[rng.integers(len(VALUES))])
    header = json.dumps(
      {**content, "__metadata__": {**texts, name: value}}
    ).encode()
  return len(header).to_bytes(8, "little") + header + data[8 + size :]
