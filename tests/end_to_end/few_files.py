"""``python -m tests.end_to_end.few_files COUNT …``: ``posthorn …``, which may open so many files and no more."""

import resource
import sys

from service.__main__ import main

if __name__ == "__main__":
    count = int(sys.argv.pop(1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (count // 2, count))
    main()
