"""Shows files of heads in other viewers: three.js, Spark, PlayCanvas.

They run in headless Chromium and share no code with the writers of the files.
PlayCanvas is the engine of SuperSplat. Needs Playwright, Chromium, and a folder
of npm packages:

    npm install three @sparkjsdev/spark playcanvas gltf-validator
"""

import base64
import contextlib
import http.server
import io
import json
import pathlib
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from my3dgen_jax.ops import cameras
from tests.support import browser as browser_lib

_PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<style>body { margin: 0 } canvas { display: block }</style>
<script type="importmap">{"imports": {
  "three": "/modules/three/build/three.module.js",
  "three/addons/": "/modules/three/examples/jsm/",
  "spark": "/modules/@sparkjsdev/spark/dist/spark.module.js",
  "playcanvas": "/modules/playcanvas/build/playcanvas.mjs"}}</script>
<script type="module">
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

window.open3d = async (address, side, background) => {
  const renderer = new THREE.WebGLRenderer(
    { antialias: false, preserveDrawingBuffer: true });
  renderer.setSize(side, side);
  document.body.append(renderer.domElement);
  const scene = new THREE.Scene();
  scene.background = background === null ? null : new THREE.Color(background);
  const camera = new THREE.PerspectiveCamera(15, 1, 0.1, 10);
  camera.matrixAutoUpdate = false;
  let frames = 1;
  if (address.endsWith(".glb")) {
    const { scene: model } = await new GLTFLoader().loadAsync(address);
    // Show colors without lighting; textured materials are unlit already.
    model.traverse((one) => {
      if (one.isMesh && !one.material.map)
        one.material = new THREE.MeshBasicMaterial({ vertexColors: true });
    });
    scene.add(model);
  } else {
    const { SplatMesh, SparkRenderer } = await import("spark");
    scene.add(new SparkRenderer({ renderer }));
    const splats = new SplatMesh({ url: address });
    await splats.initialized;
    scene.add(splats);
    window.count = splats.packedSplats?.numSplats ?? splats.numSplats;
    frames = 4;  // it sorts between frames
  }
  window.look = async (matrix, fov) => {
    camera.fov = fov;
    camera.updateProjectionMatrix();
    camera.matrix.fromArray(matrix);
    camera.matrixWorld.copy(camera.matrix);
    camera.matrixWorldInverse.copy(camera.matrix).invert();
    camera.matrix.decompose(camera.position, camera.quaternion, camera.scale);
    for (let i = 0; i < frames; i++) {
      renderer.render(scene, camera);
      await new Promise((done) => setTimeout(done, frames > 1 ? 150 : 0));
    }
    return renderer.domElement.toDataURL("image/png");
  };
};

window.openPlayCanvas = async (address, side) => {
  const pc = await import("playcanvas");
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  document.body.append(canvas);
  const app = new pc.Application(canvas, { graphicsDeviceOptions: {
    antialias: false, preserveDrawingBuffer: true,
    deviceTypes: [pc.DEVICETYPE_WEBGL2] } });
  app.setCanvasFillMode(pc.FILLMODE_NONE, side, side);
  app.start();
  const asset = new pc.Asset("head", "gsplat", { url: address });
  app.assets.add(asset);
  await new Promise((done, fail) => {
    asset.once("load", done);
    asset.once("error", fail);
    app.assets.load(asset);
  });
  const head = new pc.Entity(), eye = new pc.Entity();
  head.addComponent("gsplat", { asset });
  eye.addComponent("camera", { clearColor: new pc.Color(0, 0, 0),
    nearClip: 0.1, farClip: 10 });
  app.root.addChild(head);
  app.root.addChild(eye);
  window.count = asset.resource.numSplats ?? asset.resource.gsplatData.numSplats;
  window.look = async (matrix, fov) => {
    const world = new pc.Mat4();
    world.data.set(matrix);
    eye.setPosition(world.getTranslation());
    eye.setRotation(new pc.Quat().setFromMat4(world));
    eye.camera.fov = fov;
    // It sorts in a worker, between frames.
    await new Promise((done) => setTimeout(done, 600));
    return await new Promise((done) => app.once("frameend", () =>
      done(canvas.toDataURL("image/png"))));
  };
};
window.ready = true;
</script>"""


class Shown:
  """A file that is open in the browser.

  Attributes:
    problems: errors on the page's console.
    count: number of splats that the reader found; None for meshes.
  """

  def __init__(self, page: Any, problems: list[str]):
    self._page = page
    self.problems = problems
    self.count = page.evaluate("window.count ?? null")

  def look(self, c: np.ndarray, side: int) -> np.ndarray:
    """What a camera sees, [side, side, 3] in [0, 1].

    Args:
      c: [25], camera label with the principal point in the center.
      side: side of the picture, pixels; the browser's picture is a multiple of
        it, and averaged.
    """
    cam2world, intrinsics = map(np.asarray, cameras.unpack_label(c))
    # OpenGL's cameras have y up and look along -z; matrices are column-major.
    matrix = cam2world @ np.diag([1.0, -1.0, -1.0, 1.0])
    fov = np.degrees(2 * np.arctan(0.5 / intrinsics[1, 1]))
    address = self._page.evaluate(
      "([matrix, fov]) => window.look(matrix, fov)",
      [matrix.T.ravel().tolist(), float(fov)],
    )
    data = base64.b64decode(address.partition(",")[2])
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) / 255
    fine = picture.shape[0] // side
    return picture.reshape(side, fine, side, fine, 3).mean(axis=(1, 3))


def open_offline(
  chromium: Any, path: pathlib.Path, script: str = "", **options: Any
) -> tuple[Any, list[str]]:
  """Opens the page of a head from its file, offline.

  Args:
    chromium: Playwright's browser.
    path: the page's file.
    script: JavaScript to run before the page's own.
    **options: options of Playwright's context, e.g. its viewport.

  Returns: the page, once its head can be turned (or at once if a script is
    given); and the list that console messages, errors and requests are added
    to.
  """
  page, problems = chromium.new_context(**options).new_page(), []
  page.on("console", lambda one: problems.append(one.text))
  page.on("pageerror", lambda error: problems.append(str(error)))
  page.on(
    "request",
    lambda one: (
      None
      if one.url.startswith(("file:", "data:"))
      else problems.append(one.url)
    ),
  )
  page.context.set_offline(True)
  page.add_init_script(script)
  page.goto(path.as_uri())
  if not script:
    page.wait_for_selector("body.turns")
  return page, problems


def painted(page: Any, **view: Any) -> np.ndarray:
  """The picture that the page of a head draws, [size, size, 3] in [0, 1].

  Args:
    page: a page from `open_offline`.
    **view: the view, as for `Head.view` in head.js.
  """
  found = page.evaluate("view => head.view(view)", view)
  shape = (found["size"], found["size"], 4)
  return np.reshape(found["pixels"], shape)[..., :3] / 255


@contextlib.contextmanager
def opened(
  path: pathlib.Path,
  modules: pathlib.Path,
  *,
  pixels: int = 512,
  background: str | None = None,
  viewer: str = "three",
) -> Iterator[Shown]:
  """Opens a .glb file, or splats as .ply or .spz, in a browser.

  Args:
    path: the file.
    modules: folder of npm packages.
    pixels: side of the browser's picture.
    background: CSS color of the background; None: black.
    viewer: "three", which shows splats with Spark, or "playcanvas", which shows
      .ply files of splats on black.
  """

  class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the page, the packages, and the file."""

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
      pass

    def translate_path(self, path):
      name = path.partition("?")[0]
      if name.startswith("/modules/"):
        return str(modules / name.removeprefix("/modules/"))
      return str(pathlib.Path(folder) / name.lstrip("/"))

  with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, "index.html").write_text(_PAGE)
    pathlib.Path(folder, f"head{path.suffix}").write_bytes(path.read_bytes())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
      with browser_lib.chromium() as browser:
        page = browser.new_page(viewport={"width": pixels, "height": pixels})
        problems: list[str] = []
        page.on(
          "console",
          lambda one: (
            problems.append(one.text) if one.type == "error" else None
          ),
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        page.wait_for_function("window.ready")
        opener = {"three": "open3d", "playcanvas": "openPlayCanvas"}[viewer]
        page.evaluate(
          f"([address, side, color]) => window.{opener}(address, side, color)",
          [f"/head{path.suffix}", pixels, background],
        )
        yield Shown(page, problems)
    finally:
      server.shutdown()
      server.server_close()


def gltf_issues(path: pathlib.Path, modules: pathlib.Path) -> dict[str, Any]:
  """Results of Khronos' validator: numErrors, numWarnings, messages."""
  program = (
    'const v = require(process.argv[1] + "/gltf-validator");'
    "v.validateBytes(new Uint8Array(require('fs').readFileSync("
    "process.argv[2]))).then((r) => console.log(JSON.stringify(r.issues)));"
  )
  done = subprocess.run(
    ["node", "-e", program, str(modules.resolve()), str(path)],
    check=True,
    capture_output=True,
    text=True,
  )
  return json.loads(done.stdout)


def save_rows(path: str, rows: Any):
  """Writes pictures as a grid: rows of [H, W, 3] in [0, 1]."""
  picture = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
  Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(path)
