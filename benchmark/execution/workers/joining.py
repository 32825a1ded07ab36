"""Ray, imported and joined to a cluster: here alone, and only when a cluster is asked for."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from contextlib import suppress
from typing import Any

from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.system.provenance import cores

LOCAL = "local"  # Ray's own word for a cluster of this machine, started for this run
STORE = 512 << 20  # bytes for what is under way between processes, in a cluster of our own
REACH = 10.0  # seconds in which a cluster must answer


def join(address: str) -> Any:
    """The module `ray`, joined to the cluster at an address; `shutdown` leaves it. Raises RunError."""
    _reach(address)
    ray = _ray(address)
    own = {"num_cpus": cores(), "include_dashboard": False, "object_store_memory": STORE}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address,
            namespace="cat-bench",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(own if address == LOCAL else {}),
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        known = "" if "RAY_AUTH_MODE" in os.environ else "; if it wants a token, set RAY_AUTH_MODE=token"
        raise RunError(f"no Ray cluster can be used at {address}: {str(error).splitlines()[0]}{known}") from error
    with suppress(ImportError, AttributeError):  # else a lost node's whole log goes through the display
        from ray._private.ray_logging import global_worker_stdstream_dispatcher as printed

        printed.remove_handler("ray_print_logs")
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():  # Ray puts its own in their places
            signal.signal(number, handler)
    return ray


def _reach(address: str) -> None:
    """Whether anything answers at the address: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), REACH).close()
        except OSError as error:
            raise RunError(f"no Ray cluster answers at {address}: {error.strerror or error}") from error


def _ray(address: str) -> Any:
    """The module, told to send nothing to anybody and to leave working directory and home alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise RunError("--cluster needs Ray: pip install 'cat-bench[cluster]', or leave --cluster out") from None
    if address == LOCAL:  # else Ray writes a token into the home folder, which whatever is started later then asks for
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    return ray
