"""A studio as a process of its own, to be killed and to be loaded: `python studio_process.py STORE PORT`."""

import sys
from pathlib import Path

from heedful.web.serve import serve

if __name__ == "__main__":
    serve(str(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]))
