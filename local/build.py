"""Builds everything that `make dev` needs, with one line of progress in place of cargo's words, which are shown where it
fails. Says nothing where there is nothing to build. Given the name of a binary, becomes that binary then.
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
# As local/src/build.rs has it.
COMMAND = ["cargo", "build", "--locked", "--bins", "--message-format=json-render-diagnostics"]
COMMAND += [word for package in PACKAGES for word in ("--package", package)]
PROGRESS = re.compile(rb"\b(\d+)/(\d+)(?:: ([^,(\x1b\r\n]*))?")
# What cargo says while all is well.
WORDS = rb"(Compiling|Building|Finished|Fresh|Blocking|Fetch|Downloading|Downloaded|Locking|Updating)"
ROUTINE = re.compile(rb"^(\s|\x1b\[[0-9;]*[mK])*" + WORDS + rb"\b")
# Where a line cannot be written over: how often to say how far it is, in seconds.
PERIOD = 20

terminal = sys.stdout.isatty()


def pieces(stream):
    """What is written, at each end of a line and each return to its start."""
    rest = b""
    while chunk := os.read(stream.fileno(), 65536):
        *whole, rest = re.split(rb"[\r\n]", rest + chunk)
        yield from whole
    yield rest


def build():
    """Builds them, and gives the binaries by name."""
    progress_always = {"CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "120"}
    environment = dict(os.environ, CARGO_TERM_VERBOSE="false", **progress_always)
    if terminal and not os.environ.get("NO_COLOR"):
        environment["CARGO_TERM_COLOR"] = "always"
    # The jobs of `make` are not cargo's.
    for name in ("MAKEFLAGS", "MFLAGS"):
        environment.pop(name, None)
    with tempfile.TemporaryFile() as messages:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": messages, "stderr": subprocess.PIPE}
        show(subprocess.Popen(COMMAND, cwd=ROOT, env=environment, **pipes))
        messages.seek(0)
        found = [json.loads(line) for line in messages]
    return {message["target"]["name"]: message["executable"] for message in found if message.get("executable")}


def show(cargo):
    """Shows how far cargo is, and ends this process where it fails."""
    started = said = time.monotonic()
    any_said = False
    words = []
    for piece in pieces(cargo.stderr):
        progress = PROGRESS.search(piece) if b"Building" in piece else None
        if not progress:
            if piece.strip() and not ROUTINE.match(piece):
                words.append(piece)
            continue
        now = time.monotonic()
        # A moment is no time to speak of.
        if now - started < 1 or (any_said and now - said < (0.1 if terminal else PERIOD)):
            continue
        done, total, crate = (part.decode(errors="replace") if part else "" for part in progress.groups())
        line = f"building: {done} of {total} crates, {now - started:.0f} s"
        if not any_said:
            print("building the functions and the local world (some minutes the first time)", flush=True)
        any_said, said = True, now
        print(f"\r{line}: {crate.strip()[:40]}\x1b[K" if terminal else line, end="" if terminal else "\n", flush=True)
    if any_said and terminal:
        print("\r\x1b[K", end="", flush=True)
    code = cargo.wait()
    if code or words:
        sys.stderr.buffer.write(b"\n".join(words) + b"\n")
    if code:
        sys.exit(code)
    if any_said:
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
