"""Builds everything for `make dev`, and shows one line of progress. Shows cargo's output only if the build fails or
warns, and nothing if there is nothing to build. With the name of a binary as argument, executes that binary afterwards.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ["payment-functions-local", *sorted(path.parent.name for path in (ROOT / "functions").glob("*/Cargo.toml"))]
# The same as in local/src/build.rs.
COMMAND = ["cargo", "build", "--locked", "--bins", "--message-format=json-render-diagnostics"]
COMMAND += [word for package in PACKAGES for word in ("--package", package)]
PROGRESS = re.compile(rb"\b(\d+)/(\d+)(?:: ([^,(\x1b\r\n]*))?")
# Cargo's output while nothing is wrong.
ROUTINE_WORDS = rb"(Compiling|Building|Finished|Fresh|Blocking|Fetch|Downloading|Downloaded|Locking|Updating)"
ROUTINE = re.compile(rb"^(\s|\x1b\[[0-9;]*[mK])*" + ROUTINE_WORDS + rb"\b")
# The seconds between two lines of progress, if the output is not a terminal.
PERIOD = 20

terminal = sys.stdout.isatty()


def pieces(stream):
    """The output, split at newlines and carriage returns."""
    rest = b""
    while chunk := os.read(stream.fileno(), 65536):
        *whole, rest = re.split(rb"[\r\n]", rest + chunk)
        yield from whole
    yield rest


def build():
    """Builds the packages and returns the paths of the binaries by name."""
    progress_always = {"CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "120"}
    environment = dict(os.environ, CARGO_TERM_VERBOSE="false", **progress_always)
    if terminal and not os.environ.get("NO_COLOR"):
        environment["CARGO_TERM_COLOR"] = "always"
    # Cargo must not use make's job server.
    for name in ("MAKEFLAGS", "MFLAGS"):
        environment.pop(name, None)
    with tempfile.TemporaryFile() as messages:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": messages, "stderr": subprocess.PIPE}
        show(subprocess.Popen(COMMAND, cwd=ROOT, env=environment, **pipes))
        messages.seek(0)
        found = [json.loads(line) for line in messages]
    return {message["target"]["name"]: message["executable"] for message in found if message.get("executable")}


def show(cargo):
    """Shows cargo's progress, and exits if cargo fails."""
    started = shown = time.monotonic()
    any_shown = False
    output = []
    for piece in pieces(cargo.stderr):
        progress = PROGRESS.search(piece) if b"Building" in piece else None
        if not progress:
            if piece.strip() and not ROUTINE.match(piece):
                output.append(piece)
            continue
        now = time.monotonic()
        # No progress for a build of less than a second.
        if now - started < 1 or (any_shown and now - shown < (0.1 if terminal else PERIOD)):
            continue
        done, total, crate = (part.decode(errors="replace") if part else "" for part in progress.groups())
        line = f"building: {done} of {total} crates, {now - started:.0f} s"
        if not any_shown:
            print("building the functions and the local world (takes some minutes the first time)", flush=True)
        any_shown, shown = True, now
        print(f"\r{line}: {crate.strip()[:40]}\x1b[K" if terminal else line, end="" if terminal else "\n", flush=True)
    if any_shown and terminal:
        print("\r\x1b[K", end="", flush=True)
    code = cargo.wait()
    if code or output:
        sys.stderr.buffer.write(b"\n".join(output) + b"\n")
    if code:
        sys.exit(code)
    if any_shown:
        print(f"built in {time.monotonic() - started:.0f} s", flush=True)


def main():
    built = build()
    for name in sys.argv[1:]:
        os.execv(built[name], [built[name]])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
