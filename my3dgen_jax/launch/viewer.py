"""Shows people in the browser, to turn, edit, compare and save.

    my3dgen viewer --run=runs/obama
    my3dgen viewer --runs=runs --out=saved
    my3dgen viewer --bank=people.bank --person=obama \\
        --checkpoint=checkpoints/ffhq

--runs takes runs, adapter files (.safetensors) and folders of either. Adapters
alone and banks need --checkpoint, their base. --person selects people of a
--bank; without it, all are shown if they are few. --checkpoint alone shows the
base itself.

The viewer accepts connections from this machine only. From another machine, use
ssh -L 8080:localhost:8080 MACHINE. --host=0.0.0.0 accepts connections from
anywhere; --share requests a public address from viser's service. Both admit
only those who know the --token, which --share requires.
"""

from my3dgen_jax.apps.viewer import serving
from my3dgen_jax.apps.viewer.people import People
from my3dgen_jax.apps.viewer.server import Viewer, ViewerConfig
from my3dgen_jax.demo import edits
from my3dgen_jax.errors import FlagError
from my3dgen_jax.jobs.devices import local_devices
from my3dgen_jax.jobs.interrupts import stopping_gently
from my3dgen_jax.launch.support import cli, config_flags

_RUN = cli.string("run", None, "Folder of a personalize run.")
_RUNS = cli.listing("runs", [], "Runs, adapter files, or folders of either.")
_BANK = cli.string("bank", None, "Folder of a bank of adapters.")
_PERSON = cli.listing(
  "person", [], "Ids of the bank's people to show; default: everyone."
)
_CHECKPOINT = cli.string(
  "checkpoint", None, "Base generator's folder; for runs: only if it has moved."
)
_DIRECTIONS = cli.listing(
  "directions", [], "Direction files (.npy); default: the demo's smile and age."
)
_OPEN = cli.boolean(
  "open", False, "Open the page in this machine's browser, if it has a display."
)
_CONFIG = config_flags.define(ViewerConfig)
_NOBODY = "nothing to show; give --run, --runs, --bank or --checkpoint"


def main():
  config = _CONFIG()
  if config.share and not config.token:
    raise FlagError("--share makes the viewer public; --token is required")
  config.validate()
  places = [*filter(None, [_RUN.value]), *_RUNS.value]
  if not (places or _CHECKPOINT.value or _BANK.value):
    raise FlagError(_NOBODY)
  people = People(
    places,
    checkpoint=_CHECKPOINT.value,
    bank=_BANK.value,
    of_bank=_PERSON.value,
    devices=local_devices(1),
    precision=cli.precision(),
  )
  with stopping_gently() as stop:
    viewer = Viewer(
      people,
      config,
      directions=edits.directions_for(
        people.load(people.first()[0]).base, _DIRECTIONS.value
      ),
    )
    serving.serve(viewer, stop, open_browser=_OPEN.value)
  print("closed")


if __name__ == "__main__":
  cli.run(main)
