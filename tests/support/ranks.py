"""Runs on several ranks, some of which fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import reludyn as package
from tests.support.commands import Finished

TORCHRUN = str(Path(sys.executable).with_name("torchrun"))
SIZE = [
    "data.dim=6",
    "replicas=2",
    "seed=2",
    "init.scale=0.3",
    "optimizer.lr=0.3",
    "trainer.steps=300",
    "trainer.looks=30",
    "trainer.observables=full",
    "trainer.tolerance=1e-3",
    "logger=none",
    "figures=false",
]
STREAM = ["data=stream", "data.samples=9000", *SIZE]


FAULTY = """
import os, signal, sys, time
from dataclasses import replace
from reludyn.experiment import torchrun
from reludyn.cli import main
from reludyn.training import distributed, engine
fault, rank, call = sys.argv.pop(1).split(":")
torchrun.GRACE = 1.0 if fault == "stuck" else torchrun.GRACE
original, calls = engine.Engine.advance, iter(range(1, 10**9))
agree, here = distributed.Ranks.agree, []
def agreed(self, *arguments):
    here.append(self)
    return agree(self, *arguments)
distributed.Ranks.agree = agreed
def advance(self, state, steps):
    if next(calls) != int(call):
        return original(self, state, steps)
    if os.environ["RANK"] == rank:
        if fault in ("kill", "stuck"):
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "raise":
            raise ValueError("no room for this")
        if fault == "interrupt":
            os.kill(os.getppid(), signal.SIGINT)
            while not here[-1].stop:  # torchrun passes it on
                time.sleep(0.01)
        if fault == "drift":
            state = original(self, state, steps)
            W = state.student.W.clone()
            W[-1, 0, 0] *= 1 + 2**-52
            return replace(state, student=state.student._replace(W=W))
    elif fault == "stuck":  # as where a rank waits in a library for one that is no more
        time.sleep(1000)
    return original(self, state, steps)
engine.Engine.advance = advance
main()
"""


def on_ranks(size: int, where: Path, *arguments: str, fault: str = "") -> Finished:
    """`reludyn ARGUMENTS` under torchrun, in where/run; with a fault, "KIND:RANK:CALL", that
    happens to a rank in a call of Engine.advance."""
    program = ["-m", "reludyn"]
    if fault:
        (where / "faulty.py").write_text(FAULTY)
        program = [str(where / "faulty.py"), fault]
    command = [TORCHRUN, "--standalone", f"--nproc-per-node={size}", *program, *arguments]
    package_at = str(Path(package.__file__).parents[1])
    ended = subprocess.run(
        [*command, "hydra.run.dir=run"],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": package_at},
    )
    return Finished(ended.returncode, ended.stdout, ended.stderr, where)
