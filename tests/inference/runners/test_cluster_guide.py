"""What docs/clusters.md tells people to type; a real SLURM is not at hand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from scsam_monai.cli import app
from scsam_monai.inference.runners import Shard

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "clusters.md").read_text()
SLURM = {"$SLURM_ARRAY_TASK_ID": "3", "$SLURM_ARRAY_TASK_COUNT": "8"}


def code(language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL))


def predictions() -> list[list[str]]:
    text = code("bash").replace("\\\n", " ")
    for name, value in SLURM.items():
        text = text.replace(name, value)
    return [shlex.split(line) for line in text.splitlines() if line.startswith("scsam predict")]


@pytest.mark.parametrize("words", predictions(), ids=" ".join)
def test_commands_are_understood(words: list[str]) -> None:
    predict = typer.main.get_command(app).commands["predict"]  # type: ignore[attr-defined]
    given = predict.make_context("predict", words[2:]).params
    assert given["model"].name == "model.pt"
    if given["shard"]:
        assert Shard.parse(given["shard"]) == Shard(2, 8)


def test_every_way_is_shown() -> None:
    text = " ".join(" ".join(words) for words in predictions())
    for option in ("--dry-run", "--resume", "--runner dask", "--scheduler tcp://", "--shard 3/8"):
        assert option in text


def test_slurm_is_asked_for_what_the_guide_says() -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    # Without SLURM nothing can be started, and this machine may have no such network device.
    text = code("python").replace('interface="ib0"', 'interface="lo"').replace("cluster.scale(jobs=8)\n", "")
    assert text.count("lo") > code("python").count("lo")
    names: dict[str, object] = {}
    exec(text, names)
    cluster = names["cluster"]
    assert isinstance(cluster, jobqueue.SLURMCluster)
    with cluster:
        script = cluster.job_script()
        worker = next(line for line in script.splitlines() if "dask_worker" in line)
        assert cluster.scheduler_address in worker
    for line in ("-p gpu", "-n 1", "--cpus-per-task=8", "--mem=30G", "-t 04:00:00", "--gres=gpu:1"):
        assert f"#SBATCH {line}\n" in script
    assert "--nthreads 8" in worker
    assert "--nworkers" not in worker  # one process, so one network
