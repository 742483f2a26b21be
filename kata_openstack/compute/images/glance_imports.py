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

"""Imports an archive of Glance, and makes its errors those of the service."""

from collections.abc import Callable

from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack.compute.images import glance_files
from kata_openstack.compute.images import pull_watch
from kata_openstack import exception
from kata_openstack import image_names
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.image_archive import archive_importer
from kata_openstack.runtime.containerd.image_archive import contents
from kata_openstack.runtime.containerd.image_archive import tar_index

LOG = logging.getLogger(__name__)

# After these errors, containerd has nothing of the image.
ANSWERS = (exception.ImageNotFound, exception.InvalidInput,
           exception.NotEnoughDisk, exception.ImagePullFailed)

_WHAT = 'Importing an image'
_REMEDY = ('Upload one container image: docker save -o FILE NAME, then '
           'openstack image create --container-format docker --disk-format '
           'raw --file FILE NAME.')


class GlanceImports:
    """Imports archives from the folder of zun-compute. Thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 watch: pull_watch.PullWatch) -> None:
        self._files = glance_files.GlanceFiles(conf)
        self._importer = archive_importer.ArchiveImporter(conf, client)
        self._watch = watch

    def load(self, name: image_names.Name, image_uuid: str, file: str,
             loaded: Callable[[str], None]) -> str:
        """Import an image, or leave nothing of it.

        :param name: its name in containerd
        :param file: the name of the archive
        :param loaded: called with the image's ID, while pulls are watched
        :returns: the image's ID
        :raises InvalidInput: the file is not an archive of an image
        :raises NotEnoughDisk:
        :raises ImagePullFailed: the node could not read or unpack it
        :raises RuntimeFailed: it may or may not appear later
        """
        try:
            with self._files.open(file, image_uuid) as descriptor:
                archive = tar_index.TarIndex(descriptor)
                image = contents.read(archive)
                with self._watch.pull(_WHAT, image.size) as look:
                    image_id = self._importer.load(str(name), archive, image,
                                                   look)
                    loaded(image_id)
        except tar_index.NotAnImage as e:
            raise exception.InvalidInput(
                field='image', value=image_uuid, why=str(e),
                remedy=_REMEDY) from None
        except exception.ImagePullFailed as e:
            raise exception.ImagePullFailed(
                image=image_uuid, why=e.kwargs['why']) from None
        LOG.info('Imported %s', name)
        return image_id
