"""A small interpreter of Python's pickle opcodes that cannot run code.

Python's own unpickler imports and calls whatever a file names. This one
builds plain data and passes every global name, every call and every object
state to a `World`, which decides by an explicit list. No text from the file
ever reaches an import, a call or an attribute.

Source: the opcodes as documented in Python's `pickletools` (protocols 0-5).
"""

import codecs
import dataclasses
import struct
from collections.abc import Callable
from typing import Any, Protocol

from converters.errors import describe
from my3dgen_jax.errors import CheckpointError

_MAX_STEPS = 1_000_000  # a generator with its discriminator needs 0.1 million
_CONTAINER_STEPS = 4  # one byte of file makes an empty container of 200 bytes
_MAX_INTEGER_BYTES = 16
_MAX_DIGITS = 40  # length of a number written as text
_MAX_KEY = 2**60  # larger integers can be made to collide in a hash table
_MAX_KEY_LENGTH = 4096  # long equal strings would be compared many times
_MAX_NAME_LENGTH = 256
_HIGHEST_PROTOCOL = 5


@dataclasses.dataclass(frozen=True)
class GlobalName:
  """The name of a class or function in a pickle: a name and nothing more."""

  module: str
  name: str

  @property
  def full_name(self) -> str:
    return f"{self.module}.{self.name}"


class _LocatedError(CheckpointError):
  """An error whose message already names the byte."""


class Budget:
  """Limits on the work for one file, shared by all pickles inside it."""

  def __init__(self, file_size: int):
    self._steps = _MAX_STEPS
    self._copied_bytes = 4 * file_size + 2**20

  def spend_steps(self, count: int):
    """Charges for instructions, or for work proportional to them."""
    self._steps -= count
    if self._steps < 0:
      raise CheckpointError(
        "the pickle has too many instructions for a checkpoint (more than "
        f"{_MAX_STEPS})"
      )

  def spend_bytes(self, count: int):
    """Charges for a copy of something that the pickle may copy again."""
    self._copied_bytes -= count
    if self._copied_bytes < 0:
      raise CheckpointError(
        "the pickle expands to far more data than the file has"
      )


class World(Protocol):
  """Everything outside the pickle; every method may raise CheckpointError."""

  def find_global(self, name: GlobalName) -> GlobalName:
    """Accepts a name, or refuses it."""

  def call(self, function: GlobalName, arguments: tuple) -> Any:
    """The result that stands for calling the class or function."""

  def set_state(self, target: Any, state: Any):
    """Gives an object its pickled state."""

  def load_persistent(self, persistent_id: Any) -> Any:
    """The object outside the stream with this id."""


_Handler = Callable[["PickleMachine"], None]
_HANDLERS: dict[int, _Handler] = {}


def _opcode(code: bytes) -> Callable[[_Handler], _Handler]:
  def register(handler: _Handler) -> _Handler:
    _HANDLERS[code[0]] = handler
    return handler

  return register


def check_key(value: Any) -> Any:
  """Accepts only keys that hash fast and without collisions."""
  if type(value) not in (str, int, float, bool, bytes, type(None)):
    raise CheckpointError(f"{describe(value)} is a key of a dict or set")
  if isinstance(value, int) and abs(value) >= _MAX_KEY:
    raise CheckpointError("an integer key out of range")
  if isinstance(value, (str, bytes)) and len(value) > _MAX_KEY_LENGTH:
    raise CheckpointError(f"a key of {len(value)} characters")
  return value


class PickleMachine:
  """Reads one pickle from a position in a buffer."""

  def __init__(
    self, data: bytes, *, world: World, budget: Budget, position: int = 0
  ):
    self._data = data
    self._world = world
    self._budget = budget
    self.position = position  # of the next byte; finally, of the pickle's end
    self._stack: list[Any] = []
    self._marks: list[int] = []  # stack heights at the open MARKs
    self._memo: dict[int, Any] = {}
    self._stopped = False

  def run(self) -> Any:
    """The pickled value.

    Raises:
      CheckpointError: names the byte at which the pickle is invalid.
    """
    while not self._stopped:
      start = self.position
      try:
        code = self._take(1)[0]
        handler = _HANDLERS.get(code)
        if handler is None:
          raise CheckpointError(f"unknown pickle instruction 0x{code:02x}")
        self._budget.spend_steps(1)
        handler(self)
      except _LocatedError:
        raise  # a pickle inside this one has named its own byte
      except CheckpointError as error:
        raise _LocatedError(
          f"{error} (at byte {start} of the pickle)"
        ) from None
    if self._marks or len(self._stack) != 1:
      raise CheckpointError("the pickle ends with values left on its stack")
    return self._stack[0]

  # Bytes of the stream.

  def _take(self, count: int) -> bytes:
    end = self.position + count
    if end > len(self._data):
      raise CheckpointError("the pickle is truncated")
    taken = self._data[self.position : end]
    self.position = end
    return taken

  def _take_number(self, layout: str) -> Any:
    return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

  def _take_line(self) -> bytes:
    end = self._data.find(b"\n", self.position)
    if end < 0:
      raise CheckpointError("a line of text has no end")
    line = self._take(end - self.position)
    self.position += 1
    return line

  def _take_name(self) -> GlobalName:
    module, name = (_decode(self._take_line(), "utf-8") for _ in range(2))
    return self._find_global(module, name)

  # The stack.

  def _push(self, value: Any):
    self._stack.append(value)

  def _floor(self) -> int:
    """Height of the innermost MARK; values below it are out of reach."""
    return self._marks[-1] if self._marks else 0

  def _pop(self) -> Any:
    if len(self._stack) <= self._floor():
      raise CheckpointError("the pickle pops from an empty stack")
    return self._stack.pop()

  def _top(self) -> Any:
    if len(self._stack) <= self._floor():
      raise CheckpointError("the pickle reads from an empty stack")
    return self._stack[-1]

  def _pop_to_mark(self) -> list[Any]:
    if not self._marks:
      raise CheckpointError("the pickle pops to a mark that does not exist")
    height = self._marks.pop()
    values = self._stack[height:]
    del self._stack[height:]
    return values

  def _push_container(self, value: Any):
    self._budget.spend_steps(_CONTAINER_STEPS)
    self._push(value)

  # Globals and calls, all through the world.

  def _find_global(self, module: Any, name: Any) -> GlobalName:
    if not isinstance(module, str) or not isinstance(name, str):
      raise CheckpointError("a global's name is not a string")
    if max(len(module), len(name)) > _MAX_NAME_LENGTH:
      raise CheckpointError("a global's name is too long")
    return self._world.find_global(GlobalName(module, name))

  def _call(self, function: Any, arguments: Any):
    if not isinstance(function, GlobalName):
      raise CheckpointError(
        f"{describe(function)} is called, which is not a class or function"
      )
    if not isinstance(arguments, tuple):
      raise CheckpointError(
        f"{function.full_name} is called with {describe(arguments)} for "
        "arguments"
      )
    self._push(self._world.call(function, arguments))

  # Filling containers.

  def _fill_dict(self, items: list[Any]):
    target = self._top()
    if type(target) is not dict or len(items) % 2:
      raise CheckpointError(f"items are set on {describe(target)}")
    for key, value in zip(items[::2], items[1::2]):
      target[check_key(key)] = value

  def _fill_list(self, items: list[Any]):
    target = self._top()
    if type(target) is not list:
      raise CheckpointError(f"items are appended to {describe(target)}")
    target.extend(items)

  # Instructions: control.

  @_opcode(b"\x80")
  def _proto(self):
    protocol = self._take(1)[0]
    if protocol > _HIGHEST_PROTOCOL:
      raise CheckpointError(f"unknown pickle protocol {protocol}")

  @_opcode(b"\x95")
  def _frame(self):
    if self._take_number("<Q") > len(self._data) - self.position:
      raise CheckpointError("the pickle is truncated")

  @_opcode(b".")
  def _stop(self):
    self._stopped = True

  @_opcode(b"(")
  def _mark(self):
    self._marks.append(len(self._stack))

  @_opcode(b"0")
  def _discard(self):
    if self._marks and self._marks[-1] == len(self._stack):
      self._marks.pop()  # as in Python: here POP removes a MARK
    else:
      self._pop()

  @_opcode(b"1")
  def _discard_to_mark(self):
    self._pop_to_mark()

  @_opcode(b"2")
  def _duplicate(self):
    self._push(self._top())

  # Instructions: the memo.

  @_opcode(b"p")
  def _put(self):
    self._memo[_parse_index(self._take_line())] = self._top()

  @_opcode(b"q")
  def _bin_put(self):
    self._memo[self._take_number("<B")] = self._top()

  @_opcode(b"r")
  def _long_bin_put(self):
    self._memo[self._take_number("<I")] = self._top()

  @_opcode(b"\x94")
  def _memoize(self):
    self._memo[len(self._memo)] = self._top()

  def _recall(self, index: int):
    if index not in self._memo:
      raise CheckpointError(
        f"the pickle reads memo {index}, which was never set"
      )
    self._push(self._memo[index])

  @_opcode(b"g")
  def _get(self):
    self._recall(_parse_index(self._take_line()))

  @_opcode(b"h")
  def _bin_get(self):
    self._recall(self._take_number("<B"))

  @_opcode(b"j")
  def _long_bin_get(self):
    self._recall(self._take_number("<I"))

  # Instructions: numbers and constants.

  @_opcode(b"N")
  def _none(self):
    self._push(None)

  @_opcode(b"\x88")
  def _true(self):
    self._push(True)

  @_opcode(b"\x89")
  def _false(self):
    self._push(False)

  @_opcode(b"I")
  def _int(self):
    line = self._take_line()
    if line in (b"00", b"01"):
      self._push(line == b"01")
    else:
      self._push(_parse_integer(line))

  @_opcode(b"J")
  def _bin_int(self):
    self._push(self._take_number("<i"))

  @_opcode(b"K")
  def _bin_int1(self):
    self._push(self._take_number("<B"))

  @_opcode(b"M")
  def _bin_int2(self):
    self._push(self._take_number("<H"))

  @_opcode(b"L")
  def _long(self):
    self._push(_parse_integer(self._take_line().removesuffix(b"L")))

  def _push_long(self, size: int):
    if not 0 <= size <= _MAX_INTEGER_BYTES:
      raise CheckpointError(f"an integer has {size} bytes")
    self._push(int.from_bytes(self._take(size), "little", signed=True))

  @_opcode(b"\x8a")
  def _long1(self):
    self._push_long(self._take_number("<B"))

  @_opcode(b"\x8b")
  def _long4(self):
    self._push_long(self._take_number("<i"))

  @_opcode(b"F")
  def _float(self):
    line = self._take_line()
    if len(line) > _MAX_DIGITS:
      raise CheckpointError(f"a number has {len(line)} digits")
    try:
      self._push(float(line))
    except ValueError:
      raise CheckpointError(f"{describe(line)} is not a number") from None

  @_opcode(b"G")
  def _bin_float(self):
    self._push(self._take_number(">d"))

  # Instructions: text and bytes.

  @_opcode(b"S")
  def _string(self):
    line = self._take_line().strip()
    if len(line) < 2 or line[:1] not in b"'\"" or line[:1] != line[-1:]:
      raise CheckpointError("a string has no quotes")
    try:
      self._push_python2_text(codecs.escape_decode(line[1:-1])[0])
    except ValueError:
      raise CheckpointError("a string has an invalid escape") from None

  @_opcode(b"T")
  def _bin_string(self):
    size = self._take_number("<i")
    if size < 0:
      raise CheckpointError("a string has a negative length")
    self._push_python2_text(self._take(size))

  @_opcode(b"U")
  def _short_bin_string(self):
    self._push_python2_text(self._take(self._take_number("<B")))

  def _push_python2_text(self, raw: bytes):
    """Python 2 had one type for text and bytes; ASCII is read as text."""
    self._push(raw.decode("ascii") if raw.isascii() else raw)

  @_opcode(b"V")
  def _unicode(self):
    text = _decode(self._take_line(), "raw-unicode-escape")
    # Escapes can make lone surrogates, which cannot be printed.
    self._push(_decode(text.encode("utf-8", "surrogatepass"), "utf-8"))

  @_opcode(b"X")
  def _bin_unicode(self):
    self._push(_decode(self._take(self._take_number("<I")), "utf-8"))

  @_opcode(b"\x8c")
  def _short_bin_unicode(self):
    self._push(_decode(self._take(self._take_number("<B")), "utf-8"))

  @_opcode(b"\x8d")
  def _bin_unicode8(self):
    self._push(_decode(self._take(self._take_number("<Q")), "utf-8"))

  @_opcode(b"B")
  def _bin_bytes(self):
    self._push(self._take(self._take_number("<I")))

  @_opcode(b"C")
  def _short_bin_bytes(self):
    self._push(self._take(self._take_number("<B")))

  # A bytearray (0x96) is never modified here, so bytes suffice.
  @_opcode(b"\x8e")
  @_opcode(b"\x96")
  def _bin_bytes8(self):
    self._push(self._take(self._take_number("<Q")))

  # Instructions: containers.

  @_opcode(b")")
  def _empty_tuple(self):
    self._push(())

  @_opcode(b"t")
  def _tuple(self):
    self._push_container(tuple(self._pop_to_mark()))

  def _push_tuple(self, size: int):
    values = [self._pop() for _ in range(size)]
    self._push_container(tuple(reversed(values)))

  @_opcode(b"\x85")
  def _tuple1(self):
    self._push_tuple(1)

  @_opcode(b"\x86")
  def _tuple2(self):
    self._push_tuple(2)

  @_opcode(b"\x87")
  def _tuple3(self):
    self._push_tuple(3)

  @_opcode(b"]")
  def _empty_list(self):
    self._push_container([])

  @_opcode(b"l")
  def _list(self):
    self._push_container(self._pop_to_mark())

  @_opcode(b"a")
  def _append(self):
    value = self._pop()
    self._fill_list([value])

  @_opcode(b"e")
  def _appends(self):
    values = self._pop_to_mark()
    self._fill_list(values)

  @_opcode(b"}")
  def _empty_dict(self):
    self._push_container({})

  @_opcode(b"d")
  def _dict(self):
    items = self._pop_to_mark()
    self._push_container({})
    self._fill_dict(items)

  @_opcode(b"s")
  def _set_item(self):
    value, key = self._pop(), self._pop()
    self._fill_dict([key, value])

  @_opcode(b"u")
  def _set_items(self):
    items = self._pop_to_mark()
    self._fill_dict(items)

  @_opcode(b"\x8f")
  def _empty_set(self):
    self._push_container(set())

  @_opcode(b"\x90")
  def _add_items(self):
    items = self._pop_to_mark()
    target = self._top()
    if type(target) is not set:
      raise CheckpointError(f"members are added to {describe(target)}")
    target.update(map(check_key, items))

  @_opcode(b"\x91")
  def _frozen_set(self):
    self._push_container(frozenset(map(check_key, self._pop_to_mark())))

  # Instructions: globals, calls and objects.

  @_opcode(b"c")
  def _global(self):
    self._push(self._take_name())

  @_opcode(b"\x93")
  def _stack_global(self):
    name, module = self._pop(), self._pop()
    self._push(self._find_global(module, name))

  @_opcode(b"\x82")
  @_opcode(b"\x83")
  @_opcode(b"\x84")
  def _extension(self):
    raise CheckpointError(
      "a name is given by a registry number (EXT), which no checkpoint needs"
    )

  # Calling a function (R) and making an object (0x81) are the same for a world
  # that runs neither.
  @_opcode(b"R")
  @_opcode(b"\x81")
  def _reduce(self):
    arguments, function = self._pop(), self._pop()
    self._call(function, arguments)

  @_opcode(b"\x92")
  def _new_object_ex(self):
    keywords, arguments, function = self._pop(), self._pop(), self._pop()
    if keywords != {}:
      raise CheckpointError("an object is made with keyword arguments")
    self._call(function, arguments)

  @_opcode(b"i")
  def _instance(self):
    function = self._take_name()
    self._call(function, tuple(self._pop_to_mark()))

  @_opcode(b"o")
  def _object(self):
    values = self._pop_to_mark()
    if not values:
      raise CheckpointError("an object has no class")
    self._call(values[0], tuple(values[1:]))

  @_opcode(b"b")
  def _build(self):
    state = self._pop()
    self._world.set_state(self._top(), state)

  @_opcode(b"P")
  def _persistent_id(self):
    self._push(self._world.load_persistent(_decode(self._take_line(), "ascii")))

  @_opcode(b"Q")
  def _bin_persistent_id(self):
    self._push(self._world.load_persistent(self._pop()))

  @_opcode(b"\x97")
  @_opcode(b"\x98")
  def _outside_buffer(self):
    raise CheckpointError("data is outside the file (a protocol 5 buffer)")


def _decode(raw: bytes, encoding: str) -> str:
  try:
    return raw.decode(encoding)
  except UnicodeDecodeError:
    raise CheckpointError("a string is not valid Unicode") from None


def _parse_integer(line: bytes) -> int:
  # The length is checked first: parsing decimal numbers takes quadratic time.
  if len(line) > _MAX_DIGITS:
    raise CheckpointError(f"an integer has {len(line)} digits")
  try:
    return int(line)
  except ValueError:
    raise CheckpointError(f"{describe(line)} is not an integer") from None


def _parse_index(line: bytes) -> int:
  index = _parse_integer(line)
  if not 0 <= index < 2**32:
    raise CheckpointError(f"memo {index} is out of range")
  return index
