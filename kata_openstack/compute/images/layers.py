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

"""The layers of images, which several images may share."""

from collections.abc import Iterable
import json

from kata_openstack.runtime.containerd import cri


class Layers:
    """Asks containerd once for each image. Not thread-safe."""

    def __init__(self, client: cri.CriClient) -> None:
        self._client = client
        self._known: dict[str, frozenset[str]] = {}

    def of(self, image_id: str) -> frozenset[str]:
        """Return the digests of the unpacked layers, and the image's own.

        Its own stands for the configuration.
        """
        found = self._known.get(image_id)
        if found is None:
            status = self._client.image_status(image_id, verbose=True)
            info = json.loads(status.info.get('info') or '{}')
            root = (info.get('imageSpec') or {}).get('rootfs') or {}
            found = frozenset([image_id, *(root.get('diff_ids') or ())])
            if status.HasField('image'):
                self._known[image_id] = found
        return found

    def keep(self, image_ids: Iterable[str]) -> None:
        """Forget all other images."""
        self._known = {ident: self._known[ident] for ident in image_ids
                       if ident in self._known}
