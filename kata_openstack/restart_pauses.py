# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The pauses before restarts of containers, as in Docker."""

from typing import Final

STABLE: Final = 10.0  # seconds of a run, after which the pauses begin anew
_FIRST, _LONGEST = 0.1, 60.0  # seconds


def following(pause: float) -> float:
    """Return the pause after another one, in seconds.

    :param pause: 0 before the first restart
    """
    return min(max(2 * pause, _FIRST), _LONGEST)
