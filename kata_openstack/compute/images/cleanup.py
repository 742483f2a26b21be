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

"""Removes images that no container has used for long.

Others may share containerd: Kubernetes, or an operator who imported images.
So only an image that a pull of kata-compute brought is ever removed, and only
while it has no other names than those that kata-compute pulled. A label on
the image's record tells when it was last used, and the names.
"""

from collections.abc import Callable
from collections.abc import Iterable
import contextlib
import re
import threading
import time

from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack.compute import space
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native

LOG = logging.getLogger(__name__)

# Its value: the time of the last use in Unix seconds, and names.
PULLED = 'kata-openstack.io/image-pulled'
# A container may be created that long after the pull of its image.
_IN_USE = 1800.0  # seconds
_REFRESH = 60.0  # seconds between two updates of the label
_LONGEST = 3000  # containerd allows 4096 bytes for a label with its value
_DAY = 24 * 3600.0


class Cleanup:
    """Thread-safe.

    :param lock: the store holds it while it begins a pull or looks up an
        image.
    :param pulling: returns the names that are being pulled; called with the
        lock held.
    """

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 native_: native.NativeClient, space_: space.Space,
                 lock: threading.Lock, pulling: Callable[[], Iterable[str]]
                 ) -> None:
        self._client = client
        self._native = native_
        self._space = space_
        self._lock = lock
        self._pulling = pulling
        self._max_age = conf.compute.unused_image_days * _DAY

    def known(self) -> set[str]:
        """Return the IDs of all images, to be read before a pull."""
        return {image.id for image in self._client.list_images()}

    def pulled(self, image_id: str, name: str, known: set[str]) -> None:
        """Note a pull.

        :param known: the images from before the pull.
        """
        label = self._label(image_id)
        if label is None and image_id in known:
            return  # somebody else brought it
        names = label[1] if label else []
        self._write(image_id, [*names, *({name} - set(names))])

    def used(self, image_id: str) -> None:
        """Note that a container is about to use an image."""
        label = self._label(image_id)
        if label and time.time() - label[0] > _REFRESH:
            self._write(image_id, label[1])

    def _write(self, image_id: str, names: list[str]) -> None:
        value = ' '.join([str(int(time.time())), *names])
        if len(value) <= _LONGEST:  # else it stays as if others had it
            self._native.set_image_label(image_id, PULLED, value)

    def _label(self, image_id: str) -> tuple[int, list[str]] | None:
        with contextlib.suppress(exception.NotFound):
            words = self._native.image(image_id).labels.get(
                PULLED, '').split()
            if words and re.fullmatch('[0-9]{1,12}', words[0]):
                return int(words[0]), words[1:]
        return None

    def run(self) -> None:
        """Remove images by age, and more of them if too little is free.

        :raises KataError: if containerd does not answer.
        """
        if self._max_age:
            self._remove(self._max_age, lambda: True)
        if self._space.free() < self._space.reserve:
            self.by_space()

    def by_space(self) -> None:
        """Remove images, the longest unused first, until enough is free."""
        self._remove(_IN_USE,
                     lambda: self._space.free() < 2 * self._space.reserve)

    def _remove(self, age: float, wanted: Callable[[], bool]) -> None:
        limit = time.time() - max(age, _IN_USE)
        found = [(label[0], image.id) for image in self._client.list_images()
                 if (label := self._label(image.id)) and label[0] < limit]
        for _, image_id in sorted(found):
            if not wanted():
                return
            with self._lock:
                if self._is_unused(image_id, limit):
                    self._client.remove_image(image_id)
                    LOG.info('Removed the unused image %s', image_id)

    def _is_unused(self, image_id: str, limit: float) -> bool:
        label = self._label(image_id)
        image = self._client.image_status(image_id).image
        if not label or label[0] >= limit or not image.id:
            return False
        names = {*image.repo_tags, *image.repo_digests}
        ours = {*label[1], *(_repository(name) for name in label[1])}
        if any(name not in ours for name in image.repo_tags) or any(
                _repository(name) not in ours for name in image.repo_digests):
            return False
        repositories = {_repository(name) for name in names}
        if any(_repository(name) in repositories
               for name in self._pulling()):
            return False
        in_use = {name for c in self._client.list_containers()
                  for name in (c.image_ref, c.image.image)}
        # also those of other clients than CRI
        in_use |= {c.image for c in self._native.containers()}
        return not in_use & {image_id, *names}


def _repository(name: str) -> str:
    """Return a name without its tag or digest."""
    path, _, digest = name.partition('@')
    head, _, tag = path.rpartition(':')
    return head if head and '/' not in tag else path

