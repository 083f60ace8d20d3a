"""From start to signal: the address is said, and who can look."""

import contextlib
import io
import os
import webbrowser
from unittest import mock

from absl.testing import absltest, parameterized

from my3dgen_jax.apps.viewer import serving
from my3dgen_jax.apps.viewer.server import ViewerConfig


class ServingTest(parameterized.TestCase):
  @parameterized.parameters(
    ("127.0.0.1", None, False),
    ("0.0.0.0", None, True),
    ("0.0.0.0", "letters8", False),
  )
  def test_says_who_can_look(self, host, token, warns):
    viewer = mock.Mock(config=ViewerConfig(host=host, token=token))
    viewer.start.return_value = "http://x:1"
    stop = mock.Mock(signal=15)
    out, err = io.StringIO(), io.StringIO()
    with (
      contextlib.redirect_stdout(out),
      contextlib.redirect_stderr(err),
      mock.patch.dict(os.environ, DISPLAY=":0"),
      mock.patch.object(webbrowser, "open") as opened,
    ):
      serving.serve(viewer, stop, open_browser=warns)
    self.assertEqual(
      out.getvalue(), "open http://x:1 (Ctrl-C stops the viewer)\n"
    )
    self.assertEqual("access with --token" in err.getvalue(), warns)
    self.assertEqual(opened.call_count, int(warns))
    viewer.stop.assert_called_once_with()


if __name__ == "__main__":
  absltest.main()
