"""Helpers of the tests of figures: they read a figure as it is drawn."""

from unittest import mock

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def title(figure):
    return figure._suptitle.get_text()  # `get_suptitle` came with matplotlib 3.8.


def assert_texts_fit(figure):
    """Assert that every text is inside the figure, that no two texts overlap, and that the title is above all axes."""
    boxes, draw = [], Text.draw

    def note(text, renderer):
        # `findobj` would also find the labels of ticks beyond the end of an axis, which are not drawn.
        draw(text, renderer)
        if text.get_visible() and text.get_text():
            # The box of an annotation would include its leader line. Only the words count here.
            boxes.append((text.get_text(), Text.get_window_extent(text, renderer)))

    with mock.patch.object(Text, "draw", note):
        FigureCanvasAgg(figure).draw()
    assert boxes
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{text!r} is cut"
    below = figure._suptitle.get_window_extent().y0
    assert all(axes.get_window_extent().y1 < below for axes in figure.axes), "the title overlaps the axes below it"
    for k, (text, box) in enumerate(boxes):
        for other, its_box in boxes[:k]:
            across = min(box.x1, its_box.x1) - max(box.x0, its_box.x0)
            down = min(box.y1, its_box.y1) - max(box.y0, its_box.y0)
            assert min(across, down) < 1, f"{text!r} overlaps {other!r}"
