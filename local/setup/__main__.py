"""``python3 -m local.setup``: makes this checkout ready to run. Nothing but the standard library is needed.

No import of ours and no new syntax before the version is known: an old Python must be able to read this file.
"""

import sys

MINIMUM = (3, 11)

if sys.version_info < MINIMUM:
    sys.stderr.write(
        "Python %d.%d or newer is needed; this is %s (%s).\n"  # noqa: UP031 - an old Python reads this
        "Install one and name it, for example: make run PYTHON=python3.12\n"
        % (MINIMUM[0], MINIMUM[1], sys.version.split()[0], sys.executable)
    )
    sys.exit(2)

from local.setup.bootstrap import main  # noqa: E402 - see above

sys.exit(main())
