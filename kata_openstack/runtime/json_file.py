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

"""Files in JSON that several processes write and read."""

import json
import os
import pathlib
import tempfile
from typing import Any


def replace(path: pathlib.Path, content: Any) -> None:
    """In one step, so that a reader sees the old file or the new one.

    Only the owner may read it. Its folder is made if there is none.

    :raises OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
            'w', dir=path.parent, prefix=path.name, delete=False) as file:
        json.dump(content, file)
    os.replace(file.name, path)
