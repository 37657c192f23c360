"""The limits of the fuzz tests themselves: each kind of fault is seen."""

import sys

import limits
import numpy as np
import pytest
from limits import Hang, fault_of

from workbench.errors import SettingsError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def _waiting():
    while True:
        pass


def _says():
    raise SettingsError("no")


def test_what_is_explained_is_no_fault():
    assert fault_of("m", _says) is None
    assert fault_of("m", lambda: None) is None


def test_another_exception_is_a_fault_with_its_mutant():
    found = fault_of("m 3", lambda: {}["x"])
    assert (found.mutant, found.what[:8]) == ("m 3", "KeyError")


def test_a_hang_is_a_fault_even_where_exceptions_are_caught(monkeypatch):
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    assert "a hang" in fault_of("m", _waiting).what
    assert not issubclass(Hang, Exception)


def test_much_memory_is_a_fault_also_when_it_is_freed(monkeypatch):
    monkeypatch.setattr(limits, "BYTES", 100 << 20)
    assert "took" in fault_of("m", lambda: np.ones(64 << 20).sum()).what
    assert fault_of("m", lambda: np.ones(1 << 20).sum()) is None


@pytest.mark.parametrize("status", [KeyboardInterrupt, SystemExit])
def test_an_exit_is_a_fault(status):
    def leave():
        raise status

    assert fault_of("m", leave) is not None
