# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.tw_grpo.integration.repairs`: every repair, the line that makes it necessary, is it active."""

import inspect
import sys

from recipe.tw_grpo.integration import repairs
from recipe.tw_grpo.toolbox.errors import UserError, stop

try:
    repairs.check()
except UserError as error:
    stop(error)
active = repairs.active()
for one in repairs.REPAIRS:
    first, last = one.versions
    state = "active" if one.name in active else one.misfit() or "not active"
    print(f"{one.name} ({one.package} {first}{f' to {last}' if last != first else ''}): {state}")
    print(f"    {one.module}: {one.because}\n    {' '.join(inspect.getdoc(one.apply).split())}")
print(*repairs.announcement(), sep="\n", file=sys.stderr)
