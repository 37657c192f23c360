"""The one place where all steps meet: source -> responses -> recipe -> protocols -> verdict.

``adapt`` runs them all, ``analyze`` stops at the recipe, ``train`` makes a source network and
``compress`` applies a recipe to a network in memory. Every training and analysis goes through
``recording``, so what is already in the store is not done again.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from workbench import report
from workbench.analysis import Analysis, analyse
from workbench.compression.rebuild import rebuild
from workbench.compression.recipes import Recipe
from workbench.compression.tracing import find_structure
from workbench.conclusion import conclude, write_conclusion
from workbench.data.location import data_folder, is_present
from workbench.data.sets import load_images
from workbench.display import Display
from workbench.errors import NetworkError
from workbench.folder_files import user_path
from workbench.iterating import iterate
from workbench.jobs import source_job
from workbench.keys import key_of
from workbench.planning import SourceTask, Task, check_new_file, resolve, resolve_source
from workbench.processor import Processor, resolve_processor
from workbench.protocols import PROTOCOLS
from workbench.recording import Job, Recorder
from workbench.results import Adaptation
from workbench.rounds import train_seeds
from workbench.runs import StoredRun
from workbench.settings import Settings
from workbench.sources import load_source_images
from workbench.stores import check_uri, database_path, store_uri
from workbench.subject import (
    SourceNetwork,
    Subject,
    check_network,
    check_penalty,
    given_weights,
    load_subject,
    model_parts,
    settings_dict,
)
from workbench.tracking import Store
from workbench.training import save_tensors
from workbench.weights import read_weights
from workbench.work import WEIGHTS_FILE, Work, disk_errors

DEFAULT_OUTPUT = Path("mlruns/work")


def adapt(
    *, display: Display | None = None, fresh_source: bool = True, **options: Any
) -> Adaptation:
    """Specialise a network for a target domain and say what that costs.

    Args:
        display: where progress goes; silent when None.
        fresh_source: whether ``fresh`` means the source network, too.
        **options: the fields of ``settings.Settings``, named as on the command line.

    Returns:
        Recipe, results of every protocol, and verdict.

    Raises:
        WorkbenchError: for anything that the user can mend; see ``errors``.
    """
    display = display or Display()
    task, processor, given, recorder, subject = _prepare(options, display)
    key = adapt_key(subject, given)
    waiting = "another process runs the same adaptation; waiting for it"
    with recorder.work.lock(key, lambda: display.say(waiting)):
        parent, finished = recorder.open_parent(key, task.title, task.params())
        with nullcontext() if finished else recorder.closing(parent):
            own = recorder if fresh_source else replace(recorder, fresh=False)
            source = given or _train_source(task, processor, own)
            analysis = _analyse(subject, source, recorder, parent)
            # A teacher comes before those that follow it, in whatever order they were named.
            order = sorted(task.settings.protocols, key=lambda name: PROTOCOLS[name].distilled)
            done = {
                name: train_seeds(subject, PROTOCOLS[name], source, analysis, recorder, parent)
                for name in order
            }
            rounds = [done[name] for name in task.settings.protocols]
            adaptation = conclude(subject, analysis, rounds, recorder, parent)
            if not finished or adaptation.trained or analysis.measured:
                write_conclusion(adaptation, rounds, recorder, parent)
    return adaptation


def analyze(*, display: Display | None = None, **options: Any) -> Recipe:
    """Measure the target's responses and make the recipe; no protocol is trained.

    Arguments and errors are those of ``adapt``; a source network is trained when no weights
    are given and none is recorded.
    """
    return predict_costs(display=display, **options).recipe


def predict_costs(*, display: Display | None = None, **options: Any) -> Analysis:
    """``analyze``, with what the full and the compressed network cost.

    Arguments and errors are those of ``analyze``.
    """
    display = display or Display()
    task, processor, given, recorder, subject = _prepare(options, display)
    source = given or _train_source(task, processor, recorder)
    return _analyse(subject, source, recorder, None)


def compress(
    model: nn.Module, recipe: Recipe, shape: tuple[int, int, int] = (3, 32, 32)
) -> nn.Module:
    """The smaller network that a recipe describes, with the kept filters' weights.

    Args:
        model: the full network (see ``compression.tracing`` for what can be compressed); left
            as it is.
        recipe: from ``analyze``, for this network.
        shape: channels, height, width of an image: the network runs once to find its groups.

    Raises:
        NetworkError: when the recipe does not fit the network.
    """
    structure = find_structure(model, shape)
    layers = {group.name: group.filters for group in structure.groups}
    wanted = {layer.layer: layer.filters for layer in recipe.layers}
    if layers != wanted:
        name = next(n for n in (*wanted, *layers) if layers.get(n) != wanted.get(n))
        raise NetworkError(
            f"the recipe is for another network: layer '{name}' has {layers.get(name, 'no')} "
            f"filters here and {wanted.get(name, 'no')} in the recipe"
        )
    return rebuild(model, recipe.kept, structure)


def train(
    out: Path | str,
    *,
    display: Display | None = None,
    device: str = Settings.device,
    precision: str = Settings.precision,
    data_dir: Path | None = None,
    tracking_uri: str | None = None,
    output: Path | None = None,
    fresh: bool = False,
    **options: Any,
) -> float:
    """Train a source network by itself and save its weights.

    Args:
        out: safetensors file to write; one that is there is not overwritten.
        **options: those of ``planning.resolve_source``.

    Returns:
        Test accuracy on all classes of the source, in [0, 1].

    Raises:
        WorkbenchError: for anything that the user can mend; see ``errors``.
    """
    task = resolve_source(device=device, precision=precision, **options)
    check_penalty(task)
    out = check_new_file(user_path(out), "--out")
    processor = resolve_processor(device, precision)
    display = display or Display()
    make_job = partial(_source_job, task, processor, data_folder(data_dir), display)
    job = make_job() if task.source.folder else None  # as in _prepare
    recorder = open_recorder(task.source.name, processor, display, tracking_uri, output, fresh)
    job = job or make_job()
    run = _train_once(job, recorder)
    weights = recorder.store.fetch(run, WEIGHTS_FILE)
    assert weights is not None  # the recorder returns whole runs only
    with disk_errors(out.parent):
        # The card anew: a run of an earlier version has less to say of itself.
        save_tensors(read_weights(weights), out, job.card.metadata())
    return run.metrics["test_accuracy"]


# --- the steps -----------------------------------------------------------------------------


def _prepare(
    options: dict[str, Any], display: Display
) -> tuple[Task, Processor, SourceNetwork | None, Recorder, Subject]:
    """Everything that can go wrong before any work is done, cheapest first."""
    task, processor, given = check_call(options)
    settings = task.settings
    folder = data_folder(settings.data_dir)
    for name in task.known_sets:
        if not is_present(name, folder):
            load_images(name, "train", folder)  # a store is not made for nothing
    # A folder may turn out to be unusable, and no store is made for that.
    subject = load_subject(task, processor, display.say) if task.domain.folder else None
    recorder = open_recorder(
        task.source.name,
        processor,
        display,
        settings.tracking_uri,
        settings.output,
        settings.fresh,
    )
    return task, processor, given, recorder, subject or load_subject(task, processor)


def check_call(options: dict[str, Any]) -> tuple[Task, Processor, SourceNetwork | None]:
    """What a call asks for, and its source weights; all that needs neither images nor a store.

    Raises:
        WorkbenchError: for anything that the user can mend; see ``errors``.
    """
    task = resolve(Settings.of(**options))
    processor = resolve_processor(task.settings.device, task.settings.precision)
    check_network(task)
    return task, processor, given_weights(task)


def open_work(output: Path | None, tracking_uri: str | None) -> Work:
    """The work folder, with its locks beside a SQLite store; nothing is made yet."""
    folder = output or DEFAULT_OUTPUT
    check_uri(store_uri(tracking_uri))
    database = database_path(store_uri(tracking_uri))
    locks = database.with_name(f"{database.name}.locks") if database else folder / ".locks"
    return Work(folder, locks)


def open_recorder(
    experiment: str,
    processor: Processor,
    display: Display,
    tracking_uri: str | None,
    output: Path | None,
    fresh: bool,
) -> Recorder:
    """The store and the work folder, both seen to be writable."""
    work = open_work(output, tracking_uri)
    work.check()
    store = Store(tracking_uri)
    number = store.experiment(experiment)
    work.prepare()
    return Recorder(store, number, work, processor, display, fresh)


def adapt_key(subject: Subject, given: SourceNetwork | None) -> str:
    """Key of a whole adaptation: the same call on the same data goes on in the same run."""
    settings = settings_dict(subject.task, subject.processor, subject)
    settings.pop("torch")
    weights = given.fingerprint if given else None
    parts = {**subject.data, **model_parts(subject.task.model, subject.task.source)}
    parts.pop("model")  # among the settings
    return key_of("adapt", {**parts, "settings": settings, "weights": weights})


def _analyse(
    subject: Subject, source: SourceNetwork, recorder: Recorder, parent: str | None
) -> Analysis:
    steps = subject.task.settings.steps
    return (analyse if steps == 1 else iterate)(subject, source, recorder, parent)


def _train_source(task: Task, processor: Processor, recorder: Recorder) -> SourceNetwork:
    """The source network of an adaptation without ``--weights``, trained once for all."""
    folder = data_folder(task.settings.data_dir)
    source = SourceTask(task.trained_on, task.model, task.source_plan, strict=task.settings.strict)
    run = _train_once(_source_job(source, processor, folder, recorder.display), recorder)
    path = recorder.store.fetch(run, WEIGHTS_FILE)
    assert path is not None  # the recorder returns whole runs only
    return SourceNetwork(read_weights(path), run.run_id)


def _source_job(task: SourceTask, processor: Processor, folder: Path, display: Display) -> Job:
    train, test = load_source_images(task.source, folder, task.strict, display.say)
    return source_job(task, processor, train, test)


def _train_once(job: Job, recorder: Recorder) -> StoredRun:
    """The run of a source network's training."""
    run, trained = recorder.train(job, None, lambda outcome: True)
    accuracy = report.percent(run.metrics["test_accuracy"])
    how = "trained" if trained else "found in the store"
    recorder.display.say(f"source network: {how}, {accuracy} on all classes of {job.source.name}")
    return run
