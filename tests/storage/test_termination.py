"""SIGTERM ends a process within its grace period, in the middle of anything."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from reviews_parsing.io.termination import EXIT_STATUS

START = "from reviews_parsing.io.termination import exit_on_sigterm\nexit_on_sigterm(1.0)\n"
READY = "print('ready', flush=True)\n"
SLEEP = f"import time\ntry:\n    {READY}    time.sleep(60)\nfinally:\n    print('cleaned up')\n"
LONG_CALL = f"import hashlib\n{READY}hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)\n"
"""A call into C that runs for minutes without a look at signals."""
LONG_CLEAN_UP = f"import time\ntry:\n    {READY}    time.sleep(60)\nfinally:\n    time.sleep(60)\n"


@pytest.mark.parametrize(
    ("body", "output"), [(SLEEP, "cleaned up\n"), (LONG_CALL, ""), (LONG_CLEAN_UP, "")], ids=["clean-up", "C", "stuck"]
)
def test_sigterm(body: str, output: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", START + body], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (EXIT_STATUS, output)
    assert time.monotonic() - begin < 10
