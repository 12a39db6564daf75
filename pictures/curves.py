"""The picture of a table: its sensitivities over model time."""

from __future__ import annotations

from PIL import Image

from ..calibration.table import SensitivityTable
from .canvas import FAINT, LINES, Chart, new_canvas, write

WIDTH, HEIGHT = 760, 460
PANELS = (
    ("latent_sensitivity", "latent sensitivity: output change per latent change"),
    ("time_sensitivity", "time sensitivity: output change per unit of model time"),
    ("alignment", "alignment: cosine between both changes"),
    ("output_rms", "rms of the network's output"),
)


def draw_table(table: SensitivityTable, title: str) -> Image.Image:
    """Draw every measured quantity: thin lines the samples, the thick one their mean, as sampling runs."""
    picture, pen = new_canvas(WIDTH, HEIGHT)
    write(pen, (24, 12), title, 15)
    times = table.timestep.tolist()
    write(pen, (WIDTH - 16, 16), f"{table.samples_in_words}, {len(times)} timesteps", 11, FAINT, "ra")
    for index, (name, label) in enumerate(PANELS):
        column, line = index % 2, index // 2
        left, top = 64 + column * 372, 68 + line * 204
        if name not in table.rows:
            write(pen, (left, top + 60), f"{name}: not measured", 12, FAINT)
            continue
        samples = table.rows[name]
        low, high = min(0.0, float(samples.min())), max(0.0, float(samples.max()))
        chart = Chart((left, top, left + 308, top + 142), (times[0], times[-1]), (low, high * 1.05))
        chart.frame(pen, label)
        red, green, blue = (channel // 2 + 20 for channel in LINES[index])
        for row in samples.tolist():
            chart.line(pen, times, row, (red, green, blue), 0.5)
        chart.line(pen, times, table.mean(name) or [], LINES[index], 2)
    write(pen, (WIDTH / 2, HEIGHT - 14), "model time, as sampling runs through it", 11, FAINT, "mm")
    return picture
