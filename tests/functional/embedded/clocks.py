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

"""A container that prints its clock, and how wrong that is."""

import datetime
import pathlib

from tests.functional.embedded import base

# seconds on the way from the container's shell to containerd's log
WAY = 0.03


def run(pod: base.Pod, every: float) -> str:
    """Run a container that prints its clock every so many seconds."""
    return pod.run('sh', '-c',
                   f'while :; do echo $EPOCHREALTIME; sleep {every}; done')


def printed(pod: base.Pod, container: str) -> list[tuple[float, float]]:
    """Return the time of the node and of the container for each line.

    In seconds since the Unix epoch; the node's is from containerd's log.
    """
    path = pathlib.Path(pod.status(container).log_path)
    lines = [line.split() for line in path.read_text().splitlines()]
    return [(datetime.datetime.fromisoformat(line[0]).timestamp(),
             float(line[3])) for line in lines]
