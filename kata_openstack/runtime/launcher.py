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

"""Launchers: programs that containerd starts for each pod, made to start fast.

The scripts that pip makes import Python's ``site`` module, and with it what
the packages of the environment want at each start. A program that needs only
this package and the standard library starts in half of the time without it.
"""

import os
import pathlib
import sys
from typing import Final
from typing import NamedTuple

_PACKAGE = pathlib.Path(__file__).parents[2]
_LONGEST_SHEBANG = 127  # bytes; older kernels cut the rest
_TEXT = """{shebang}
# Written by kata-openstack. Changes will be lost.
import sys
sys.path.append({package!r})
from {module} import main
sys.exit(main())
"""


class Launcher(NamedTuple):
    """A launcher of ``module``, which has a function ``main()``."""

    name: str
    module: str

    def write(self, folder: pathlib.Path) -> pathlib.Path:
        """Write the file in one step; return its path.

        A symbolic link in its place is replaced, its target left alone.

        :raises OSError:
        """
        path = folder / self.name
        new = folder / f'.{self.name}.{os.getpid()}'
        try:
            with new.open('w') as file:
                os.fchmod(file.fileno(), 0o755)
                file.write(self._text())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        return path

    def find(self, folder: pathlib.Path) -> pathlib.Path | None:
        """Return the path of the file if this installation can use it.

        The file system may forbid that its files are executed.
        """
        path = folder / self.name
        try:
            mine = path.read_text() == self._text()
        except (OSError, UnicodeDecodeError):
            return None
        return path if mine and os.access(path, os.X_OK) else None

    def _text(self) -> str:
        return _TEXT.format(shebang=shebang(sys.executable),
                            package=str(_PACKAGE), module=self.module)


SHIM: Final = Launcher('containerd-shim-kata-embedded-v2',
                       'kata_openstack.cmd.shim')
CNI: Final = Launcher('kata-cni', 'kata_openstack.cmd.cni')


def shebang(python: str) -> str:
    """Return the first lines of a script for this interpreter."""
    line = f'#!{python} -IS'
    if ' ' in python or len(line.encode()) > _LONGEST_SHEBANG:
        # Both the shell and Python can read this. pip does the same.
        line = f"#!/bin/sh\n'''exec' \"{python}\" -IS \"$0\" \"$@\"\n' '''"
    return line
