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

"""The names of images: [registry/]path[:tag][@digest], as Docker defines them.

zun-compute, zun-api and kata-compute use this module, so it imports little.
A check takes time in proportion to the length of the name.
"""

import re
from typing import NamedTuple

from kata_openstack import exception

_LONGEST = 512
_SHOWN = 64

_PART = r'[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*'
_PATH = re.compile(rf'{_PART}(?:/{_PART})*')
_TAG = re.compile(r'\w[\w.-]{0,127}', re.ASCII)
_DIGEST = re.compile(r'sha256:[0-9a-f]{64}')
_DOMAIN = re.compile(r'(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?')
_IMAGE_ID = re.compile(r'(sha256:)?[0-9a-f]{64}')

_HUB = 'docker.io'
# The registry in the names of images from Glance. The domain "invalid" never
# exists (RFC 2606), so no registry can have it.
_GLANCE = 'glance.invalid'
_FORM = 'Use [registry/]name[:tag] or [registry/]name@sha256:digest'


class Name(NamedTuple):
    """A full name; ``str()`` returns it as containerd records it.

    ``repository``: with the registry, such as docker.io/library/busybox.
    ``tag``: empty if there is a digest, because the digest alone counts.
    """

    repository: str
    tag: str
    digest: str

    def __str__(self) -> str:
        return (f'{self.repository}@{self.digest}' if self.digest
                else f'{self.repository}:{self.tag}')


def parse(reference: str) -> Name:
    """Return the full name of an image.

    ``busybox`` becomes ``docker.io/library/busybox:latest``.

    :raises InvalidInput: if it is no name. The ID of an image is none either:
        it would lead to any image of the node, whoever pulled it.
    """
    if is_id(reference):
        raise _invalid(reference, 'it is the ID of an image, not a name',
                       f'{_FORM}.')
    if len(reference) > _LONGEST:
        raise _invalid(reference, f'it has more than {_LONGEST} characters',
                       'Use a shorter name.')
    rest, at, digest = reference.partition('@')
    if at and not _DIGEST.fullmatch(digest):
        raise _invalid(
            reference, 'its digest is not "sha256:" and 64 hexadecimal '
            'digits in lower case', 'Copy the digest from the registry.')
    domain, rest = _split(rest)
    path, colon, tag = rest.partition(':')
    if (not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path)
            or (colon and not _TAG.fullmatch(tag))):
        raise _invalid(reference, 'it is not a valid image reference',
                       f'{_FORM}, with the name in lower case.')
    if domain == _HUB and '/' not in path:
        path = f'library/{path}'
    return Name(f'{domain}/{path}', '' if digest else tag or 'latest', digest)


def of_glance(uuid: str) -> Name:
    """Return the name that an image of Glance has on nodes."""
    return Name(f'{_GLANCE}/{uuid}', 'latest', '')


def is_of_glance(name: Name) -> bool:
    return name.repository.startswith(f'{_GLANCE}/')


def is_id(text: str) -> bool:
    """Return True for the ID of an image, a digest without a name."""
    return bool(_IMAGE_ID.fullmatch(text))


def parse_prefix(text: str) -> str:
    """Return the start of a repository: registry[:port][/path].

    :raises ValueError: if it is none
    """
    domain, _, path = text.partition('/')
    if (not _is_domain(domain) or not _DOMAIN.fullmatch(domain)
            or ('/' in text and not _PATH.fullmatch(path))):
        raise ValueError(text)
    domain = canonical(domain)
    return f'{domain}/{path}' if path else domain


def canonical(domain: str) -> str:
    """Return the registry as full names have it."""
    return _HUB if domain == f'index.{_HUB}' else domain


def _split(text: str) -> tuple[str, str]:
    """Return the registry and the rest of a name."""
    domain, slash, rest = text.partition('/')
    if slash and _is_domain(domain):
        return canonical(domain), rest
    return _HUB, text


def _is_domain(text: str) -> bool:
    """Whether the first part of a name is a registry, not a folder."""
    return bool(set('.:') & set(text)) or text == 'localhost'


def _invalid(reference: str, why: str, remedy: str) -> exception.InvalidInput:
    return exception.InvalidInput(
        field='image', value=reference[:_SHOWN], why=why, remedy=remedy)
