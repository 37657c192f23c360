"""Speed and accuracy of int8 files against float32 files of the same networks, in onnxruntime.

    python benchmarks/int8.py RUN [RUN ...] [--rounds 40] [--threads 1] [--tracking-uri URI]

RUN is the id of a training's run or a weight file. For each network, the float32 and the int8 file
take turns at batch 1 and at batch 64. The ratios, the accuracies on all test images and the
processor's int8 instructions are printed. Goal on a processor with VNNI: at least 2.5x at both
batches, with accuracies within 0.5 points.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from timing import ratio_line, take_turns

from workbench.adaptation.results.run_images import find_images
from workbench.compression.narrow_networks import load_network
from workbench.deployment.file_evaluation import evaluate_file
from workbench.deployment.onnx_files import open_onnx, write_onnx
from workbench.deployment.quantisation.int8 import make_int8
from workbench.deployment.run_weights import find_weights
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import TrainedNetwork
from workbench.models.processor import int8_instructions, processor_name
from workbench.models.weight_files import read_card
from workbench.reporting.statistics import paired_p_value
from workbench.reporting.tables import byte_count


def compare(name, options):
    """Print the sizes, the accuracies and the ratios of one network."""
    located = find_weights(name, options.tracking_uri)
    card = read_card(located.weights)
    network = load_network(located.weights, card.model)
    images = find_images(located, card, None, options.tracking_uri)
    if isinstance(images, str):
        raise SystemExit(f"{name}: {images}")
    trained = TrainedNetwork(network, card, images.train)
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        write_onnx(network, card, plain)
        report = make_int8(trained, DeploymentSettings(), small)
        runs = {path: open_onnx(path, options.threads)[1] for path in (plain, small)}
        found = {path: evaluate_file(run, images.test, card, path) for path, run in runs.items()}
        before, after = (100 * found[path].hits / found[path].images for path in (plain, small))
        p_value = paired_p_value([found[plain].correct], [found[small].correct])
        label = located.run.params["protocol"] if located.run else Path(name).name
        print(
            f"{images.domain} {label}: {byte_count(plain.stat().st_size)} -> "
            f"{byte_count(small.stat().st_size)}; {before:.2f} % -> {after:.2f} % of "
            f"{found[plain].images} test images (p = {p_value:.2g}); "
            f"{report.details['weight_bits']}-bit weights, {report.details['ranges']} ranges; "
            f"float32: {', '.join(report.left_float) or 'nothing'}"
        )
        for size in (1, 64):
            batch = np.random.default_rng(0).standard_normal((size, *card.shape)).astype("f4")
            times = take_turns(
                {path: (lambda run=run, batch=batch: run(batch)) for path, run in runs.items()},
                options.rounds if size == 1 else max(5, options.rounds // 4),
            )
            medians = [1000 * float(np.median(times[path])) for path in (plain, small)]
            print(
                f"  batch {size}: {medians[0]:.2f} -> {medians[1]:.2f} ms, "
                f"{ratio_line(times[plain], times[small])}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tracking-uri")
    options = parser.parse_args()
    print(
        f"{processor_name()}, int8 instructions: {int8_instructions() or 'none'}, "
        f"{options.threads} thread(s), onnxruntime {onnxruntime.__version__}, "
        f"torch {torch.__version__}, n = {options.rounds}"
    )
    for name in options.runs:
        compare(name, options)


if __name__ == "__main__":
    main()
