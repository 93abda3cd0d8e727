"""The host process: `python -m optml_queue.embedded RESULTS_DIR --workers N`."""

import sys

from optml_queue.embedded.host import main

sys.exit(main())
