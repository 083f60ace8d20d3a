"""Sphinx's settings for the documentation; `make docs` builds it offline."""

import re

from my3dgen_jax import __version__

project = "my3dgen_jax"
author = "the my3dgen_jax authors"
project_copyright = author
version = release = __version__

extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
  "sphinx_copybutton",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Only commands are copied, not what a comment says about them.
copybutton_exclude = ".linenos, .gp"
highlight_language = "none"

html_theme = "furo"
html_title = f"my3dgen_jax {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
# Summaries of what a search finds are fetched, which files may not.
html_show_search_summary = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "tango"
pygments_dark_style = "monokai"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 72
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Source", "params_style")]

# Results are written by a command, whose headings skip a level.
suppress_warnings = ["myst.header"]
nitpicky = True
# Types of other packages have no pages here, as nothing is fetched; those of
# our own that are not public are only names in a signature.
_PRIVATE = (
  "lora.bank",
  "training.anchors",
  "lora.shared_basis",
  "models",
  "storage",
  "types",
)
nitpick_ignore_regex = [
  (r"py:.*", r"(?!my3dgen_jax\.).*"),
  *((r"py:.*", rf"my3dgen_jax\.{re.escape(name)}\..*") for name in _PRIVATE),
]

_SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields")
_HEADER = re.compile(
  rf"^(\s*)({'|'.join(_SECTIONS)}|Source|Sources):(?:\s+(\S.*))?$"
)
# Code between backticks that goes over the end of a line.
_BROKEN_CODE = re.compile(r"`[^`\n]+\n[^`\n]+`")


def as_rst(app, what, name, obj, options, lines):
  """Turns the project's docstrings into what Napoleon reads.

  They are Google's style with Markdown's backticks, and "Returns: text" may
  be one line, whose continuation is indented by two spaces.
  """
  del app, what, name, obj, options
  result: list[str] = []
  literal = False
  text = _BROKEN_CODE.sub(
    lambda code: re.sub(r"\s*\n\s*", " ", code[0]), "\n".join(lines)
  )
  for line in text.split("\n"):
    indented = line.startswith("  ") and line.strip()
    if (
      indented
      and not result
      or (indented and result[-1] == "" and not _in_section(result))
    ):
      literal = True
      result += ["::", ""]
    elif literal and line.strip() and not line.startswith("  "):
      literal = False
    if literal:
      result.append(line)
      continue
    found = _HEADER.match(line)
    if found and not found[1]:
      if result and result[-1]:
        result.append("")
      title, text = found[2], found[3]
      if title.startswith("Source"):
        result.append(f"Source: {_escaped(text or '')}")
        continue
      result.append(f"{title}:")
      if text:
        result.append(f"  {_escaped(text)}")
      continue
    result.append(_escaped(line))
  lines[:] = result


def _in_section(lines):
  for line in reversed(lines):
    if line and not line.startswith(" "):
      return bool(_HEADER.match(line))
  return False


def _escaped(text: str) -> str:
  """Markdown's `code` as reST's, and all else as plain text."""
  parts = re.split(r"(`[^`]+`)", text)
  for i, part in enumerate(parts):
    if i % 2:
      # reST ends code only before a space or punctuation.
      joint = "\\ " if parts[i + 1][:1].isalnum() else ""
      parts[i] = f"``{part[1:-1]}``{joint}"
    else:
      parts[i] = re.sub(r"([*|\\])|(?<=\w)_(?!\w)", r"\\\g<0>", part)
  return "".join(parts)


def skipped(app, what, name, obj, skip, options):
  """Leaves out what Flax calls, and fields that a class has described."""
  del app, what, options
  if name == "setup" or type(obj).__name__ == "_tuplegetter":
    return True
  return skip


def setup(app):
  """Sphinx calls it."""
  app.connect("autodoc-skip-member", skipped)
  # Before Napoleon, which has Sphinx's usual priority of 500.
  app.connect("autodoc-process-docstring", as_rst, priority=400)
