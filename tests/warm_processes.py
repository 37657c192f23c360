"""The real command line in processes that are forked from one that has loaded the libraries.

Importing torch, MLflow and the rest takes a new process about eight seconds of processor time. Here
a server imports them once, computes nothing, and forks a process for each command. The process has
its caller's folder, variables, arguments and standard streams. It has an id of its own, so it can
be interrupted and killed like any other.

All processes of pytest share one server, which ends with the last of them.

Usage of this file as a program:
    warm_processes.py serve SOCKET EMPTY_STORE
    warm_processes.py SOCKET ARGUMENT...         (as ``workbench ARGUMENT...``)
"""

import ast
import atexit
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

#: A message of four bytes, from a process that needs the server; others are the length of an order.
HELD = bytes(4)

#: The first one sets the environment of MLflow.
LOADED = (
    "workbench.experiments.cell_kinds",
    "workbench.experiments.network_search.shrink",
    "workbench.deployment.export",
    "workbench.deployment.predict",
    "workbench.adaptation.results.run_report",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "torch._dynamo",
    "torch_pruning",
    "sklearn.datasets",
    "matplotlib.backends.backend_agg",
    "rich.progress",
    "uvicorn",
    "workbench.experiments.service.server",
)


class WarmProcess:
    """A command, with the attributes and methods of ``subprocess.Popen`` that tests use.

    Args:
        address: path of the server's socket.
        words: the arguments of ``workbench``, or of the file ``script``.
        streams: file descriptors of its standard streams, -1 for one that is closed; with None,
            stdout and stderr are pipes.
    """

    def __init__(self, address, words, cwd, streams=None, script=None):
        self.returncode, self.stdout, self.stderr = None, None, None
        own = streams or self._pipes()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        order = {
            "words": [*map(str, words)],
            "cwd": str(cwd),
            "script": script and str(script),
            "environment": dict(os.environ),
            "closed": [number for number, each in enumerate(own) if each < 0],
        }
        message = json.dumps(order).encode()
        with open(os.devnull) as nothing:
            passed = [nothing.fileno() if each < 0 else each for each in own]
            socket.send_fds(self._socket, [len(message).to_bytes(4)], passed)
        self._socket.sendall(message)
        self._answers = self._socket.makefile("r")
        self.pid = int(self._answers.readline())
        if not streams:
            for each in own:
                os.close(each)

    def _pipes(self):
        own = [os.open(os.devnull, os.O_RDONLY)]
        for name in ("stdout", "stderr"):
            reading, writing = os.pipe()
            own.append(writing)
            setattr(self, name, os.fdopen(reading, encoding="utf-8"))
        return own

    def wait(self, timeout=None):
        if self.returncode is None:
            self._socket.settimeout(timeout)
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._socket.close()
        return self.returncode

    def poll(self):
        if self.returncode is None:
            self._socket.setblocking(False)
            try:
                ended = bool(self._socket.recv(1, socket.MSG_PEEK))
            except BlockingIOError:
                ended = False
            self._socket.setblocking(True)
            if ended:
                self.wait()
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def communicate(self, timeout=None):
        found = {}

        def read(name):
            with getattr(self, name) as stream:
                found[name] = stream.read()

        readers = [threading.Thread(target=read, args=(name,)) for name in ("stdout", "stderr")]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        return found["stdout"], found["stderr"]


class Server:
    """The server of a folder, started by the first process of pytest that needs it.

    Args:
        folder: short enough for the path of a socket, 100 characters.
        empty_store: returns the path of a database that MLflow has set up.
    """

    def __init__(self, folder, empty_store):
        self.address, self._held = f"{folder}/warm", None
        self._empty_store = empty_store

    def start(self):
        """Start the server if it does not run, and keep it; returns the address of its socket."""
        if self._held is None:
            from filelock import FileLock  # not for a program that is a command

            with FileLock(f"{self.address}.lock"):
                if not os.path.exists(self.address):
                    self._start()
            self._held = socket.socket(socket.AF_UNIX)
            self._held.connect(self.address)
            self._held.sendall(HELD)
        return self.address

    def _start(self):
        folders = os.pathsep.join(path for path in sys.path if path)
        server = subprocess.Popen(
            [sys.executable, __file__, "serve", self.address, str(self._empty_store())],
            cwd="/", stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": folders}, start_new_session=True,
        )  # fmt: skip
        with server.stdout as said:
            assert said.readline() == "ready\n"
        server.returncode = 0  # it outlives this process if another one needs it

    def leave(self):
        """Let the server end, if no other process needs it."""
        if self._held is not None:
            self._held.close()

    def spawn(self, *words, cwd, script=None):
        """Start ``workbench``, or a Python file, with these arguments."""
        return WarmProcess(self.start(), words, cwd, script=script)


def serve(address, empty_store):
    """Import the libraries and fork a process for each command."""
    for name in LOADED:
        importlib.import_module(name)
    _help(empty_store)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    ends, writing = os.pipe()  # has a byte when a command ends
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting = selectors.DefaultSelector()
    waiting.register(listening, selectors.EVENT_READ)
    waiting.register(ends, selectors.EVENT_READ)
    print("ready", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    callers, holders = {}, set()
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listening:
                caller, _ = listening.accept()
                order, streams = _receive(caller)
                if order is None:
                    holders.add(caller)
                    waiting.register(caller, selectors.EVENT_READ)
                else:
                    pid = _fork(order, streams, (caller, listening, waiting, *callers.values()))
                    callers[pid] = caller
            elif key.fileobj == ends:
                os.read(ends, 100)
                _report_ends(callers)
            else:
                waiting.unregister(key.fileobj)
                holders.remove(key.fileobj)
                key.fileobj.close()
                if not holders:
                    os._exit(0)


def _fork(order, streams, own):
    """Start a command, and tell its caller, the first of the server's own files, its id."""
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for each in own:
            each.close()
        _become(order, streams)
    for each in streams:
        os.close(each)
    own[0].sendall(f"{pid}\n".encode())
    return pid


def _help(empty_store):
    """What ``conftest.py`` does in its own process; and two results that never change."""
    from quick_surroundings import leave_to_the_system, make_quick
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from workbench.data import known_sets
    from workbench.reporting.report import html

    make_quick(setattr, lambda: empty_store)
    event.listen(Engine, "connect", leave_to_the_system)
    known_sets._digits()
    # The bundler has threads, which do not survive a fork: a process of its own calls it.
    code = "import workbench.reporting.report.html as html; print(ascii(html._library()))"
    text = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    library = ast.literal_eval(text.decode())
    html._library = lambda: library


def _receive(caller):
    size, streams, _, _ = socket.recv_fds(caller, 4, 3)
    if size == HELD:
        return None, ()
    left, parts = int.from_bytes(size), []
    while left:
        parts.append(caller.recv(left))
        left -= len(parts[-1])
    return json.loads(b"".join(parts)), streams


def _report_ends(callers):
    for pid in list(callers):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            with callers.pop(pid) as caller:
                caller.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(order, streams):
    """Become ``python -m workbench`` with these arguments, or another program."""
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if number in order["closed"]:
            os.close(number)
            setattr(sys, name, None)
        else:
            opened = open(number, "w" if number else "r", 1, "utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, opened)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    sys.path.insert(0, order["cwd"])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    script = order["script"]
    sys.argv = [script or "workbench", *order["words"]]
    try:
        if script:
            runpy.run_path(script, run_name="__main__")
        else:
            runpy.run_module("workbench", run_name="__main__")
    except SystemExit as ended:
        status = ended.code
    else:
        status = 0
    atexit._run_exitfuncs()
    for each in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):
            each.flush()
    os._exit(status or 0)


def call():
    """Run one command with this process's streams; its exit status."""
    streams = []
    for number in range(3):
        try:
            os.fstat(number)
            streams.append(number)
        except OSError:
            streams.append(-1)
    for number in range(3):  # no other file may take the place of a closed stream
        if streams[number] < 0:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    return WarmProcess(sys.argv[1], sys.argv[2:], os.getcwd(), streams).wait()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    sys.exit(call())
