"""Load on a site: wrk where it is installed, else a small generator of its own."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

CONNECTIONS = 8
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class Served(NamedTuple):
    """What a site did in a while: pages a second, and the 99th percentile of their times in milliseconds."""

    per_second: float
    p99_ms: float


def generator() -> str:
    """The name of what makes the load."""
    return "wrk" if shutil.which("wrk") else "http.client"


def load(url: str, cookie: str, seconds: int) -> Served:
    """Ask for one page again and again on some connections. Raises RuntimeError where an answer is not a 200."""
    if shutil.which("wrk"):
        return _wrk(url, cookie, seconds)
    command = [sys.executable, "-m", "benchmarks.load", url, cookie, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # a process of its own
    per_second, p99 = done.stdout.split()
    return Served(float(per_second), float(p99))


def _wrk(url: str, cookie: str, seconds: int) -> Served:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-H", f"Cookie: {cookie}", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate, p99 = re.search(r"Requests/sec:\s+([\d.]+)", text), re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    if "Non-2xx" in text or "Socket errors" in text or not rate or not p99:
        raise RuntimeError(f"Not all pages were served: {text}")
    return Served(float(rate[1]), float(p99[1]) * UNITS[p99[2]])


def _own(url: str, cookie: str, seconds: float) -> Served:
    address, times = urlsplit(url), list[float]()
    end = time.perf_counter() + seconds

    def browse() -> None:
        assert address.hostname
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
        while (begun := time.perf_counter()) < end:
            connection.request("GET", address.path, headers={"Cookie": cookie})
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"Status {response.status}")
            times.append((time.perf_counter() - begun) * 1000)

    threads: list[Any] = [threading.Thread(target=browse) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    return Served(len(times) / seconds, times[int(len(times) * 0.99)])


if __name__ == "__main__":
    print(*_own(sys.argv[1], sys.argv[2], float(sys.argv[3])))
