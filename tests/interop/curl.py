"""curl, as a client that knows nothing of mainstay."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

H1 = "--http1.1"
H2 = "--http2-prior-knowledge"


@dataclass
class Answer:
    """What came of it. `headers` has the trailers, too."""

    status: int
    version: str
    headers: dict
    body: bytes
    seconds: float
    log: str


# curl 7.88 has lost an answer that came before it had sent its body, when the server then said with RST_STREAM and NO_ERROR that it
# does not want the body. A server may (RFC 9113, section 8.1), and a client must keep the answer.
LOST = 92

# curl 7.88 sees only a second later, about once in forty times, that an answer to a body it has sent over HTTP/2 is at its end.
STALL = 1.0


def curl(*arguments, data=None, expected_exit=(0,)):
    with tempfile.TemporaryDirectory() as folder:
        head, body = Path(folder, "head"), Path(folder, "body")
        command = ["curl", "-q", "--noproxy", "*", "-sSv", "--max-time", "15", "-D", head, "-o", body]
        command += ["-w", "%{json}", *arguments]
        if data is not None:
            command += ["--data-binary", "@-"]
        done = subprocess.run(command, input=data, capture_output=True, timeout=30, check=False)
        said = done.stderr.decode(errors="replace")
        assert done.returncode in expected_exit, f"curl ended with {done.returncode}: {said[-600:]}"
        facts = json.loads(done.stdout.decode())
        headers = {}
        for line in head.read_text(encoding="latin-1").splitlines() if head.exists() else []:
            if line.startswith("HTTP/"):
                headers = {}  # What came before was a 100.
            elif ":" in line:
                name, value = line.split(":", 1)
                headers.setdefault(name.strip().lower(), value.strip())
        return Answer(
            status=facts["http_code"],
            version=facts["http_version"],
            headers=headers,
            body=body.read_bytes() if body.exists() else b"",
            seconds=facts["time_total"],
            log=said,
        )
