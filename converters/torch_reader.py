"""Reads files of torch.save, and pickles with tensors, without running code.

Handles the zip format, the legacy format before it (PyTorch < 1.6) and plain
pickles with storages inside (NVIDIA's `.pkl`). This module lists the names that
a file may use; any other name is refused, whether or not the file would call
it.

Usage:
  data = torch_reader.load("ffhqrebalanced512-128.pkl")
  tensors = torch_reader.state_dict(data["G_ema"])
  weight = tensors["decoder.net.0.weight"].numpy()
"""

import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from converters import zip_archive
from converters.errors import describe, naming, read_file
from converters.pickle_machine import (
  Budget,
  check_key,
  GlobalName,
  PickleMachine,
)
from my3dgen_jax.errors import CheckpointError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_START = b"\x80\x02\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little")
_LEGACY_PROTOCOL = 1001
_PICKLE_START = b"\x80"  # first byte of every pickle since protocol 2
_MAX_NESTING = 3  # modules and storages saved as files inside files
_MAX_MODULE_DEPTH = 64
_MAX_MEMBERS = 30_000  # total of all modules
_MAX_TENSOR_NAME = 512
_MAX_DIMENSIONS = 32
_MAX_ELEMENTS = 2**48
# Views may share a storage, but not so much that a small file fills memory.
_MAX_SHARING = 4
_SHARING_ALLOWANCE = 2**20  # bytes

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

_STORAGE_DTYPES = {
  "DoubleStorage": np.dtype("<f8"),
  "FloatStorage": np.dtype("<f4"),
  "HalfStorage": np.dtype("<f2"),
  "BFloat16Storage": _BFLOAT16,
  "LongStorage": np.dtype("<i8"),
  "IntStorage": np.dtype("<i4"),
  "ShortStorage": np.dtype("<i2"),
  "CharStorage": np.dtype("i1"),
  "ByteStorage": np.dtype("u1"),
  "BoolStorage": np.dtype("?"),
}

_TORCH_DTYPES = {
  "float64": np.dtype("<f8"),
  "double": np.dtype("<f8"),
  "float32": np.dtype("<f4"),
  "float": np.dtype("<f4"),
  "float16": np.dtype("<f2"),
  "half": np.dtype("<f2"),
  "bfloat16": _BFLOAT16,
  "int64": np.dtype("<i8"),
  "long": np.dtype("<i8"),
  "int32": np.dtype("<i4"),
  "int": np.dtype("<i4"),
  "int16": np.dtype("<i2"),
  "short": np.dtype("<i2"),
  "int8": np.dtype("i1"),
  "uint8": np.dtype("u1"),
  "bool": np.dtype("?"),
  "uint16": np.dtype("<u2"),
  "uint32": np.dtype("<u4"),
  "uint64": np.dtype("<u8"),
}


@dataclasses.dataclass(eq=False, repr=False)
class StorageRecord:
  """A flat array of numbers that tensors are views of."""

  dtype: np.dtype
  numel: int
  data: memoryview | None  # None until the bytes have been found

  @property
  def nbytes(self) -> int:
    return self.numel * self.dtype.itemsize


@dataclasses.dataclass(eq=False, repr=False)
class TensorRecord:
  """A torch tensor or a NumPy array; nothing is copied before `numpy()`.

  Attributes:
    storage: the numbers, possibly shared with other tensors.
    dtype: dtype of the elements.
    offset: position of the first element, in elements.
    shape: the tensor's shape.
    strides: one stride per dimension, in elements.
  """

  storage: StorageRecord
  dtype: np.dtype
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  @property
  def numel(self) -> int:
    return math.prod(self.shape)

  def numpy(self) -> np.ndarray:
    """The array, read-only: a view of the file's bytes in memory."""
    if not self.numel:
      return np.zeros(self.shape, self.dtype)
    size = self.dtype.itemsize
    return np.ndarray(
      self.shape,
      self.dtype,
      buffer=self.storage.data,
      offset=self.offset * size,
      strides=[stride * size for stride in self.strides],
    )


@dataclasses.dataclass(eq=False, repr=False)
class ObjectRecord:
  """An object of a foreign class: its state and nothing more.

  Attributes:
    module: name of the module that defines its class; "" if the file carries
      the module's source code instead, which is not read.
    class_name: name of the class.
    state: the object's attributes.
  """

  module: str
  class_name: str
  state: dict[str, Any] = dataclasses.field(default_factory=dict)


def load(path: str) -> Any:
  """Reads a file.

  Args:
    path: a file of torch.save or of pickle.dump.

  Returns: plain Python data with `TensorRecord`s and `ObjectRecord`s.
  Raises:
    CheckpointError: one line that names the file and the reason.
  """
  data = read_file(path)
  with naming(path):
    return loads(data)


def loads(data: bytes) -> Any:
  """As `load`, for a file in memory.

  Raises:
    CheckpointError: the reason, without the file's name.
  """
  budget = Budget(len(data))
  if data.startswith(zip_archive.MAGIC):
    return _load_zip(data, budget)
  try:
    return _load_stream(data, budget, nesting=0)
  except CheckpointError as error:
    if data.startswith(_PICKLE_START):
      raise
    # For example a web page or a pointer file, saved instead of it.
    raise CheckpointError(
      f"does not look like a PyTorch file: {error}"
    ) from None


def format_name(data: bytes) -> str:
  """A file's format: "zip", "legacy" or "pickle"."""
  if data.startswith(zip_archive.MAGIC):
    return "zip"
  return "legacy" if data.startswith(_LEGACY_START) else "pickle"


def state_dict(value: Any) -> dict[str, TensorRecord]:
  """The tensors of a module, or of a dict of tensors, under torch's names.

  Args:
    value: an `ObjectRecord` of a torch module, or a dict of name → tensor.

  Returns: name → tensor, parameters and persistent buffers.
  Raises:
    CheckpointError: an entry is not a tensor, or sharing makes the tensors far
      larger than their storages.
  """
  items = (
    _module_tensors(value)
    if isinstance(value, ObjectRecord)
    else _table(value, "the state dict").items()
  )
  tensors: dict[str, TensorRecord] = {}
  for name, tensor in items:
    if not isinstance(tensor, TensorRecord):
      raise CheckpointError(
        f"entry {describe(name)} is {describe(tensor)}, not a tensor"
      )
    if name in tensors:
      raise CheckpointError(f"two tensors are named {describe(name)}")
    tensors[name] = tensor
  storages = {id(t.storage): t.storage.nbytes for t in tensors.values()}
  total = sum(t.numel * t.dtype.itemsize for t in tensors.values())
  if total > _MAX_SHARING * sum(storages.values()) + _SHARING_ALLOWANCE:
    raise CheckpointError(
      f"the tensors expand to {total} bytes, from "
      f"{sum(storages.values())} stored bytes"
    )
  return tensors


def _module_tensors(root: ObjectRecord) -> Iterator[tuple[str, Any]]:
  """Walks a module as torch's state_dict does."""
  pending: list[tuple[str, Any, tuple[int, ...]]] = [("", root, ())]
  visited = 0  # shared modules can turn few objects into endless names
  while pending:
    prefix, module, above = pending.pop()
    if not isinstance(module, ObjectRecord):
      raise CheckpointError(
        f"{describe(prefix)} is {describe(module)}, not a module"
      )
    if id(module) in above or len(above) >= _MAX_MODULE_DEPTH:
      raise CheckpointError(
        f"module {describe(prefix)} contains itself or is nested too deeply"
      )
    parameters, buffers, modules = (
      _table(module.state.get(group, {}), prefix + group)
      for group in ("_parameters", "_buffers", "_modules")
    )
    visited += 1 + len(parameters) + len(buffers) + len(modules)
    if visited > _MAX_MEMBERS:
      raise CheckpointError(
        f"the modules have more than {_MAX_MEMBERS} members"
      )
    hidden = module.state.get("_non_persistent_buffers_set")
    if not isinstance(hidden, (set, frozenset)):
      hidden = frozenset()
    for name, tensor in (*parameters.items(), *buffers.items()):
      if tensor is not None and not (name in buffers and name in hidden):
        yield prefix + name, tensor
    pending += [
      (f"{prefix}{name}.", child, above + (id(module),))
      for name, child in reversed(modules.items())
      if child is not None
    ]


def _table(value: Any, what: str) -> dict[str, Any]:
  """Checks that a value is a dict with strings as keys."""
  if not isinstance(value, dict):
    raise CheckpointError(
      f"{describe(what)} is {describe(value)}, not a table of names"
    )
  for name in value:
    if not isinstance(name, str) or len(what) + len(name) > _MAX_TENSOR_NAME:
      raise CheckpointError(
        f"{describe(what)} has the name {describe(name)}, which is too long or "
        "not a string"
      )
  return value


# The three formats.


def _load_zip(data: bytes, budget: Budget) -> Any:
  archive = zip_archive.ZipArchive(data)
  pickles = [
    name
    for name in archive
    if name.endswith("/data.pkl") and name.count("/") == 1
  ]
  if len(pickles) != 1:
    raise CheckpointError(
      "is a zip file, but not from torch.save (it has no data.pkl)"
    )
  prefix = pickles[0].removesuffix("data.pkl")
  if prefix + "constants.pkl" in archive:
    raise CheckpointError(
      "is a TorchScript program, not a checkpoint; save its state_dict with "
      "torch.save"
    )
  if (
    prefix + "byteorder" in archive
    and bytes(archive.read(prefix + "byteorder")) != b"little"
  ):
    raise CheckpointError("the numbers are not in little-endian order")
  storages: dict[str, StorageRecord] = {}

  def find_storage(key: str, dtype: np.dtype, numel: int) -> StorageRecord:
    if key not in storages:
      contents = archive.read(f"{prefix}data/{key}")
      storage = StorageRecord(dtype, numel, contents)
      if len(contents) != storage.nbytes:
        raise CheckpointError(
          f"storage {describe(key)} has {len(contents)} bytes, not "
          f"{storage.nbytes}"
        )
      storages[key] = storage
    return storages[key]

  world = _TorchWorld(budget, nesting=0, find_storage=find_storage)
  stream = bytes(archive.read(pickles[0]))
  machine = PickleMachine(stream, world=world, budget=budget)
  value = machine.run()
  _check_no_rest(machine, stream)
  return value


def _load_stream(data: bytes, budget: Budget, *, nesting: int) -> Any:
  """A plain pickle, or the legacy format, which starts with one."""
  machine = PickleMachine(
    data, budget=budget, world=_TorchWorld(budget, nesting=nesting)
  )
  value = machine.run()
  if type(value) is int and value == _LEGACY_MAGIC:
    return _load_legacy(data, machine.position, budget, nesting)
  _check_no_rest(machine, data)
  return value


def _check_no_rest(machine: PickleMachine, data: bytes):
  if machine.position != len(data):
    raise CheckpointError(
      f"{len(data) - machine.position} bytes follow the end of the pickle"
    )


def _load_legacy(
  data: bytes, position: int, budget: Budget, nesting: int
) -> Any:
  """The format before zip: pickles, then the storages' bytes."""
  storages: dict[str, StorageRecord] = {}

  def find_storage(key: str, dtype: np.dtype, numel: int) -> StorageRecord:
    # The bytes come after the pickle that names them.
    return storages.setdefault(key, StorageRecord(dtype, numel, None))

  world = _TorchWorld(budget, nesting=nesting, find_storage=find_storage)

  def next_pickle() -> Any:
    nonlocal position
    machine = PickleMachine(data, position=position, budget=budget, world=world)
    value = machine.run()
    position = machine.position
    return value

  if next_pickle() != _LEGACY_PROTOCOL:
    raise CheckpointError("has an unknown version of torch's legacy format")
  system = next_pickle()
  if not isinstance(system, dict) or system.get("little_endian") is not True:
    raise CheckpointError("the numbers are not in little-endian order")
  value = next_pickle()
  keys = next_pickle()
  if not isinstance(keys, list):
    raise CheckpointError("the list of storages is missing")
  view = memoryview(data)
  for key in keys:
    storage = storages.get(key) if isinstance(key, str) else None
    if storage is None or storage.data is not None:
      raise CheckpointError(
        f"storage {describe(key)} is listed but not used, or listed twice"
      )
    start, end = position + 8, position + 8 + storage.nbytes
    if end > len(data):
      raise CheckpointError(f"storage {describe(key)} is truncated")
    stated = int.from_bytes(view[position:start], "little")
    if stated != storage.numel:
      raise CheckpointError(
        f"storage {describe(key)} has {stated} elements, not {storage.numel}"
      )
    storage.data = view[start:end]
    position = end
  for key, storage in storages.items():
    if storage.data is None:
      raise CheckpointError(f"storage {describe(key)} is missing")
  if position != len(data):
    raise CheckpointError(
      f"{len(data) - position} bytes follow the last storage"
    )
  return value


# Names that a pickle may use.


@dataclasses.dataclass(eq=False, repr=False)
class _NumpyDtype:
  """A numpy.dtype; its byte order is set as state, after construction."""

  dtype: np.dtype


_FindStorage = Callable[[str, np.dtype, int], StorageRecord]


def _no_storages(key: str, dtype: np.dtype, numel: int) -> StorageRecord:
  del dtype, numel
  raise CheckpointError(f"storage {describe(key)} is outside the file")


class _TorchWorld:
  """The names that a checkpoint may use, and their meaning."""

  def __init__(
    self,
    budget: Budget,
    *,
    nesting: int,
    find_storage: _FindStorage = _no_storages,
  ):
    self._budget = budget
    self._nesting = nesting
    self._find_storage = find_storage

  def find_global(self, name: GlobalName) -> GlobalName:
    if not (
      name.full_name in _FUNCTIONS
      or name.full_name in _NAMES
      or _is_inert_class(name)
    ):
      raise CheckpointError(
        f"refused: the file names {name.full_name}, which no checkpoint needs"
      )
    return name

  def call(self, function: GlobalName, arguments: tuple) -> Any:
    if function.full_name in _FUNCTIONS:
      try:
        _SIGNATURES[function.full_name].bind(self, *arguments)
      except TypeError:
        raise CheckpointError(
          f"{function.full_name} is called with {len(arguments)} arguments"
        ) from None
      return _FUNCTIONS[function.full_name](self, *arguments)
    if _is_inert_class(function):
      return ObjectRecord(function.module, function.name)
    raise CheckpointError(f"refused: the file calls {function.full_name}")

  def set_state(self, target: Any, state: Any):
    if isinstance(target, ObjectRecord):
      # It is a pair if the class has __slots__.
      parts = (
        state if isinstance(state, tuple) and len(state) == 2 else (state,)
      )
      for part in parts:
        if isinstance(part, dict):
          self._budget.spend_steps(len(part))
          target.state.update(part)
        elif part is not None:
          raise CheckpointError(
            f"object {describe(target.class_name)} has "
            f"{describe(part)} for its state"
          )
    elif isinstance(target, _NumpyDtype):
      _set_byte_order(target, state)
    elif isinstance(target, TensorRecord):
      self._set_array(target, state)
    elif not isinstance(target, dict):
      # Attributes of a dict subclass (`_metadata` of a state dict) are ignored:
      # they are not among its items.
      raise CheckpointError(f"{describe(target)} is given a state")

  def load_persistent(self, persistent_id: Any) -> Any:
    if not isinstance(persistent_id, tuple) or len(persistent_id) > 6:
      raise CheckpointError(
        "a reference out of the pickle that torch does not write"
      )
    match persistent_id:
      case (
        "storage",
        GlobalName() as kind,
        str(key),
        str(),
        int(numel),
        *view,
      ):
        dtype = _storage_dtype(kind)
        storage = self._find_storage(key, dtype, _check_size(numel))
        if storage.dtype != dtype or storage.numel != numel:
          raise CheckpointError(
            f"storage {describe(key)} is described in two ways"
          )
        if view not in ([], [None]):
          raise CheckpointError("a storage is a view of another one")
        return storage
      case ("module", GlobalName() as kind, *_):
        # Legacy files include the class's source code, which is not read.
        return kind
    raise CheckpointError(
      "a reference out of the pickle that torch does not write"
    )

  # The functions below are called with arguments from the file.

  def _load_from_bytes(self, payload: Any) -> StorageRecord:
    if not isinstance(payload, bytes):
      raise CheckpointError("a storage's contents are not bytes")
    if self._nesting + 1 >= _MAX_NESTING:
      raise CheckpointError("files inside files are nested too deeply")
    # One payload may be given many times, and is read each time.
    self._budget.spend_bytes(len(payload))
    storage = _load_stream(payload, self._budget, nesting=self._nesting + 1)
    if not isinstance(storage, StorageRecord):
      raise CheckpointError(f"expected a storage, got {describe(storage)}")
    return storage

  def _rebuild_tensor(
    self, storage: Any, offset: Any, shape: Any, strides: Any
  ) -> TensorRecord:
    if not isinstance(storage, StorageRecord):
      raise CheckpointError(f"a tensor's storage is {describe(storage)}")
    return _view(storage, storage.dtype, offset, shape, strides)

  def _rebuild_tensor_v2(
    self,
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    metadata: Any = None,
  ) -> TensorRecord:
    del requires_grad, hooks
    if metadata not in (None, {}):
      raise CheckpointError("a tensor has a pending conjugation or negation")
    return self._rebuild_tensor(storage, offset, shape, strides)

  def _rebuild_tensor_v3(
    self,
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
  ) -> TensorRecord:
    del requires_grad, hooks
    if (
      not isinstance(storage, StorageRecord)
      or not isinstance(dtype, GlobalName)
      or dtype.module != "torch"
      or dtype.name not in _TORCH_DTYPES
      or metadata not in (None, {})
    ):
      raise CheckpointError("a tensor has an unknown dtype or layout")
    return _view(storage, _TORCH_DTYPES[dtype.name], offset, shape, strides)

  def _rebuild_parameter(
    self, tensor: Any, requires_grad: Any, hooks: Any, state: Any = None
  ) -> TensorRecord:
    del requires_grad, hooks, state
    if not isinstance(tensor, TensorRecord):
      raise CheckpointError(f"a parameter is {describe(tensor)}, not a tensor")
    return tensor

  def _rebuild_persistent(self, meta: Any) -> ObjectRecord:
    """A module as NVIDIA pickles it; `module_src` is not read."""
    match meta:
      case {
        "type": "class",
        "class_name": str(class_name),
        "state": dict(state),
      }:
        return ObjectRecord("", class_name, state)
    raise CheckpointError("a persistent object has no class name or state")

  def _make_dict(self, items: Any = ()) -> dict[Any, Any]:
    return dict(self._checked_pairs(items))

  def _make_default_dict(
    self, factory: Any = None, items: Any = ()
  ) -> dict[Any, Any]:
    del factory
    return dict(self._checked_pairs(items))

  def _checked_pairs(self, items: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(items, (list, tuple, dict)):
      raise CheckpointError(f"a dict is made from {describe(items)}")
    self._budget.spend_steps(len(items))
    for pair in items.items() if isinstance(items, dict) else items:
      if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise CheckpointError("a dict is made from items that are not pairs")
      yield check_key(pair[0]), pair[1]

  def _make_set(self, items: Any = ()) -> set:
    if not isinstance(items, (list, tuple, set)):
      raise CheckpointError(f"a set is made from {describe(items)}")
    self._budget.spend_steps(len(items))
    return set(map(check_key, items))

  def _make_object(self, kind: Any, base: Any, state: Any) -> ObjectRecord:
    """An object, as protocols 0 and 1 make it."""
    del state
    if (
      not isinstance(kind, GlobalName)
      or not _is_inert_class(kind)
      or not isinstance(base, GlobalName)
      or base.full_name not in _OBJECT_NAMES
    ):
      raise CheckpointError("an object has an unknown class")
    return ObjectRecord(kind.module, kind.name)

  def _make_size(self, sizes: Any) -> tuple:
    if not isinstance(sizes, (list, tuple)):
      raise CheckpointError(f"a torch.Size is made from {describe(sizes)}")
    self._budget.spend_steps(len(sizes))
    return tuple(sizes)

  def _make_device(self, name: Any, index: Any = None) -> str:
    del index
    return describe(name)

  def _encode(self, text: Any, encoding: Any) -> bytes:
    """Bytes, as protocol 2 writes them in Python 3."""
    if not isinstance(text, str) or encoding not in (
      "latin1",
      "latin-1",
      "iso-8859-1",
    ):
      raise CheckpointError("a string has an unknown encoding")
    self._budget.spend_bytes(len(text))
    try:
      return text.encode("latin-1")
    except UnicodeEncodeError:
      raise CheckpointError("bytes have values over 255") from None

  def _make_empty_bytes(self) -> bytes:
    """Bytes of length zero, as protocol 2 writes them."""
    return b""

  def _make_numpy_dtype(
    self, code: Any, align: Any = None, copy: Any = None
  ) -> _NumpyDtype:
    del align, copy
    if not isinstance(code, str) or not re.fullmatch(
      r"[<>=|]?(b1|[iu][1248]|f[248])", code
    ):
      raise CheckpointError(
        f"NumPy dtype {describe(code)} is not a plain number type"
      )
    return _NumpyDtype(np.dtype(code.replace("=", "<")))

  def _make_empty_array(self, kind: Any, shape: Any, code: Any) -> TensorRecord:
    """An array without elements, until its state is set."""
    del shape, code
    if not isinstance(kind, GlobalName) or kind.full_name != "numpy.ndarray":
      raise CheckpointError(f"a NumPy array has the class {describe(kind)}")
    return TensorRecord(
      StorageRecord(np.dtype("u1"), 0, memoryview(b"")),
      np.dtype("u1"),
      0,
      (0,),
      (1,),
    )

  def _make_array(
    self, raw: Any, dtype: Any, shape: Any, order: Any
  ) -> TensorRecord:
    """An array, as protocol 5 writes it."""
    return self._view_array(raw, dtype, shape, order == "F")

  def _make_numpy_scalar(self, dtype: Any, raw: Any) -> Any:
    return self._view_array(raw, dtype, (), False).numpy().item()

  def _set_array(self, target: TensorRecord, state: Any):
    match state:
      case (int(), shape, dtype, fortran, raw):
        built = self._view_array(raw, dtype, shape, fortran is True)
        for field in dataclasses.fields(TensorRecord):
          setattr(target, field.name, getattr(built, field.name))
      case _:
        raise CheckpointError("a NumPy array has no contents")

  def _view_array(
    self, raw: Any, dtype: Any, shape: Any, fortran: bool
  ) -> TensorRecord:
    """A NumPy array over its raw bytes."""
    if isinstance(raw, str) and raw.isascii():
      self._budget.spend_bytes(len(raw))
      raw = raw.encode("ascii")  # Python 2 did not distinguish text from bytes
    if not isinstance(raw, bytes) or not isinstance(dtype, _NumpyDtype):
      raise CheckpointError("a NumPy array has objects as elements")
    shape = _check_shape(shape)
    numel = math.prod(shape)
    if numel * dtype.dtype.itemsize != len(raw):
      raise CheckpointError(
        f"a NumPy array has {numel} elements in {len(raw)} bytes"
      )
    sizes = shape if fortran else shape[::-1]
    strides = [math.prod(sizes[:i]) for i in range(len(sizes))]
    storage = StorageRecord(dtype.dtype, numel, memoryview(raw))
    return TensorRecord(
      storage,
      dtype.dtype,
      0,
      shape,
      tuple(strides if fortran else strides[::-1]),
    )


def _is_inert_class(name: GlobalName) -> bool:
  """Whether a name is a network's class, of which only the state is read."""
  return (
    name.module.startswith(("torch.nn.modules.", "training.", "torch_utils."))
    and re.fullmatch(r"[\w.]+", name.full_name) is not None
  )


_OBJECT_NAMES = ("builtins.object", "__builtin__.object")

# Functions and classes that may be called, and their replacements here.
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
  "torch._utils._rebuild_tensor": _TorchWorld._rebuild_tensor,
  "torch._utils._rebuild_tensor_v2": _TorchWorld._rebuild_tensor_v2,
  "torch._utils._rebuild_tensor_v3": _TorchWorld._rebuild_tensor_v3,
  "torch._utils._rebuild_parameter": _TorchWorld._rebuild_parameter,
  "torch._utils._rebuild_parameter_with_state": _TorchWorld._rebuild_parameter,
  "torch.storage._load_from_bytes": _TorchWorld._load_from_bytes,
  "torch.Size": _TorchWorld._make_size,
  "torch.device": _TorchWorld._make_device,
  "torch_utils.persistence._reconstruct_persistent_obj": _TorchWorld._rebuild_persistent,
  "dnnlib.EasyDict": _TorchWorld._make_dict,
  "dnnlib.util.EasyDict": _TorchWorld._make_dict,
  "collections.OrderedDict": _TorchWorld._make_dict,
  "collections.defaultdict": _TorchWorld._make_default_dict,
  "builtins.set": _TorchWorld._make_set,
  "builtins.frozenset": _TorchWorld._make_set,
  "__builtin__.set": _TorchWorld._make_set,
  "__builtin__.frozenset": _TorchWorld._make_set,
  "builtins.bytes": _TorchWorld._make_empty_bytes,
  "__builtin__.bytes": _TorchWorld._make_empty_bytes,
  "copyreg._reconstructor": _TorchWorld._make_object,
  "copy_reg._reconstructor": _TorchWorld._make_object,
  "_codecs.encode": _TorchWorld._encode,
  "numpy.dtype": _TorchWorld._make_numpy_dtype,
  "numpy.core.multiarray._reconstruct": _TorchWorld._make_empty_array,
  "numpy._core.multiarray._reconstruct": _TorchWorld._make_empty_array,
  "numpy.core.multiarray.scalar": _TorchWorld._make_numpy_scalar,
  "numpy._core.multiarray.scalar": _TorchWorld._make_numpy_scalar,
  "numpy.core.numeric._frombuffer": _TorchWorld._make_array,
  "numpy._core.numeric._frombuffer": _TorchWorld._make_array,
}
_SIGNATURES = {
  name: inspect.signature(function) for name, function in _FUNCTIONS.items()
}

# Names that stand for themselves: arguments of the functions above.
_NAMES = frozenset(
  {"numpy.ndarray", "torch.storage.UntypedStorage", "torch.UntypedStorage"}
  | set(_OBJECT_NAMES)
  | {
    f"{package}.{name}"
    for package in ("builtins", "__builtin__")
    for name in ("list", "dict", "int", "float")
  }
  | {
    f"{package}.{name}"
    for package in ("torch", "torch.cuda")
    for name in _STORAGE_DTYPES
  }
  | {f"torch.{name}" for name in _TORCH_DTYPES}
)


# Tensors.


def _storage_dtype(kind: GlobalName) -> np.dtype:
  if kind.name == "UntypedStorage":
    return np.dtype("u1")
  if kind.name not in _STORAGE_DTYPES:
    raise CheckpointError(f"{kind.full_name} is not a kind of storage")
  return _STORAGE_DTYPES[kind.name]


def _check_size(value: Any) -> int:
  if type(value) is not int or not 0 <= value < _MAX_ELEMENTS:
    raise CheckpointError(f"a size is {describe(value)}")
  return value


def _check_shape(shape: Any) -> tuple[int, ...]:
  if not isinstance(shape, (tuple, list)) or len(shape) > _MAX_DIMENSIONS:
    raise CheckpointError(f"a tensor's shape is {describe(shape)}")
  _check_size(math.prod(max(_check_size(size), 1) for size in shape))
  return tuple(shape)


def _view(
  storage: StorageRecord, dtype: np.dtype, offset: Any, shape: Any, strides: Any
) -> TensorRecord:
  """A tensor; its elements must lie within its storage."""
  shape = _check_shape(shape)
  offset = _check_size(offset)
  if not isinstance(strides, (tuple, list)) or len(strides) != len(shape):
    raise CheckpointError("a tensor's strides do not fit its shape")
  strides = tuple(map(_check_size, strides))
  tensor = TensorRecord(storage, dtype, offset, shape, strides)
  available = storage.nbytes // dtype.itemsize
  if tensor.numel > available:
    raise CheckpointError(
      f"a tensor has {tensor.numel} elements, its storage {available}"
    )
  if tensor.numel:
    last = offset + sum(
      (size - 1) * stride for size, stride in zip(shape, strides)
    )
    if last >= available:
      raise CheckpointError(
        f"a tensor reaches element {last} of a storage of {available} elements"
      )
  return tensor


def _set_byte_order(target: _NumpyDtype, state: Any):
  match state:
    case (int(), "<" | ">" | "|" | "=" as order, None, None, None, *_):
      target.dtype = target.dtype.newbyteorder("<" if order == "=" else order)
    case _:
      raise CheckpointError("a NumPy dtype is not a plain number type")
