"""`python -m towpath` is `towpath`."""

import sys

from towpath.cli import main

sys.exit(main())
