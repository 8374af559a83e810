"""`python -m integrations.sandbox --port 9009`: the providers without Django."""

import argparse
from pathlib import Path

from integrations.sandbox.app import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="sandbox", description="The loopback providers.")
    parser.add_argument("--port", type=int, default=9009, help="0 picks a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--state", type=Path, help="journal that survives a restart (JSON lines)")
    parser.add_argument("--faults", type=Path, help="JSON list of fault rules to begin with")
    parser.add_argument("--limits", action="store_true", help="enforce GHL's 100 calls per 10 s")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="stop when the parent process is gone"
    )
    args = parser.parse_args()
    run(
        args.port,
        args.state,
        args.faults,
        host=args.host,
        enforce_limits=args.limits,
        until_stdin_closes=args.until_stdin_closes,
    )


if __name__ == "__main__":
    main()
