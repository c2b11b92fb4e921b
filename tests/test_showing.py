"""Pictures bring their text along, and progress and notices stay out of a notebook's red boxes."""

from __future__ import annotations

import sys
from base64 import b64decode

import nbformat
import pytest

from brainssl_utils import showing

TEXT = 'Left: A < B & "C".\nRight: the rest.'


def test_a_picture_is_found_again_with_its_text():
    output = nbformat.v4.new_output("display_data", {"text/html": showing.picture(b"a png", TEXT)})
    source, text = showing.picture_of(output)
    assert b64decode(source.partition(",")[2]) == b"a png"
    assert text == " ".join(TEXT.split())
    assert showing.picture_of(nbformat.v4.new_output("display_data", {"text/html": "<b>a table</b>"})) is None
    assert showing.picture_of(nbformat.v4.new_output("stream", text="words")) is None


@pytest.mark.parametrize("notebook", [True, False])
def test_progress_and_notices_are_printed_in_a_notebook_alone(notebook, capsys, monkeypatch):
    monkeypatch.setattr(showing, "in_notebook", lambda: notebook)
    with showing.progress_bar(2, "training", "epoch") as bar:
        bar.update(2)
    if notebook:
        showing.notice("odd code")
    else:
        with pytest.warns(UserWarning, match="odd code") as told:
            showing.notice("odd code", stacklevel=1)
        assert told[0].filename == __file__
    said = capsys.readouterr()
    shown, other = (said.out, said.err) if notebook else (said.err, said.out)
    assert "training" in shown and "2/2" in shown and not other
    assert ("odd code" in said.out) == notebook


def test_outside_a_kernel_nothing_is_a_notebook(monkeypatch):
    assert not showing.in_notebook()
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert not showing.in_notebook()
