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

"""The archives of images that zun-compute has downloaded from Glance.

Only their names pass through the message broker. Who has its password must
not make this service, which runs as root, read any other file.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import re
import stat

from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack import exception

LOG = logging.getLogger(__name__)

_NAME = re.compile(r'[0-9a-f-]{36}[0-9A-Za-z-]{0,64}\.tar')
_OPTION = '[compute] image_import_path'


class GlanceFiles:
    """The folder that zun-compute shares with this service."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._folder = pathlib.Path(conf.compute.image_import_path)

    @contextlib.contextmanager
    def open(self, name: str, image_uuid: str) -> Iterator[int]:
        """Enter with the descriptor of a file.

        :raises InvalidInput: the name is not one of a downloaded image
        :raises ImagePullFailed: there is no such file
        """
        if not _NAME.fullmatch(name) or not name.startswith(image_uuid):
            raise exception.InvalidInput(
                field='file', value=name[:64],
                why='it is not the name of a downloaded image',
                remedy='Run the same release of kata-openstack in '
                       'zun-compute and in kata-compute.')
        try:
            descriptor = self._open(name)
        except OSError as e:
            LOG.error('Could not open %s in %s: %s. %s must name the folder '
                      'that zun-compute has in [glance] images_directory.',
                      name, self._folder, e.strerror, _OPTION)
            raise exception.ImagePullFailed(
                image=image_uuid, why='the node does not find the file that '
                'zun-compute has downloaded') from e
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise exception.ImagePullFailed(
                    image=image_uuid, why='what zun-compute has downloaded '
                    'is not an ordinary file')
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> int:
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        try:
            # not blocked by a FIFO
            return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                           | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
