"""Tests of the reader: what it reads, and what it refuses."""

import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
from absl.testing import absltest, parameterized

from converters import torch_reader
from converters.torch_reader import ObjectRecord, TensorRecord
from my3dgen_jax.errors import CheckpointError
from tests.support import official_files as files
from tests.support.official_files import (
  Call,
  Global,
  New,
  Persistent,
  Raw,
  Tensor,
)

_RNG = np.random.default_rng(0)
_MATRIX = _RNG.standard_normal((3, 4)).astype(np.float32)
_CUBE = _RNG.standard_normal((2, 3, 4)).astype(np.float32)
_WRITERS = {
  "zip": files.zip_file,
  "legacy": files.legacy_file,
  "pickle": files.plain_pickle,
}
_SHARED_WEIGHTS = (
  pathlib.Path(__file__).parents[3] / "shared" / "data" / "weights"
)


class Exploit:
  """Runs a command when Python's own unpickler reads it."""

  def __init__(self, command: str):
    self._command = command

  def __reduce__(self):
    return os.system, (self._command,)


class ReadTest(parameterized.TestCase):
  @parameterized.product(
    writer=list(_WRITERS),
    dtype=["float32", "float16", "float64", "int64"],
    layout=["of", "transposed", "spread"],
  )
  def test_tensor(self, writer, dtype, layout):
    array = (100 * _CUBE).astype(dtype)
    data = _WRITERS[writer]({"w": getattr(Tensor, layout)(array)})
    self.assertEqual(torch_reader.format_name(data), writer)
    read = torch_reader.loads(data)["w"].numpy()
    self.assertEqual(read.dtype, array.dtype)
    np.testing.assert_array_equal(read, array)

  @parameterized.parameters(*_WRITERS)
  def test_bfloat16(self, writer):
    array = _MATRIX.astype(ml_dtypes.bfloat16)
    read = torch_reader.loads(_WRITERS[writer]({"w": array}))["w"].numpy()
    np.testing.assert_array_equal(
      read.astype(np.float32), array.astype(np.float32)
    )

  @parameterized.parameters(*_WRITERS)
  def test_scalar_and_empty(self, writer):
    value = {"s": np.array(3.5, "f4"), "e": np.zeros((0, 3), "f4")}
    read = torch_reader.loads(_WRITERS[writer](value))
    self.assertEqual(read["s"].numpy(), 3.5)
    self.assertEqual(read["e"].numpy().shape, (0, 3))

  @parameterized.parameters(*_WRITERS)
  def test_shared_storage_is_read_once(self, writer):
    a, b = files.sharing([_MATRIX, 2 * _MATRIX])
    read = torch_reader.loads(_WRITERS[writer]({"a": a, "b": b}))
    np.testing.assert_array_equal(read["a"].numpy(), _MATRIX)
    np.testing.assert_array_equal(read["b"].numpy(), 2 * _MATRIX)
    self.assertIs(read["a"].storage, read["b"].storage)

  def test_deflated_zip(self):
    data = files.zip_file({"w": _MATRIX}, compression=zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(
      torch_reader.loads(data)["w"].numpy(), _MATRIX
    )

  @parameterized.parameters(2, 3, 4)
  def test_plain_data(self, protocol):
    value = {
      "a": [1, -2, 2**40, 2.5, None, True, False, "é", b"\0\xff"],
      "b": (1, ("x", ())),
      "c": {"d": {}},
      3: "k",
      "long": "x" * 300,
    }
    self.assertEqual(torch_reader.loads(files.pickled(value, protocol)), value)

  @parameterized.parameters(range(6))
  def test_pickles_of_python(self, protocol):
    value = {
      "a": [1, -2, 300, 70000, -(2**40), 2**70, 2.5, 1e-300, None, True],
      "b": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
      "c": "é\n'",
      "d": {1, 2},
      "e": frozenset({"x"}),
      "f": ["s"] * 3,
      "g": False,
    }
    self.assertEqual(torch_reader.loads(pickle.dumps(value, protocol)), value)

  @parameterized.parameters(range(6))
  def test_bytes_of_python(self, protocol):
    value = [b"", b"\0\xff", b"x" * 300, bytes(70000)]
    self.assertEqual(torch_reader.loads(pickle.dumps(value, protocol)), value)

  @parameterized.parameters(range(6))
  def test_numpy(self, protocol):
    value = {
      "a": _CUBE,
      "f": np.asfortranarray(_CUBE),
      "s": np.float64(2.5),
      "big": np.arange(3, dtype=">i4"),
      "i": np.int64(7),
      "e": np.zeros((0, 2)),
      "t": np.bool_(True),
    }
    data = pickle.dumps(value, protocol)
    read = torch_reader.loads(data)
    for name in ("a", "f", "big", "e"):
      np.testing.assert_array_equal(read[name].numpy(), value[name])
    self.assertEqual((read["s"], read["i"], read["t"]), (2.5, 7, True))

  def test_python_2_texts(self):
    value = torch_reader.loads(b"(U\x03abcS'd\\x41'\nU\x02\xff\x00t.")
    self.assertEqual(value, ("abc", "dA", b"\xff\0"))

  def test_named_containers(self):
    value = {
      "ordered": New(
        Global("collections", "OrderedDict"), {"a": 1}, {"_metadata": {}}
      ),
      "pairs": Call(Global("collections", "OrderedDict"), ([["b", 2]],)),
      "easy": files.easy_dict({"c": {"d": 3}}),
      "default": Call(
        Global("collections", "defaultdict"), (Global("builtins", "list"),)
      ),
      "size": Call(Global("torch", "Size"), ([1, 2],)),
      "device": Call(Global("torch", "device"), ("cuda", 0)),
    }
    read = torch_reader.loads(files.pickled(value))
    self.assertEqual(read["ordered"], {"a": 1})
    self.assertEqual(read["pairs"], {"b": 2})
    self.assertEqual(read["easy"], {"c": {"d": 3}})
    self.assertEqual(read["default"], {})
    self.assertEqual(read["size"], (1, 2))

  def test_objects_hold_their_state_only(self):
    value = [
      files.persistent_object("Net", {"a": 1}),
      files.plain_object(
        "torch.nn.modules.activation", "ReLU", {"inplace": True}
      ),
      Call(Global("training.augment", "make"), (1, 2), (None, {"s": 1})),
    ]
    net, relu, made = torch_reader.loads(files.pickled(value))
    for record in (net, relu, made):
      self.assertIsInstance(record, ObjectRecord)
    self.assertEqual((net.class_name, net.state), ("Net", {"a": 1}))
    self.assertEqual(
      (relu.module, relu.class_name, relu.state),
      ("torch.nn.modules.activation", "ReLU", {"inplace": True}),
    )
    self.assertEqual(made.state, {"s": 1})

  def test_untyped_storage(self):
    storage = Persistent(
      ("storage", Global("torch.storage", "UntypedStorage"), "0", "cpu", 8)
    )
    tensor = Call(
      Global("torch._utils", "_rebuild_tensor_v3"),
      (storage, 0, (4,), (1,), False, None, Global("torch", "uint16")),
    )
    data = files.zip_file(
      tensor, extra={"archive/data/0": np.arange(4, dtype="<u2").tobytes()}
    )
    np.testing.assert_array_equal(torch_reader.loads(data).numpy(), range(4))

  def test_state_dict_of_module(self):
    tree = files.module_tree(
      {"a.weight": _MATRIX, "a.b.weight": _CUBE, "w_avg": _MATRIX[0]}, "Net"
    )
    state = tree.arguments[0].items["state"]
    state["_parameters"].items["bias"] = None
    state["_buffers"].items["scratch"] = Tensor.of(_MATRIX)
    state["_non_persistent_buffers_set"].add("scratch")
    state["_modules"].items["empty"] = None
    read = torch_reader.state_dict(torch_reader.loads(files.plain_pickle(tree)))
    self.assertEqual(list(read), ["w_avg", "a.weight", "a.b.weight"])
    np.testing.assert_array_equal(read["a.b.weight"].numpy(), _CUBE)

  def test_legacy_module_reference_is_not_read(self):
    kind = Persistent(
      (
        "module",
        Global("torch.nn.modules.linear", "Linear"),
        "linear.py",
        files.HOSTILE_SOURCE,
      )
    )
    read = torch_reader.loads(
      files.legacy_file(New(kind, None, {"_parameters": {"weight": _MATRIX}}))
    )
    np.testing.assert_array_equal(
      torch_reader.state_dict(read)["weight"].numpy(), _MATRIX
    )

  def test_real_files(self):
    """Weights that people have; they stay out of the repository."""
    if not _SHARED_WEIGHTS.is_dir():
      self.skipTest("needs ../shared/data/weights")
    paths = sorted(
      path
      for path in _SHARED_WEIGHTS.rglob("*")
      if path.suffix in (".pt", ".pth")
    )
    self.assertNotEmpty(paths)
    for path in paths:
      value = torch_reader.load(str(path))
      tensors = (
        {"": value}
        if isinstance(value, TensorRecord)
        else torch_reader.state_dict(value)
      )
      for tensor in tensors.values():
        self.assertTrue(np.isfinite(tensor.numpy()).all(), path)


def _storage_read_again() -> bytes:
  """One large storage file inside a pickle, given to be read many times."""
  text = "é" * 2**20  # costs time to decode, and is thrown away
  raw = text.encode()
  storage = files.embedded_storage(np.zeros(4, np.float32)).arguments[0]
  inner = b"\x80\x02X" + struct.pack("<I", len(raw)) + raw + b"0" + storage[2:]
  return (
    b"\x80\x04ctorch.storage\n_load_from_bytes\nq\x01B"
    + struct.pack("<I", len(inner))
    + inner
    + b"q\x020"
    + b"h\x01h\x02\x85R0" * 50_000
    + b"N."
  )


_STORAGE_READ_AGAIN = _storage_read_again()


class RefusedTest(parameterized.TestCase):
  def assert_refused(self, data: bytes, *reasons: str):
    """The one kind of error, in one line, with these words."""
    with self.assertRaises(CheckpointError) as caught:
      torch_reader.state_dict(torch_reader.loads(data))
    message = str(caught.exception)
    self.assertTrue(message.isprintable(), repr(message))
    for reason in reasons:
      self.assertIn(reason, message)

  @parameterized.parameters(
    ("posix", "system"),
    ("os", "system"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("__builtin__", "eval"),
    ("subprocess", "Popen"),
    ("torch", "load"),
    ("torch.hub", "load"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("numpy", "load"),
    ("dnnlib.util", "open_url"),
    ("pickle", "loads"),
    ("__main__", "Net"),
    ("torch.serialization", "load"),
    ("trainingx.evil", "run"),
    ("builtins", "__import__"),
    ("operator", "attrgetter"),
  )
  def test_global(self, module, name):
    for value in (
      Global(module, name),
      [Call(Global(module, name), ("x",))],
      New(Global(module, name), {"a": 1}),
      New(Global("training.x", "Y"), None, Global(module, name)),
    ):
      for writer in _WRITERS.values():
        self.assert_refused(writer(value), f"{module}.{name}")

  def test_global_in_old_instructions(self):
    self.assert_refused(b"(S'true'\niposix\nsystem\n.", "posix.system")
    self.assert_refused(b"(cposix\nsystem\nS'true'\no.", "posix.system")
    self.assert_refused(b"cposix\nsystem\n0N.", "posix.system")
    self.assert_refused(b"Vposix\nVsystem\n\x93.", "posix.system")

  def test_real_exploits_do_not_run(self):
    with tempfile.TemporaryDirectory() as folder:
      canary = pathlib.Path(folder) / "ran"
      for protocol in range(6):
        exploit = pickle.dumps(Exploit(f"touch {canary}"), protocol)
        self._check_alive(exploit, canary)
        raw = Raw(exploit[2:-1] if protocol >= 2 else exploit[:-1])
        for data in (
          exploit,
          files.zip_file(raw),
          files.legacy_file(raw),
          files.pickled(
            Call(Global("torch.storage", "_load_from_bytes"), (exploit,))
          ),
          files.pickled(
            Call(
              Global("torch.storage", "_load_from_bytes"),
              (files.legacy_file(raw),),
            )
          ),
        ):
          self.assert_refused(data, "posix.system")
          self.assertFalse(canary.exists())

  def _check_alive(self, exploit: bytes, canary: pathlib.Path):
    """An exploit that would do nothing anyway proves nothing."""
    subprocess.run(
      [
        sys.executable,
        "-c",
        "import pickle, sys;pickle.loads(sys.stdin.buffer.read())",
      ],
      input=exploit,
      check=True,
    )
    self.assertTrue(canary.exists())
    canary.unlink()

  def test_exploit_in_the_lists_of_the_legacy_format(self):
    whole = files.legacy_file({"w": _MATRIX})
    keys = files.pickled(["0"], 2)
    self.assertIn(keys, whole)
    self.assert_refused(
      whole.replace(keys, pickle.dumps(Exploit("true"), 2)), "posix.system"
    )

  @parameterized.named_parameters(
    ("empty_stack", b"\x80\x02R.", "empty stack"),
    ("no_mark", b"t.", "mark"),
    ("below_mark", b"K\x01(\x85.", "empty stack"),
    ("memo_get", b"h\x05.", "memo 5"),
    ("memo_line", b"Np-1\n.", "out of range"),
    ("extension", b"\x82\x01.", "EXT"),
    ("extension4", b"\x84\x01\x00\x00\x00.", "EXT"),
    ("buffer", b"\x97.", "protocol 5"),
    ("unknown", b"\xff.", "0xff"),
    ("protocol", b"\x80\x09.", "protocol 9"),
    ("frame", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "truncated"),
    ("call_of_number", b"K\x01)R.", "not a class"),
    ("call_of_text", b"X\x02\x00\x00\x00os)R.", "not a class"),
    ("arguments", b"ccollections\nOrderedDict\nNR.", "arguments"),
    ("too_many", b"ccollections\nOrderedDict\n(NNNtR.", "3 arguments"),
    ("class_called", b"cbuiltins\nint\n)R.", "builtins.int"),
    ("keywords", b"ctraining.x\nY\n)}K\x01K\x02s\x92.", "keyword"),
    ("list_key", b"}](s.", "empty stack"),
    ("unhashable", b"}]Ns.", "key"),
    ("tuple_key", b"})Ns.", "key"),
    ("huge_key", b"}\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fNs.", "range"),
    ("append_to_none", b"NK\x01a.", "appended"),
    ("items_of_list", b"](NNu.", "items are set"),
    ("odd_items", b"}(Nu.", "items are set"),
    ("members", b"](N\x90.", "members"),
    ("state_of_number", b"K\x01}b.", "state"),
    ("state_of_object", b"ctraining.x\nY\n)RK\x01b.", "state"),
    ("no_stop", b"N", "truncated"),
    ("loose", b"NN.", "left on its stack"),
    ("rest", b"N.N", "follow"),
    ("text_short", b"X\xff\xff\xff\x7fa.", "truncated"),
    ("bytes_short", b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa.", "truncated"),
    ("not_unicode", b"X\x02\x00\x00\x00\xff\xff.", "Unicode"),
    ("surrogate", b"V\\ud800\n.", "Unicode"),
    ("negative", b"T\xff\xff\xff\xff.", "negative"),
    ("digits", b"I" + b"9" * 500 + b"\n.", "digits"),
    ("long_integer", b"\x8b\xff\xff\x00\x00" + b"1" * 65535 + b".", "bytes"),
    ("no_integer", b"Iabc\n.", "not an integer"),
    ("no_float", b"Fabc\n.", "not a number"),
    ("quotes", b"Sabc\n.", "quotes"),
    ("escape", b"S'\\x4'\n.", "escape"),
    ("line", b"S" + b"a" * 5000, "no end"),
    ("name_no_text", b"K\x01K\x02\x93.", "not a string"),
    ("long_name", b"Xtrai\x00\x00\x00\x00.", "truncated"),
    ("persistent", b"Pabc\n.", "reference"),
    ("persistent_bin", b"K\x01Q.", "reference"),
    ("terminal_codes", b"c\x1b]0;evil\x07\nx\n.", "refused"),
    ("not_a_pickle", b"<html><body>404 Not Found", "not look like a PyTorch"),
    ("empty_object", b"(o.", "no class"),
  )
  def test_stream(self, data, reason):
    self.assert_refused(data, reason)

  @parameterized.named_parameters(
    ("outside", 6, (3,), (4,), "element"),
    ("too_big", 0, (100,), (1,), "100 elements"),
    ("expanded", 0, (2**40,), (0,), "elements"),
    ("absurd", 0, (2**62,), (0,), "size"),
    ("product", 0, (2**40, 2**40), (0, 0), "size"),
    ("empty_absurd", 0, (0, 2**47, 2**47), (1, 1, 1), "size"),
    ("negative_offset", -1, (3,), (1,), "size"),
    ("negative_stride", 6, (3,), (-1,), "size"),
    ("negative_size", 0, (-3,), (1,), "size"),
    ("text_size", 0, ("3",), (1,), "size"),
    ("truth_size", 0, (True,), (1,), "size"),
    ("mismatch", 0, (3,), (1, 1), "strides"),
    ("dimensions", 0, (1,) * 40, (1,) * 40, "shape"),
    ("no_shape", 0, None, (1,), "shape"),
  )
  def test_view(self, offset, shape, strides, reason):
    storage = np.arange(12, dtype=np.float32)
    for writer in _WRITERS.values():
      self.assert_refused(
        writer({"w": Tensor(storage, shape, strides, offset)}), reason
      )

  @parameterized.named_parameters(
    (
      "storage",
      Call(Global("torch._utils", "_rebuild_tensor"), ("x", 0, (1,), (1,))),
      "storage",
    ),
    ("parameter", files.parameter_call(1), "parameter"),
    (
      "metadata",
      Call(
        Global("torch._utils", "_rebuild_tensor_v2"),
        (None, 0, (), (), False, None, {"conj": True}),
      ),
      "conjugation",
    ),
    (
      "bytes",
      Call(Global("torch.storage", "_load_from_bytes"), ("x",)),
      "not bytes",
    ),
    (
      "no_storage",
      Call(Global("torch.storage", "_load_from_bytes"), (b"N.",)),
      "expected a storage",
    ),
    (
      "persistent",
      Call(
        Global("torch_utils.persistence", "_reconstruct_persistent_obj"),
        ({"type": "function"},),
      ),
      "persistent object",
    ),
    (
      "outside",
      Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", 1)),
      "outside",
    ),
    (
      "reconstructor",
      Call(
        Global("copyreg", "_reconstructor"),
        (Global("builtins", "list"), Global("builtins", "object"), None),
      ),
      "class",
    ),
    (
      "encoding",
      Call(Global("_codecs", "encode"), ("x", "rot13")),
      "unknown encoding",
    ),
    (
      "wide_bytes",
      Call(Global("_codecs", "encode"), ("\u20ac", "latin1")),
      "255",
    ),
    (
      "object_dtype",
      Call(Global("numpy", "dtype"), ("O8", False, True)),
      "plain number",
    ),
    ("record_dtype", Call(Global("numpy", "dtype"), ("V16",)), "plain"),
    (
      "subdtype",
      Call(
        Global("numpy", "dtype"),
        ("f4",),
        (3, "<", ("x",), None, None, -1, -1, 0),
      ),
      "plain",
    ),
    (
      "objects",
      Call(
        Global("numpy.core.multiarray", "_reconstruct"),
        (Global("numpy", "ndarray"), (0,), b"b"),
        (1, (1,), Call(Global("numpy", "dtype"), ("f4",)), False, [1]),
      ),
      "objects",
    ),
    (
      "array_size",
      Call(
        Global("numpy.core.multiarray", "_reconstruct"),
        (Global("numpy", "ndarray"), (0,), b"b"),
        (1, (9,), Call(Global("numpy", "dtype"), ("f4",)), False, b"1234"),
      ),
      "9 elements",
    ),
    ("pairs", Call(Global("collections", "OrderedDict"), ([1],)), "pairs"),
    ("set", Call(Global("builtins", "set"), ([[]],)), "key"),
  )
  def test_value(self, node, reason):
    self.assert_refused(files.pickled({"w": node}), reason)

  def test_numpy_objects(self):
    for protocol in range(6):
      self.assert_refused(
        pickle.dumps(np.array([Exploit("true")]), protocol), ""
      )

  @parameterized.named_parameters(
    ("number", {"w": 1}, "'w'"),
    ("none", None, "None"),
    ("key", {1: 2}, "not a string"),
    ("object", ["x"], "list"),
  )
  def test_state_dict(self, value, reason):
    self.assert_refused(files.pickled(value), reason)

  def test_modules_that_contain_themselves(self):
    data = (
      b"ctraining.x\nY\n)\x81q\x00}X\x08\x00\x00\x00_modules}X\x01\x00"
      b"\x00\x00mh\x00ssb."
    )
    self.assert_refused(data, "contains itself")

  def test_modules_shared_without_end(self):
    """Each of fifty levels holds the next one twice: 2^50 names."""
    module = files.persistent_object("Leaf", {"_parameters": {}})
    for _ in range(50):
      module = files.persistent_object(
        "Net", {"_modules": {"a": module, "b": module}}
      )
    self.assert_refused(files.pickled(module), "members")

  def test_long_names_of_modules(self):
    module = files.persistent_object("Leaf", {"_parameters": {}})
    for _ in range(10):
      module = files.persistent_object("Net", {"_modules": {"m" * 60: module}})
    self.assert_refused(files.pickled(module), "too long")

  def test_deep_nesting(self):
    self.assertIsInstance(
      torch_reader.loads(b"]" * 100_000 + b"a" * 99_999 + b"."), list
    )
    torch_reader.loads(b"N" + b"\x85" * 100_000 + b".")

  def test_storages_in_storages(self):
    payload = b"N."
    for _ in range(10):
      payload = files.pickled(
        Call(Global("torch.storage", "_load_from_bytes"), (payload,))
      )
    self.assert_refused(payload, "nested too deep")

  def test_sharing_is_bounded(self):
    big = np.zeros(2**18, np.float32)
    tensor = {str(i): Tensor(big, big.shape, (1,)) for i in range(100)}
    for writer in _WRITERS.values():
      self.assert_refused(writer(tensor), "expand")

  @parameterized.named_parameters(
    ("sets", b"\x8f" * 3_000_000 + b"."),
    ("duplicates", b"N" + b"2" * 3_000_000 + b"."),
    (
      "sets_of_a_list",
      b"]("
      + b"K\x01" * 50_000
      + b"eq\x000"
      + b"cbuiltins\nset\nq\x010"
      + b"h\x01h\x00\x85R0" * 50_000
      + b"N.",
    ),
    (
      "bytes_of_a_text",
      b"X"
      + struct.pack("<I", 10**6)
      + b"a" * 10**6
      + b"X\x06\x00\x00\x00latin1\x86q\x000c_codecs\nencode\nq\x010("
      + b"h\x01h\x00R" * 50_000
      + b"t.",
    ),
    (
      "equal_keys",
      b"".join(
        b"X"
        + struct.pack("<I", 10**6)
        + b"a" * 10**6
        + b"q"
        + bytes([i])
        + b"0"
        for i in range(2)
      )
      + b"}"
      + (b"h\x00Nsh\x01Ns") * 100_000
      + b".",
    ),
    ("storage_read_again", _STORAGE_READ_AGAIN),
    (
      "wide_identity",
      b"(X\x07\x00\x00\x00storage"
      + b"N" * 100_000
      + b"tq\x000"
      + b"h\x00Q0" * 100_000
      + b"N.",
    ),
  )
  def test_costs_are_bounded(self, data):
    tracemalloc.start()
    start = time.monotonic()
    self.assert_refused(data)
    seconds = time.monotonic() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    self.assertLess(seconds, 20)  # tracing slows Python down several times
    self.assertLess(peak, 10 * len(data) + 2**26)

  def test_big_endian(self):
    self.assert_refused(
      files.legacy_file({"w": _MATRIX}, little_endian=False), "endian"
    )
    self.assert_refused(
      files.zip_file({"w": _MATRIX}, byteorder=b"big"), "endian"
    )

  @parameterized.named_parameters(
    (
      "count",
      lambda d: d.replace(struct.pack("<q", 12), struct.pack("<q", 13)),
      "13 elements",
    ),
    ("rest", lambda d: d + b"\0", "follow"),
    ("short", lambda d: d[:-1], "truncated"),
    ("protocol", lambda d: d.replace(b"J\xe9\x03", b"J\xe8\x03", 1), "version"),
    (
      "keys",
      lambda d: d.replace(files.pickled(["0"], 2), files.pickled(["1"], 2)),
      "storage '1'",
    ),
    (
      "no_keys",
      lambda d: d.replace(files.pickled(["0"], 2), files.pickled(None, 2)),
      "list",
    ),
    (
      "twice",
      lambda d: d.replace(
        files.pickled(["0"], 2), files.pickled(["0", "0"], 2)
      ),
      "twice",
    ),
  )
  def test_legacy(self, damage, reason):
    data = files.legacy_file({"w": _MATRIX})
    self.assertNotEqual(damage(data), data)
    self.assert_refused(damage(data), reason)

  def test_two_descriptions_of_a_storage(self):
    def storage(kind, size):
      return Persistent(("storage", Global("torch", kind), "0", "cpu", size))

    for pair in (
      [storage("FloatStorage", 4), storage("IntStorage", 4)],
      [storage("FloatStorage", 4), storage("FloatStorage", 2)],
    ):
      self.assert_refused(
        files.zip_file(pair, extra={"archive/data/0": bytes(16)}), "two ways"
      )

  @parameterized.parameters(*_WRITERS)
  def test_truncation(self, writer):
    data = _WRITERS[writer]({"w": _MATRIX, "v": files.easy_dict({"a": 1})})
    for size in range(1, len(data)):
      self.assert_refused(data[:size])


class PathTest(absltest.TestCase):
  def test_errors_name_the_file(self):
    with tempfile.TemporaryDirectory() as folder:
      path = os.path.join(folder, "weights.pth")
      for content, reason in (
        (None, "No such file"),
        (b"", "empty"),
        (b"\x80\x02cposix\nsystem\n.", "posix.system"),
      ):
        if content is not None:
          pathlib.Path(path).write_bytes(content)
        with self.assertRaisesRegex(CheckpointError, f"^{path}: .*{reason}"):
          torch_reader.load(path)
      with self.assertRaisesRegex(CheckpointError, f"^{folder}: is a folder"):
        torch_reader.load(folder)
      pipe = os.path.join(folder, "pipe")
      os.mkfifo(pipe)
      with self.assertRaisesRegex(CheckpointError, "regular file"):
        torch_reader.load(pipe)


if __name__ == "__main__":
  absltest.main()
