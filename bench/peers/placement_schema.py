"""Create Placement's tables like `placement-manage db sync`. The arguments name the configuration file."""

import sys

from placement.cmd.manage import main

if __name__ == "__main__":
    sys.argv += ["db", "sync"]
    sys.exit(main())
