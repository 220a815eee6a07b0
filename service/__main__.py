"""``python -m service`` is ``posthorn``."""

from service.cli import main

if __name__ == "__main__":
    main()
