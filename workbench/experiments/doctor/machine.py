"""The processor and its threads."""

from __future__ import annotations

import os

from workbench.experiments.doctor.lines import Line


def processor() -> list[Line]:
    """The CPU with the instructions that matter, and the GPU."""
    import torch

    from workbench.models.processor import cpu_has, has_fast_bf16, int8_instructions, processor_name

    has = {
        "bf16": has_fast_bf16("cpu"),
        "VNNI": "vnni" in int8_instructions(),
        "AMX": cpu_has("amx_tile"),
    }
    shown = ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in has.items())
    lines = [Line("ok", "processor", f"{processor_name()}: {shown}")]
    if not int8_instructions():
        text = "no instructions for int8 products are known; int8 networks may be slower than fp32"
        lines.append(Line("note", "processor", text))
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        others = f", {torch.cuda.device_count()} devices" if torch.cuda.device_count() > 1 else ""
        text = f"CUDA {torch.version.cuda}: {torch.cuda.get_device_name()}, {memory:.0f} GB{others}"
        return [*lines, Line("ok", "gpu", text)]
    if torch.version.cuda:
        text = (
            f"torch is built for CUDA {torch.version.cuda}, but no GPU answers, so networks are "
            "trained on the CPU; check the driver if this machine has one"
        )
        return [*lines, Line("note", "gpu", text)]
    return [*lines, Line("ok", "gpu", "no CUDA; networks are trained on the CPU")]


def threads() -> list[Line]:
    """Threads of torch, and whether they fit the processors of this process."""
    import torch

    used, there = torch.get_num_threads(), available_processors()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    reason = f" (OMP_NUM_THREADS={asked})" if asked else ""
    text = f"{used} of torch{reason}, {there} processors for this process"
    if used > there:
        return [Line("note", "threads", f"{text}: they slow each other; OMP_NUM_THREADS={there}")]
    return [Line("ok", "threads", text)]


def available_processors() -> int:
    """Processors on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
