"""What a process holds of its memory."""

import ctypes
import subprocess
import sys

import pytest

PROBE = """
import resource
from cat_bench.benchmark.system.memory import hold_freed_memory

def faults(rounds):
    for _ in range(2):
        blocks = [b"x" * (48 << 20) for _ in range(2)]
        del blocks
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        blocks = [b"x" * (48 << 20) for _ in range(2)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults(5)
hold_freed_memory()
print(given_back, faults(5))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc can be told"
)
def test_freed_memory_is_used_again_without_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    given_back, held = map(int, done.stdout.split())
    assert given_back > 100 and held < given_back / 10
