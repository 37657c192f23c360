"""Measured speed of training, and the time of the paper's schedule at that speed."""

from __future__ import annotations

from workbench.errors import counted
from workbench.experiments.doctor.lines import Line

#: Network and data set of each measurement.
DEFAULTS = (("simplecnn", "digits"), ("vgg16", "cifar100"))
_FIGURE_4 = 4 * 1000 + 2 * 5000  # training images of the six domains of the paper's figure 4
_BATCH = 64  # images of a timed step
_PROTOCOLS = 4  # trainings for each domain


def speed() -> list[Line]:
    """Training images per second of the default networks, from three steps each."""
    return [_line(model, name) for model, name in DEFAULTS]


def _line(model: str, name: str) -> Line:
    from workbench.data.catalog import SOURCES
    from workbench.models.networks import build_network
    from workbench.models.processor import resolve_processor
    from workbench.training.plans import training_plan
    from workbench.training.time_estimate import estimate_seconds
    from workbench.training.time_left import duration

    source, processor = SOURCES[name], resolve_processor("auto", "auto")
    network = build_network(model, source.shape, len(source.classes))
    timed = training_plan(model, source, "paper", epochs=1, batch_size=_BATCH)
    a_second = _BATCH / estimate_seconds(network, source, _BATCH, timed, processor)
    epochs, images = training_plan(model, source, "paper").epochs, sum(source.train_images)
    text = (
        f"{model} on {name}: {a_second:,.0f} training images/s ({processor.device}, "
        f"{processor.precision}); source network, {counted(epochs, 'epoch')} of {images:,} images: "
        f"{duration(epochs * images / a_second)}"
    )
    if source.model == "vgg16":
        target = _PROTOCOLS * epochs * _FIGURE_4 / a_second
        text += f"; figure 4, 24 trainings: at most {duration(target)} a seed"
    return Line("ok", "speed", text)
