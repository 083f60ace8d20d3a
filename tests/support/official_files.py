"""Checkpoint files as the originals write them, made without torch.

A `Pickler` turns plain data and the few nodes below into pickle opcodes, so
that a test can write what a checkpoint holds, and what an attacker would put
there. `official_pickle`, `zip_file` and `legacy_file` make whole files.

Usage:
  arrays = rule_weights.fill(rule_weights.golden_shapes("ffhq512"))
  data = official_pickle(arrays, PRESETS["ffhq512-128"])
"""

import dataclasses
import io
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from my3dgen_jax.config import GeneratorConfig

# Legal, and never to be run: the reader must not even look at it.
HOSTILE_SOURCE = """
import os
os.system('touch /tmp/my3dgen_canary_module_src')
raise RuntimeError('this source was executed')
"""

_STORAGE_NAMES = {
  "float32": "FloatStorage",
  "float16": "HalfStorage",
  "float64": "DoubleStorage",
  "int64": "LongStorage",
  "bfloat16": "BFloat16Storage",
}


# Nodes: what a pickle can hold beside plain data.


@dataclasses.dataclass(eq=False)
class Global:
  """A class or function by its name."""

  module: str
  name: str


@dataclasses.dataclass(eq=False)
class Call:
  """`function(*arguments)`, then `state` set on the result."""

  function: Any
  arguments: tuple
  state: Any = None


@dataclasses.dataclass(eq=False)
class New:
  """`cls.__new__(cls)`, then its items and state set."""

  cls: Global
  items: Mapping | None = None
  state: Any = None


@dataclasses.dataclass(eq=False)
class Persistent:
  """Something outside the pickle."""

  identity: tuple


@dataclasses.dataclass(eq=False)
class Raw:
  """Opcodes as they are."""

  opcodes: bytes


class Pickler:
  """Emits one pickle; objects met twice are written once, as pickle does."""

  def __init__(self, protocol: int):
    self._protocol = protocol
    self._parts: list[bytes] = []
    self._memo: dict[int, int] = {}
    self._kept: list[Any] = []  # so that no id is used twice

  def dump(self, value: Any) -> bytes:
    """The whole pickle."""
    self._emit(b"\x80", bytes([self._protocol]))
    self._write(value)
    self._emit(b".")
    return b"".join(self._parts)

  def _emit(self, *parts: bytes):
    self._parts.extend(parts)

  def _write(self, value: Any):
    if id(value) in self._memo:
      self._emit(b"j", struct.pack("<I", self._memo[id(value)]))
    elif value is None or isinstance(value, bool):
      self._emit({None: b"N", True: b"\x88", False: b"\x89"}[value])
    elif isinstance(value, int):
      self._write_int(value)
    elif isinstance(value, float):
      self._emit(b"G", struct.pack(">d", value))
    elif isinstance(value, str):
      self._write_text(value)
    elif isinstance(value, bytes):
      self._write_bytes(value)
    elif isinstance(value, Raw):
      self._emit(value.opcodes)
    else:
      self._write_object(value)

  def _write_int(self, value: int):
    if 0 <= value < 256:
      self._emit(b"K", bytes([value]))
    elif -(2**31) <= value < 2**31:
      self._emit(b"J", struct.pack("<i", value))
    else:
      raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
      self._emit(b"\x8a", bytes([len(raw)]), raw)

  def _write_text(self, value: str):
    raw = value.encode()
    if self._protocol >= 4 and len(raw) < 256:
      self._emit(b"\x8c", bytes([len(raw)]), raw)
    else:
      self._emit(b"X", struct.pack("<I", len(raw)), raw)

  def _write_bytes(self, value: bytes):
    if self._protocol >= 3:
      self._emit(b"B", struct.pack("<I", len(value)), value)
    else:
      self._write(
        Call(Global("_codecs", "encode"), (value.decode("latin-1"), "latin1"))
      )

  def _write_object(self, value: Any):
    if isinstance(value, tuple):
      self._emit(b"(")
      for item in value:
        self._write(item)
      self._emit(b"t")
    elif isinstance(value, list):
      self._emit(b"]")
      self._keep(value)
      self._emit(b"(")
      for item in value:
        self._write(item)
      self._emit(b"e")
    elif isinstance(value, Mapping):
      self._emit(b"}")
      self._keep(value)
      self._write_items(value)
    elif isinstance(value, (set, frozenset)):
      self._write(Call(Global("builtins", "set"), (sorted(value),)))
    elif isinstance(value, Global):
      self._write_global(value)
      self._keep(value)
    elif isinstance(value, Call):
      self._write(value.function)
      self._write(value.arguments)
      self._emit(b"R")
      self._keep(value)
      self._write_state(value.state)
    elif isinstance(value, New):
      self._write(value.cls)
      self._emit(b")\x81")
      self._keep(value)
      if value.items is not None:
        self._write_items(value.items)
      self._write_state(value.state)
    elif isinstance(value, Persistent):
      self._write(value.identity)
      self._emit(b"Q")
    else:
      raise TypeError(f"cannot pickle {type(value)}")

  def _write_global(self, value: Global):
    if self._protocol >= 4:
      self._write_text(value.module)
      self._write_text(value.name)
      self._emit(b"\x93")
    else:
      self._emit(f"c{value.module}\n{value.name}\n".encode())

  def _write_items(self, items: Mapping):
    self._emit(b"(")
    for key, item in items.items():
      self._write(key)
      self._write(item)
    self._emit(b"u")

  def _write_state(self, state: Any):
    if state is not None:
      self._write(state)
      self._emit(b"b")

  def _keep(self, value: Any):
    self._memo[id(value)] = len(self._kept)
    self._emit(b"r", struct.pack("<I", len(self._kept)))
    self._kept.append(value)


def pickled(value: Any, protocol: int = 4) -> bytes:
  return Pickler(protocol).dump(value)


# Tensors.


@dataclasses.dataclass(eq=False)
class Tensor:
  """A view of a storage; strides and offset in elements."""

  storage: np.ndarray  # 1-D
  shape: tuple[int, ...]
  strides: tuple[int, ...]
  offset: int = 0

  @classmethod
  def of(cls, array: np.ndarray) -> "Tensor":
    """A contiguous tensor with a storage of its own."""
    array = np.asarray(array, order="C")
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return cls(array.reshape(-1), array.shape, strides)

  @classmethod
  def transposed(cls, array: np.ndarray) -> "Tensor":
    """The same values, stored with the axes in reverse order."""
    turned = cls.of(np.asarray(array).T)
    return cls(turned.storage, array.shape, turned.strides[::-1])

  @classmethod
  def spread(cls, array: np.ndarray, step: int = 3) -> "Tensor":
    """The same values, with unused elements before and between them."""
    plain = cls.of(array)
    storage = np.full(1 + step * array.size, 7, array.dtype)
    storage[1::step] = plain.storage
    return cls(
      storage,
      array.shape,
      tuple(step * stride for stride in plain.strides),
      offset=1,
    )


def sharing(arrays: Sequence[np.ndarray]) -> list[Tensor]:
  """Tensors that lie one after the other in a single storage."""
  storage = np.concatenate([array.reshape(-1) for array in arrays])
  tensors, offset = [], 0
  for array in arrays:
    tensors.append(
      Tensor(storage, array.shape, Tensor.of(array).strides, offset)
    )
    offset += array.size
  return tensors


def rebuild_call(storage: Any, tensor: Tensor) -> Call:
  """How torch pickles a tensor, whatever stands for its storage."""
  return Call(
    Global("torch._utils", "_rebuild_tensor_v2"),
    (
      storage,
      tensor.offset,
      tensor.shape,
      tensor.strides,
      False,
      Call(Global("collections", "OrderedDict"), ()),
    ),
  )


def parameter_call(tensor: Any) -> Call:
  return Call(
    Global("torch._utils", "_rebuild_parameter"),
    (tensor, True, Call(Global("collections", "OrderedDict"), ())),
  )


class _Storages:
  """Numbers the storages of a file."""

  def __init__(self):
    self.arrays: dict[str, np.ndarray] = {}
    self._keys: dict[int, str] = {}

  def persistent(self, array: np.ndarray) -> Persistent:
    key = self._keys.setdefault(id(array), str(len(self._keys)))
    self.arrays[key] = array
    return Persistent(
      (
        "storage",
        Global("torch", _STORAGE_NAMES[array.dtype.name]),
        key,
        "cpu",
        array.size,
      )
    )


def _with_tensors(value: Any, storage_node) -> Any:
  """Replaces the `Tensor`s in plain data and nodes."""
  done: dict[int, Any] = {}

  def visit(node: Any) -> Any:
    if id(node) in done:
      return done[id(node)]
    if isinstance(node, (np.ndarray, np.generic)):
      node = Tensor.of(node)
    if isinstance(node, Tensor):
      result = rebuild_call(storage_node(node.storage), node)
    elif isinstance(node, dict):
      result = {key: visit(item) for key, item in node.items()}
    elif isinstance(node, (list, tuple)):
      result = type(node)(map(visit, node))
    elif isinstance(node, Call):
      result = Call(node.function, visit(node.arguments), visit(node.state))
    elif isinstance(node, New):
      result = New(node.cls, visit(node.items), visit(node.state))
    else:
      return node
    done[id(node)] = result
    kept.append(node)
    return result

  kept: list[Any] = []
  return visit(value)


# File formats.


def legacy_file(value: Any, *, little_endian: bool = True) -> bytes:
  """torch.save before 1.6; `value` may hold arrays and `Tensor`s."""
  storages = _Storages()
  value = _with_tensors(value, storages.persistent)
  return _legacy(value, storages.arrays, little_endian)


def _legacy(
  value: Any, arrays: Mapping[str, np.ndarray], little_endian: bool = True
) -> bytes:
  parts = [
    pickled(0x1950A86A20F9469CFC6C, 2),
    pickled(1001, 2),
    pickled(
      {
        "protocol_version": 1001,
        "little_endian": little_endian,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
      },
      2,
    ),
    pickled(value, 2),
    pickled(sorted(arrays), 2),
  ]
  for key in sorted(arrays):
    parts += [struct.pack("<q", arrays[key].size), arrays[key].tobytes()]
  return b"".join(parts)


def zip_file(
  value: Any,
  *,
  compression: int = zipfile.ZIP_STORED,
  byteorder: bytes = b"little",
  extra: Mapping[str, bytes] | None = None,
) -> bytes:
  """torch.save since 1.6; `extra` entries are added as they are named."""
  storages = _Storages()
  value = _with_tensors(value, storages.persistent)
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", compression) as archive:
    archive.writestr("archive/data.pkl", pickled(value, 2))
    archive.writestr("archive/byteorder", byteorder)
    for key, array in storages.arrays.items():
      archive.writestr(f"archive/data/{key}", array.tobytes())
    archive.writestr("archive/version", b"3\n")
    for name, data in (extra or {}).items():
      archive.writestr(name, data)
  return buffer.getvalue()


def embedded_storage(array: np.ndarray) -> Call:
  """A storage inside a plain pickle: a legacy file as bytes."""
  storages = _Storages()
  node = storages.persistent(array)
  return Call(
    Global("torch.storage", "_load_from_bytes"),
    (_legacy(node, storages.arrays),),
  )


def plain_pickle(value: Any, protocol: int = 4) -> bytes:
  """pickle.dump of data with tensors; a storage met twice is written once."""
  nodes: dict[int, Call] = {}

  def storage_node(array: np.ndarray) -> Call:
    if id(array) not in nodes:
      nodes[id(array)] = embedded_storage(array)
    return nodes[id(array)]

  return pickled(_with_tensors(value, storage_node), protocol)


# Networks.


def easy_dict(items: Mapping) -> New:
  return New(
    Global("dnnlib.util", "EasyDict"),
    {
      key: easy_dict(item) if isinstance(item, dict) else item
      for key, item in items.items()
    },
  )


def persistent_object(
  class_name: str, state: Mapping, *, source: str = HOSTILE_SOURCE
) -> Call:
  """A module as NVIDIA's torch_utils.persistence pickles it."""
  return Call(
    Global("torch_utils.persistence", "_reconstruct_persistent_obj"),
    (
      New(
        Global("dnnlib.util", "EasyDict"),
        {
          "type": "class",
          "version": 6,
          "module_src": source,
          "class_name": class_name,
          "state": dict(state),
        },
      ),
    ),
  )


def plain_object(module: str, name: str, state: Mapping) -> New:
  return New(Global(module, name), None, dict(state))


def _module_state(
  parameters: Mapping, buffers: Mapping, modules: Mapping
) -> dict[str, Any]:
  def ordered(items: Mapping) -> New:
    return New(Global("collections", "OrderedDict"), dict(items))

  return {
    "training": False,
    "_parameters": ordered(parameters),
    "_buffers": ordered(buffers),
    "_non_persistent_buffers_set": set(),
    "_backward_hooks": ordered({}),
    "_modules": ordered(modules),
  }


_BUFFERS = ("resample_filter", "noise_const", "w_avg")
_CLASSES = {
  "decoder": "OSGDecoder",
  "backbone": "Generator",
  "synthesis": "SynthesisNetwork",
  "mapping": "MappingNetwork",
  "affine": "FullyConnectedLayer",
  "torgb": "ToRGBLayer",
  "conv0": "SynthesisLayer",
  "conv1": "SynthesisLayer",
  "fully_connected_layer": "FullyConnectedLayer",
  "synthesis_layer": "SynthesisLayer",
  "to_rgb_layer": "ToRGBLayer",
}


def module_tree(
  tensors: Mapping[str, Any],
  class_name: str,
  state: Mapping | None = None,
  *,
  lora: Mapping | None = None,
) -> Call:
  """The modules that have these tensors, as persistent objects.

  Args:
    tensors: torch name → array, `Tensor` or node.
    class_name: of the outermost.
    state: more of its attributes.
    lora: more attributes of every module that has a LoRA pair.
  """
  parameters: dict[str, Any] = {}
  buffers: dict[str, Any] = {}
  children: dict[str, dict[str, Any]] = {}
  for name, tensor in tensors.items():
    head, _, rest = name.partition(".")
    if rest:
      children.setdefault(head, {})[rest] = tensor
    elif head in _BUFFERS:
      buffers[head] = tensor
    else:
      parameters[head] = parameter_call(tensor)
  modules: dict[str, Any] = {}
  for name, inner in children.items():
    if name == "net":  # a Sequential, with a softplus without tensors in it
      modules[name] = plain_object(
        "torch.nn.modules.container",
        "Sequential",
        _module_state(
          {},
          {},
          {
            "0": module_tree(_inside("0", inner), "FullyConnectedLayer"),
            "1": plain_object(
              "torch.nn.modules.activation",
              "Softplus",
              {**_module_state({}, {}, {}), "beta": 1, "threshold": 20},
            ),
            "2": module_tree(_inside("2", inner), "FullyConnectedLayer"),
          },
        ),
      )
    else:
      modules[name] = module_tree(
        inner, _CLASSES.get(name, "SynthesisBlock"), lora=lora
      )
  if "lora_A" in parameters:
    class_name = "LayerWrapper"
    state = {**(lora or {}), **(state or {})}
  return persistent_object(
    class_name, {**_module_state(parameters, buffers, modules), **(state or {})}
  )


def _inside(name: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
  return {
    key.removeprefix(f"{name}."): tensor
    for key, tensor in tensors.items()
    if key.startswith(f"{name}.")
  }


def rendering_kwargs(config: GeneratorConfig) -> dict[str, Any]:
  """What EG3D's training script stores for such a generator."""
  rendering = config.rendering
  return {
    "image_resolution": config.img_resolution,
    "disparity_space_sampling": False,
    "clamp_mode": "softplus",
    "superresolution_module": f"training.superresolution.{config.superresolution.module}",
    "c_gen_conditioning_zero": config.mapping.zero_label,
    "gpc_reg_prob": 0.5,
    "c_scale": config.mapping.c_scale,
    "superresolution_noise_mode": config.superresolution.noise_mode,
    "density_reg": 0.25,
    "density_reg_p_dist": 0.004,
    "reg_type": "l1",
    "decoder_lr_mul": config.decoder.lr_multiplier,
    "sr_antialias": config.superresolution.antialias,
    "depth_resolution": rendering.depth_resolution,
    "depth_resolution_importance": rendering.depth_resolution_importance,
    "ray_start": rendering.ray_start,
    "ray_end": rendering.ray_end,
    "box_warp": rendering.box_warp,
    "white_back": rendering.white_back,
    "avg_camera_radius": rendering.avg_camera_radius,
    "avg_camera_pivot": list(rendering.avg_camera_pivot),
  }


def init_kwargs(config: GeneratorConfig, rendering: Any) -> dict[str, Any]:
  """The constructor's arguments of such a generator."""
  return {
    "z_dim": config.z_dim,
    "c_dim": config.c_dim,
    "w_dim": config.w_dim,
    "img_resolution": config.img_resolution,
    "img_channels": config.img_channels,
    "mapping_kwargs": easy_dict({"num_layers": config.mapping.num_layers}),
    "rendering_kwargs": rendering,
    "channel_base": config.backbone.channel_base,
    "channel_max": config.backbone.channel_max,
    "fused_modconv_default": "inference_only",
    "num_fp16_res": 0,
    "conv_clamp": config.backbone.conv_clamp,
    "sr_num_fp16_res": 4 if config.superresolution.clamp else 0,
    "sr_kwargs": easy_dict(
      {
        "channel_base": 32768,
        "channel_max": 512,
        "fused_modconv_default": "inference_only",
      }
    ),
  }


def generator_object(
  tensors: Mapping[str, Any],
  config: GeneratorConfig,
  *,
  class_name: str = "TriPlaneGenerator",
  rendering: Mapping | None = None,
  arguments: Mapping | None = None,
  positional: Sequence[Any] = (),
  lora: Mapping | None = None,
) -> Call:
  """A whole generator.

  Args:
    tensors: torch name → array, `Tensor` or node.
    config: its settings.
    class_name: of the generator.
    rendering: replaces the rendering_kwargs of the config.
    arguments: changes to the constructor's keyword arguments; `Ellipsis`
      removes one.
    positional: constructor arguments given by position.
    lora: attributes of My3DGen's wrappers, see `lora_state`.
  """
  shared = easy_dict(
    rendering_kwargs(config) if rendering is None else rendering
  )
  keywords = {**init_kwargs(config, shared), **(arguments or {})}
  keywords = {
    key: value for key, value in keywords.items() if value is not Ellipsis
  }
  renderer = plain_object(
    "training.volumetric_rendering.renderer",
    "ImportanceRenderer",
    {
      **_module_state(
        {},
        {},
        {
          "ray_marcher": plain_object(
            "training.volumetric_rendering.ray_marcher",
            "MipRayMarcher2",
            _module_state({}, {}, {}),
          )
        },
      ),
      "plane_axes": Tensor.of(np.eye(3, dtype=np.float32)[None]),
    },
  )
  tree = module_tree(
    tensors,
    class_name,
    {
      "z_dim": config.z_dim,
      "rendering_kwargs": shared,
      "neural_rendering_resolution": config.neural_rendering_resolution,
      "_last_planes": None,
      "_init_args": tuple(positional),
      "_init_kwargs": New(Global("dnnlib.util", "EasyDict"), keywords),
    },
    lora=lora,
  )
  modules = tree.arguments[0].items["state"]["_modules"]
  modules.items["renderer"] = renderer
  modules.items["ray_sampler"] = plain_object(
    "training.volumetric_rendering.ray_sampler",
    "RaySampler",
    _module_state({}, {}, {}),
  )
  return tree


def official_pickle(
  tensors: Mapping[str, Any],
  config: GeneratorConfig,
  *,
  protocol: int = 4,
  generator: Any | None = None,
) -> bytes:
  """A file like NVIDIA's, `tensors` being those of G_ema."""
  if generator is None:
    generator = generator_object(tensors, config)
  tiny = np.arange(6, dtype=np.float32).reshape(2, 3)
  discriminator = module_tree(
    {"b4.fc.weight": Tensor.of(tiny)}, "DualDiscriminator"
  )
  augment = module_tree({"p": Tensor.of(np.float32([0.5])[0])}, "AugmentPipe")
  return plain_pickle(
    {
      "G": module_tree({"weight": Tensor.of(tiny)}, "TriPlaneGenerator"),
      "D": discriminator,
      "G_ema": generator,
      "augment_pipe": augment,
      "training_set_kwargs": easy_dict(
        {
          "class_name": "training.dataset.ImageFolderDataset",
          "path": "/data/ffhq.zip",
          "use_labels": True,
          "max_size": 69957,
          "resolution": config.img_resolution,
          "xflip": False,
        }
      ),
    },
    protocol,
  )


# Names and shapes, written from the specification alone.


def generator_shapes(config: GeneratorConfig) -> dict[str, tuple[int, ...]]:
  """Every tensor of EG3D's generator with this config."""
  shapes: dict[str, tuple[int, ...]] = {}
  w_dim = config.w_dim

  def layer(name: str, inputs: int, outputs: int, size: int, kernel: int):
    shapes[f"{name}.weight"] = (outputs, inputs, kernel, kernel)
    shapes[f"{name}.bias"] = (outputs,)
    shapes[f"{name}.affine.weight"] = (inputs, w_dim)
    shapes[f"{name}.affine.bias"] = (inputs,)
    if kernel == 3:
      shapes[f"{name}.noise_strength"] = ()
      shapes[f"{name}.noise_const"] = (size, size)
      shapes[f"{name}.resample_filter"] = (4, 4)

  def block(name: str, inputs: int, outputs: int, size: int, image: int):
    shapes[f"{name}.resample_filter"] = (4, 4)
    if inputs:
      layer(f"{name}.conv0", inputs, outputs, size, 3)
    else:
      shapes[f"{name}.const"] = (outputs, size, size)
    layer(f"{name}.conv1", outputs, outputs, size, 3)
    layer(f"{name}.torgb", outputs, image, size, 1)

  def full(name: str, inputs: int, outputs: int):
    shapes[f"{name}.weight"] = (outputs, inputs)
    shapes[f"{name}.bias"] = (outputs,)

  backbone, sr = config.backbone, config.superresolution
  channels = 0
  for size in backbone.block_resolutions:
    block(
      f"backbone.synthesis.b{size}",
      channels,
      backbone.channels(size),
      size,
      3 * backbone.plane_channels,
    )
    channels = backbone.channels(size)
  shapes["backbone.mapping.w_avg"] = (w_dim,)
  full("backbone.mapping.embed", config.c_dim, w_dim)
  for i in range(config.mapping.num_layers):
    full(
      f"backbone.mapping.fc{i}",
      config.z_dim + w_dim if i == 0 else w_dim,
      w_dim,
    )
  features, size = config.decoder.color_features, sr.input_resolution
  if sr.module != "SuperresolutionHybrid8XDC":
    shapes["superresolution.resample_filter"] = (4, 4)
  for i, (outputs, up) in enumerate(zip(sr.channels, sr.up)):
    size *= 2 if up else 1
    block(
      f"superresolution.block{i}", features, outputs, size, config.img_channels
    )
    features = outputs
  full("decoder.net.0", backbone.plane_channels, config.decoder.hidden_features)
  full(
    "decoder.net.2",
    config.decoder.hidden_features,
    1 + config.decoder.color_features,
  )
  return shapes


def wrapped_name(name: str) -> str:
  """A tensor's name once My3DGen's training has wrapped the generator."""
  if not name.startswith(("backbone.synthesis.", "superresolution.")):
    return name
  segments = []
  for segment in name.split("."):
    segments.append(segment)
    segments += {
      "synthesis": ["synthesis"],
      "superresolution": ["superresolution_module"],
      "conv0": ["synthesis_layer"],
      "conv1": ["synthesis_layer"],
      "torgb": ["to_rgb_layer"],
      "affine": ["fully_connected_layer"],
    }.get(
      segment,
      (["synthesis_block"] if re.fullmatch(r"b\d+|block\d", segment) else []),
    )
  return ".".join(segments)


def wrapped_shapes(
  config: GeneratorConfig, rank: int, layout: str
) -> dict[str, tuple[int, ...]]:
  """Every tensor of the wrapped generator, LoRA pairs included.

  Args:
    config: of the generator.
    rank: LoRA's r.
    layout: "kernel", "rank" or "original", see `LoraConfig.conv_rank`.
  """
  shapes: dict[str, tuple[int, ...]] = {}
  for name, shape in generator_shapes(config).items():
    shapes[wrapped_name(name)] = shape
    layer, _, leaf = wrapped_name(name).rpartition(".")
    if leaf == "weight" and wrapped_name(name) != name:
      outputs, inputs, size = (*shape, 1)[:3]
      rho = rank if layout == "rank" else rank * size
      rows, columns = (
        (outputs * size, inputs * size)
        if layout == "original"
        else (outputs, inputs * size**2)
      )
      wrapper = layer.rpartition(".")[0]
      shapes[f"{wrapper}.lora_A"] = (rho, columns)
      shapes[f"{wrapper}.lora_B"] = (rows, rho)
  return shapes


def lora_state(rank: int, alpha: float) -> dict[str, Any]:
  """What a wrapper of My3DGen says of itself."""
  return {"r": rank, "lora_alpha": alpha, "scaling": alpha / rank}
