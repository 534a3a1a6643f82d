"""Two real processes against one, through Accelerate."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forja.training.logbook import read_log
from forja.training.pretrain import pretrain
from tiny_training import GPT2, section, write_tokens

SCRIPT = """
import sys
from pathlib import Path
from tiny_training import GPT2, section
from forja.training.pretrain import pretrain
pretrain(section(micro_batch=1), GPT2, Path(sys.argv[1]), Path(sys.argv[2]), seed=7)
# Such a thread may abort the process as it ends, about once in ten times on a busy machine.
left = [name for task in Path("/proc/self/task").iterdir() if "gloo" in (name := (task / "comm").read_text())]
sys.exit(f"threads of the process group are left: {left}" if left else 0)
"""


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    (tmp_path / "one").mkdir()
    pretrain(section(micro_batch=1), GPT2, tokens, tmp_path / "one", seed=7)
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(script), str(tokens), str(tmp_path / "two")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    one, two = (list(read_log(tmp_path / name / "training" / "log.jsonl")) for name in ("one", "two"))
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for a, b in zip(one, two, strict=True):
        assert b.get("loss", b.get("valid_loss")) == pytest.approx(a.get("loss", a.get("valid_loss")), rel=1e-5)
