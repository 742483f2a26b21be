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
"""The program containerd, run for its version and configuration."""

import pathlib
import re
import subprocess
import tomllib
from typing import Any

from kata_openstack import exception
from kata_openstack.runtime.containerd import grpc_errors

_TIMEOUT = 30.0  # seconds


def version(program: str = 'containerd') -> str:
    """Return the version that ``containerd --version`` prints.

    :raises RuntimeFailed: the program cannot run or prints no version.
    """
    operation = 'containerd --version'
    try:
        printed = subprocess.run(
            [program, '--version'], check=True, capture_output=True,
            text=True, timeout=_TIMEOUT).stdout
    except (OSError, subprocess.SubprocessError) as e:
        raise exception.RuntimeFailed(operation=operation, why=e) from e
    match = re.search(r'\sv?(\d+\.\d+\.\S+)', printed)
    if match is None:
        raise exception.RuntimeFailed(operation=operation,
                                      why=f'it printed {printed!r}')
    return match.group(1)


def dump(config: pathlib.Path, program: str = 'containerd',
         known_as: pathlib.Path | None = None) -> dict[str, Any]:
    """Return the configuration as containerd reads it, with all imports.

    :param known_as: the name of the file in errors, if ``config`` is a
        temporary copy.
    :raises InvalidInput: containerd refuses it; has containerd's message.
    :raises RuntimeFailed: the program cannot run.
    """
    try:
        done = subprocess.run(
            [program, '--config', str(config), 'config', 'dump'],
            capture_output=True, text=True, timeout=_TIMEOUT)
    except (OSError, subprocess.SubprocessError) as e:
        raise exception.RuntimeFailed(
            operation='containerd config dump', why=e) from e
    if done.returncode:
        raise exception.InvalidInput(
            field="containerd's configuration", value=str(known_as or config),
            why=grpc_errors.one_line(done.stderr or done.stdout).replace(
                str(config), str(known_as or config)),
            remedy='Correct the file. Nothing was changed.')
    return tomllib.loads(done.stdout)
