"""Draws docs/pictures/cameras.svg: the world, a head and a camera.

python docs/cameras_picture.py
"""

import math
import pathlib

TARGET = pathlib.Path(__file__).parent / "pictures" / "cameras.svg"
WIDTH, HEIGHT = 640, 400
ORIGIN, SCALE = (250, 235), 88  # pixels, and pixels a world unit
AXES = {"x": "#c0392b", "y": "#1e8449", "z": "#2471a3"}


def project(x: float, y: float, z: float) -> tuple[float, float]:
  """Where a point of the world is drawn: from above, x to the right."""
  return (
    ORIGIN[0] + SCALE * (0.86 * x + 0.78 * z),
    ORIGIN[1] - SCALE * (y + 0.2 * x - 0.36 * z),
  )


def arrow(start, end, name: str, label: str) -> str:
  """A line with a head and a label at its end."""
  (x0, y0), (x1, y1) = project(*start), project(*end)
  angle = math.atan2(y1 - y0, x1 - x0)
  sides = [
    (x1 - 10 * math.cos(angle + turn), y1 - 10 * math.sin(angle + turn))
    for turn in (-0.4, 0.4)
  ]
  points = " ".join(f"{x:.1f},{y:.1f}" for x, y in [(x1, y1), *sides])
  color = AXES[name]
  tx, ty = x1 + 14 * math.cos(angle), y1 + 14 * math.sin(angle) + 5
  anchor = "end" if math.cos(angle) < -0.3 else "start"
  return (
    f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" '
    f'stroke="{color}" stroke-width="3"/>'
    f'<polygon points="{points}" fill="{color}"/>'
    f'<text x="{tx:.1f}" y="{ty:.1f}" fill="{color}" '
    f'text-anchor="{anchor}">{label}</text>'
  )


def along(eye, vector, length: float):
  """The point `length` from `eye` along `vector`."""
  return tuple(e + length * v for e, v in zip(eye, vector))


def main():
  """Writes the picture."""
  yaw, radius = 0.45, 2.7
  eye = (radius * math.sin(yaw), 0.0, radius * math.cos(yaw))
  forward = tuple(-value / radius for value in eye)
  right = (math.cos(yaw), 0.0, -math.sin(yaw))
  down = (0.0, -1.0, 0.0)
  head, camera = project(0, 0, 0), project(*eye)
  front = project(0, 0, radius)
  arc = " ".join(
    "{:.1f},{:.1f}".format(
      *project(1.5 * math.sin(yaw * i / 12), 0, 1.5 * math.cos(yaw * i / 12))
    )
    for i in range(13)
  )
  tx, ty = project(1.62 * math.sin(yaw / 2), 0, 1.62 * math.cos(yaw / 2))
  parts = [
    f'<ellipse cx="{head[0]}" cy="{head[1]}" rx="40" ry="52" '
    'fill="#e8d3bd" stroke="#8d6e53" stroke-width="2"/>',
    f'<text x="{head[0] - 52:.0f}" y="{head[1] + 78:.0f}" fill="#555">'
    "head, looks along +z</text>",
    arrow((0, 0, 0), (1.6, 0, 0), "x", "x"),
    arrow((0, 0, 0), (0, 1.6, 0), "y", "y, up"),
    arrow((0, 0, 0), (0, 0, 1.9), "z", "z"),
    f'<line x1="{head[0]}" y1="{head[1]}" x2="{camera[0]:.1f}" '
    f'y2="{camera[1]:.1f}" stroke="#777" stroke-dasharray="5 5"/>',
    f'<line x1="{head[0]}" y1="{head[1]}" x2="{front[0]:.1f}" '
    f'y2="{front[1]:.1f}" stroke="#bbb" stroke-dasharray="2 6"/>',
    f'<polyline points="{arc}" fill="none" stroke="#555" stroke-width="2"/>',
    f'<text x="{tx:.1f}" y="{ty + 6:.1f}" fill="#555">yaw</text>',
    arrow(eye, along(eye, right, 0.75), "x", "right"),
    arrow(eye, along(eye, down, 0.75), "y", "down"),
    arrow(eye, along(eye, forward, 0.75), "z", ""),
    f'<circle cx="{camera[0]:.1f}" cy="{camera[1]:.1f}" r="8" fill="#333"/>',
    f'<text x="{camera[0] + 16:.1f}" y="{camera[1] + 24:.1f}" fill="#333">'
    "camera, 2.7 away</text>",
    f'<text x="{camera[0] - 84:.1f}" y="{camera[1] - 4:.1f}" '
    f'fill="{AXES["z"]}" text-anchor="end">forward</text>',
  ]
  TARGET.write_text(
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
    'font-family="sans-serif" font-size="16">'
    # Dark pages too: the lines are drawn for paper.
    f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fafafa"/>'
    + "".join(parts)
    + "</svg>\n"
  )


if __name__ == "__main__":
  main()
