"""Make Placement's tables, as `placement-manage db sync` does: the arguments name the configuration file."""

import sys

from placement.cmd.manage import main

if __name__ == "__main__":
    sys.argv += ["db", "sync"]
    sys.exit(main())
