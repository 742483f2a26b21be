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

"""The registries whose images this node takes."""

from collections.abc import Iterable

from kata_openstack import exception
from kata_openstack import image_names

_OPTION = '[compute] allowed_registries'


class AllowedRegistries:
    """The option ``[compute] allowed_registries``.

    :raises InvalidInput: if an item is not a registry or a part of one
    """

    def __init__(self, items: Iterable[str]) -> None:
        self._prefixes = [_prefix(item) for item in items]

    def check(self, name: image_names.Name) -> None:
        """:raises InvalidInput: if the image's registry is not allowed"""
        if not self._prefixes or any(
                f'{name.repository}/'.startswith(f'{prefix}/')
                for prefix in self._prefixes):
            return
        raise exception.InvalidInput(
            field='image', value=str(name)[:64],
            why='the node does not take images from this registry or path',
            remedy='Use an image of: ' + ', '.join(self._prefixes) + '.')


def _prefix(item: str) -> str:
    try:
        return image_names.parse_prefix(item)
    except ValueError:
        raise exception.InvalidInput(
            field=_OPTION, value=item,
            why='it is not REGISTRY[:PORT][/PATH]',
            remedy='Name a registry and, if you like, a path in it: '
                   'docker.io/library, registry.example:5000.') from None
