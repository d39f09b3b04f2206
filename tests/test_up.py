"""`make up` with a champion at hand: ready in seconds, every address answers, and Ctrl-C leaves nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def descendants(group: int) -> set[int]:
    """Return processes whose parent chain leads to `group`."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found = {group}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {group}


def is_alive(pid: int) -> bool:
    """Return whether a process runs; zombies do not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_up_is_ready_and_ends_whole(with_champion: Path, default_ports: None) -> None:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", 8080))
    taken.listen()
    with subprocess.Popen(
        [sys.executable, str(PROJECT / "scripts" / "up.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("ready after"):
                    break
            said = "".join(lines)
            assert process.poll() is None, said
            assert "port 8080 is in use" in said
            for address in re.findall(r"http://127\.0\.0\.1:\d+[\w/.-]*", said):
                if "/infer" not in address:
                    with urllib.request.urlopen(address, timeout=20) as answer:
                        assert answer.status == 200
            (curl,) = re.findall(r"try: (curl .*)", said)
            answer = json.loads(subprocess.run(shlex.split(curl), capture_output=True, check=True).stdout)
            assert answer["model_version"] == "1"
            assert {a["word"] for a in json.loads(answer["outputs"][0]["data"][0])} == {"ramen", "waiter"}
            assert (with_champion / "examples.parquet").is_file()
            children = descendants(process.pid)
            assert len(children) >= 2
            process.send_signal(signal.SIGINT)
            assert process.wait(40) in (0, 130)
            left = [pid for pid in children if is_alive(pid)]
            assert not left
        finally:
            taken.close()
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(40)
