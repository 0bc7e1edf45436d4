"""Runs the tests of the workspace, and lists the slowest at the end.

run.py [NAME | !NAME] [FILTER…]: runs the test binary NAME only, or all except NAME. A FILTER selects tests whose
names contain it, as in `cargo test FILTER`.

Test binaries run one after the other, as with `cargo test`. The test harness reports durations only if RUSTC_BOOTSTRAP
is set. It is set for the tests, not for the compiler.
"""

import json
import os
import re
import subprocess
import sys
import time

# More than CI has processors, since many tests mostly wait.
THREADS = os.environ.get("TEST_THREADS", "4")
SHOWN = 20
TIMED = re.compile(r"^test (?P<name>\S+) \.\.\. .*<(?P<seconds>[0-9.]+)s>$")
BUILD = ["cargo", "test", "--locked", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]


def binaries():
    """Returns the test binaries with their packages' folders. Unit tests are first, since they are quick."""
    # cargo must not take part in make's job server.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS")}
    built = subprocess.run(BUILD, stdout=subprocess.PIPE, env=environment)
    if built.returncode:
        sys.exit(built.returncode)
    found = []
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["profile"]["test"]:
            folder = os.path.dirname(message["manifest_path"])
            found.append((message["target"]["kind"] == ["test"], message["target"]["name"], message["executable"], folder))
    return sorted(found)


def run(executable, folder, filters):
    """Runs a binary's tests. Returns whether all passed, and the duration of each."""
    command = [executable, *filters, "--test-threads", THREADS, "-Zunstable-options", "--report-time"]
    environment = dict(os.environ, RUSTC_BOOTSTRAP="1", CARGO_MANIFEST_DIR=folder)
    tests = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, errors="replace")
    times = []
    for line in tests.stdout:
        print(line, end="", flush=True)
        timed = TIMED.match(line)
        if timed:
            times.append((float(timed["seconds"]), timed["name"]))
    return tests.wait() == 0, times


def main():
    began = time.monotonic()
    which, *filters = sys.argv[1:] or [""]
    failed, times = [], []
    for _, name, executable, folder in binaries():
        if which and (name == which.removeprefix("!")) == which.startswith("!"):
            continue
        started = time.monotonic()
        print(f"\n{name} ({os.path.relpath(executable)})", flush=True)
        passed, own = run(executable, folder, filters)
        times += own
        if own:
            print(f"{name}: {len(own)} tests in {time.monotonic() - started:.0f} s", flush=True)
        if not passed:
            failed.append(name)
    if not times:
        sys.exit(f"no tests match: {' '.join(sys.argv[1:])}")
    print(f"\nThe slowest tests of {len(times)}:")
    for seconds, name in sorted(times, reverse=True)[:SHOWN]:
        print(f"{seconds:8.1f} s  {name}")
    print(f"tests: {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        sys.exit(f"tests failed in: {', '.join(failed)}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
