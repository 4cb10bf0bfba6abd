"""Clusters for tests: a SLURM that runs its jobs here, and a network of Ray's own."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

# What submitit calls. sbatch keeps the script and answers at once; the tasks of the array then run
# two at a time, with the environment that SLURM gives them; sacct says which have ended.
SLURM = """#!{python}
import os, re, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

here, name, arguments = Path(__file__).parent, Path(sys.argv[0]).name, sys.argv[1:]
script = here / "script.sh"


def task(index):
    given = {{"SLURM_JOB_ID": str(100 + index), "SLURM_ARRAY_JOB_ID": "7", "SLURM_NTASKS": "1",
             "SLURM_ARRAY_TASK_ID": str(index), "SLURM_JOB_NUM_NODES": "1", "SLURM_PROCID": "0",
             "SLURM_NODEID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here"}}
    subprocess.run(["bash", script], env=os.environ | given)
    (here / f"7_{{index}}").touch()


if name == "sbatch":
    script.write_text(Path(arguments[0]).read_text())
    none = subprocess.DEVNULL  # submitit reads until nobody holds the other end
    subprocess.Popen([here / "tasks"], start_new_session=True, stdout=none, stderr=none)
    print("Submitted batch job 7")
elif name == "tasks":
    last, at_once = re.search(r"--array=0-(\\d+)%(\\d+)", script.read_text()).groups()
    with ThreadPoolExecutor(min(2, int(at_once))) as pool:
        list(pool.map(task, range(int(last) + 1)))
elif name == "srun":
    options = dict(zip(arguments[1:5:2], arguments[2:6:2]))
    names = {{"%j": os.environ["SLURM_JOB_ID"], "%A": "7", "%t": "0",
             "%a": os.environ["SLURM_ARRAY_TASK_ID"]}}
    out, err = (re.sub("%.", lambda m: names[m[0]], options[o]) for o in ("--output", "--error"))
    Path(out).parent.mkdir(exist_ok=True)
    with open(out, "a") as out, open(err, "a") as err:
        sys.exit(subprocess.run(arguments[5:], stdout=out, stderr=err).returncode)
elif name == "sacct":
    print("JobID|State|NodeList")
    for job in (f"7_{{index}}" for index in range(100)):
        print(job, "COMPLETED" if (here / job).exists() else "RUNNING", "here", sep="|")
"""

# A namespace has a loopback interface that is down.
LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 1, 64
    fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP | IFF_RUNNING))
os.execv(sys.argv[1], sys.argv[1:])
"""


def slurm(folder: Path) -> Path:
    """The folder with the commands of SLURM, for PATH."""
    for name in ("sbatch", "srun", "sacct", "tasks"):
        file = folder / name
        file.write_text(SLURM.format(python=sys.executable))
        file.chmod(0o755)
    return folder


def alone(command: list[str]) -> list[str]:
    """The command in a network of its own: Ray listens on all interfaces."""
    return ["unshare", "-rn", sys.executable, "-c", LOOPBACK_UP, *command]


@functools.cache
def lacking(launcher: str) -> str:
    """Why this launcher cannot be tested here; empty if it can."""
    extra = launcher.partition("_")[0]
    if not find_spec("hydra_plugins") or not find_spec(f"hydra_plugins.hydra_{extra}_launcher"):
        return f"pip install 'reludyn[{extra}]'"
    if launcher == "ray":
        if not shutil.which("unshare"):
            return "Ray listens on all interfaces, and there is no unshare to keep it apart"
        tried = subprocess.run(alone([sys.executable, "-c", ""]), capture_output=True, text=True)
        if tried.returncode:
            return f"Ray listens on all interfaces; no network namespace here: {tried.stderr}"
    return ""
