"""The page: puts fields, picture and text into one HTML file, all escaped.

The page makes no requests: its content security policy allows only its own
script and style, and pictures inside it.
"""

import base64
import dataclasses
import functools
import hashlib
import importlib.resources
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from my3dgen_jax.apps.rendering.limits import Limits
from my3dgen_jax.apps.reports.page import text
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.data import provenance
from my3dgen_jax.data.provenance import Origin

TITLE = "A synthetic head"
# Distances between samples of a ray, as shares of its length.
PACE = 1 / 96
_ZOOM = 4.0  # largest zoom
_SCRIPTS = ("painter.js", "{kind}.js", "motion.js", "head.js")
_SHADERS = {"field": "field.glsl"}  # other contents' are in their scripts
_POLICY = (
  "default-src 'none'; img-src data:; script-src {script}; "
  "style-src {style}; base-uri 'none'; form-action 'none'"
)


class Content(Protocol):
  """Content of a page: `sharing.field.Field` or `sharing.cloud.Cloud`."""

  @property
  def kind(self) -> str:
    """Name of the script that draws it."""

  def content(self, stop: int) -> bytes:
    """A stop's bytes, not yet compressed."""

  def facts(self) -> dict[str, Any]:
    """The script's data that all faces share."""

  def own_facts(self) -> dict[str, Any]:
    """The script's data for this slider."""


class Face(NamedTuple):
  """A button of the page and its faces.

  Attributes:
    label: the text of the button and of its slider.
    marks: the stops' names; with one stop, there is no slider.
    first: number of the stop that is shown first.
    content: the content of all stops.
    focal: the camera's focal length, in image sizes.
  """

  label: str
  marks: Sequence[str]
  first: int
  content: Content
  focal: float


def head_page(
  faces: Sequence[Face],
  *,
  config: RenderConfig,
  limits: Limits,
  poster: bytes,
  side: int,
  origin: Origin,
  title: str,
) -> str:
  """The whole page.

  Args:
    faces: the faces, at least one, all of one architecture.
    config: the rendering settings.
    limits: limits of the angles that the head turns by.
    poster: JPEG that is shown first, and in browsers without WebGL 2.
    side: the poster's side, pixels.
    origin: the page's origin.
    title: the page's title, plain text.
  """
  kind = faces[0].content.kind
  scripts = [_read(name.format(kind=kind)) for name in _SCRIPTS]
  style, script = _read("head.css"), '"use strict";\n' + "\n".join(scripts)
  stops = [
    (f"stop-{row}-{number}", packed(face.content, number))
    for row, face in enumerate(faces)
    for number in range(len(face.marks))
  ]
  statement = statement_of(origin)
  return filled(
    _read("head.html"),
    policy=_POLICY.format(script=_hash(script), style=_hash(style)),
    software=text(provenance.SOFTWARE),
    title=text(title),
    style=style,
    poster=f"data:image/jpeg;base64,{_base64(poster)}",
    side=str(side),
    made=_table(statement),
    provenance=as_json(statement),
    data=as_json(
      {
        "camera": _camera(faces[0].content, config),
        "limits": {**dataclasses.asdict(limits), "zoom": _ZOOM},
        "rows": [_row(number, face) for number, face in enumerate(faces)],
      }
    ),
    stops="\n".join(
      f'<script type="text/plain" id="{name}">{content}</script>'
      for name, content in stops
    ),
    shader=_read(_SHADERS[kind]) if kind in _SHADERS else "",
    script=script,
  )


def packed(content: Content, stop: int) -> str:
  """A stop as text, for `inflated` in the page's script."""
  return _base64(zlib.compress(content.content(stop), 9))


def statement_of(origin: Origin) -> dict[str, Any]:
  """The page's statement of its origin."""
  return {
    "synthetic": True,
    "software": provenance.SOFTWARE,
    "digitalSourceType": provenance.SOURCE_TYPE,
    "adapter": origin.adapter,
    "base": origin.base,
    "task": origin.task,
    "details": dict(origin.details),
  }


def as_json(value: Any) -> str:
  """JSON without characters that could end its HTML element."""
  return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def filled(template: str, **values: str) -> str:
  """A template with each {{name}} replaced by its value, unescaped.

  Raises: KeyError: a name has no value.
  """
  return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def is_page(start: bytes) -> bool:
  """Whether a file that begins with these bytes is a page of this package."""
  name = provenance.SOFTWARE.split()[0]
  return f'<meta name="generator" content="{name} '.encode() in start


def _camera(content: Content, config: RenderConfig) -> dict[str, Any]:
  """Data of the shader and its camera that all faces share."""
  auto = config.ray_start == "auto"
  length = (
    config.box_warp if auto else float(config.ray_end) - float(config.ray_start)
  )
  return {
    "radius": config.avg_camera_radius,
    "pivot": config.avg_camera_pivot,
    "start": None if auto else config.ray_start,
    "end": None if auto else config.ray_end,
    "box": config.box_warp,
    "white": config.white_back,
    "pace": length * PACE,
    **content.facts(),
  }


def _row(number: int, face: Face) -> dict[str, Any]:
  return {
    "label": face.label,
    "marks": list(face.marks),
    "first": face.first,
    "stops": [f"stop-{number}-{i}" for i in range(len(face.marks))],
    "focal": face.focal,
    **face.content.own_facts(),
  }


def _table(statement: Mapping[str, Any]) -> str:
  """The provenance in readable form."""
  rows = {
    "made by": statement["software"],
    "source": statement["digitalSourceType"].rpartition("/")[2],
    **{name: statement[name] for name in ("adapter", "base", "task")},
    **statement["details"],
  }
  return (
    "<dl>"
    + "".join(
      f"<dt>{text(name)}</dt><dd>{text(value)}</dd>"
      for name, value in rows.items()
    )
    + "</dl>"
  )


@functools.cache
def _read(name: str) -> str:
  """A file of the page's own."""
  folder = importlib.resources.files("my3dgen_jax.apps.sharing") / "page"
  return (folder / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
  digest = hashlib.sha256(content.encode()).digest()
  return f"'sha256-{_base64(digest)}'"


def _base64(data: bytes) -> str:
  return base64.b64encode(data).decode()
