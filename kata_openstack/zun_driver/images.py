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

"""Pull and inspect images for Zun, through kata-compute."""

from typing import Any

from oslo_concurrency import lockutils
from zun.common import exception as zun_exc
from zun.common import utils as zun_utils
import zun.conf

from kata_openstack import exception
from kata_openstack import image_names
from kata_openstack import needs
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver.glance import catalog
from kata_openstack.zun_driver.glance import download

CONF = zun.conf.CONF
DETAILS = 'kata'  # our key in the dictionary that Zun passes to create()
_zuns_parser = zun_utils.parse_image_name


def parse_image_name(image: str, driver: str | None = None,
                     registry: Any = None) -> tuple[str, str]:
    """Return repository and tag; with a digest, its two halves.

    Of an image in Glance, all is in the first.

    ``name(*parse_image_name(image))`` is the whole name, with the registry
    that Zun adds. Never raises: pull() refuses an invalid name.
    """
    if _is_glance(driver):
        return image, ''
    try:
        image_names.parse(image)
        repo, tag = _zuns_parser(image, driver, registry=registry)
    except (exception.InvalidInput, zun_exc.InvalidReference):
        return image, ''
    _, at, digest = image.partition('@')
    if at and tag:
        algorithm, _, tag = digest.partition(':')
        repo = f'{repo}@{algorithm}'
    return repo, tag


def replace_zuns_parser() -> None:
    """Let zun-compute use parse_image_name(), instead of its own function.

    Zun's function has three faults, and Zun calls it before it calls the
    driver. It cuts the digest off, so that "latest" would run instead. An
    exception from it leaves the container in Creating. With some invalid
    names of 30 characters it takes minutes, in which zun-compute does
    nothing else.
    """
    zun_utils.parse_image_name = parse_image_name


def name(repo: str, tag: str | None) -> str:
    return f'{repo}:{tag}' if tag else repo


def auth(image: str, registry: Any) -> dict[str, Any] | None:
    """Return credentials for ``image``, of the given or the default registry.

    They go only to their own registry. Without this check, an image name
    that contains another registry would send them there.

    :returns: None if no credentials apply. ``shared``: they are the
        operator's.
    :raises InvalidInput: for an invalid name.
    """
    domain = image_names.parse(image).repository.partition('/')[0]
    if (registry is not None and registry.username
            and domain == image_names.canonical(registry.domain)):
        return {'server': _server(registry.domain),
                'username': registry.username,
                'password': registry.password or '',
                'shared': False}
    docker = CONF.docker
    if (docker.default_registry and docker.default_registry_username
            and domain == image_names.canonical(docker.default_registry)):
        return {'server': _server(docker.default_registry),
                'username': docker.default_registry_username,
                'password': docker.default_registry_password or '',
                'shared': True}
    return None


def _server(domain: str) -> str:
    """Return the registry as a URL, whose host containerd compares.

    containerd takes a bare host for a path and then silently drops the
    credentials (ParseAuth in its CRI plugin).
    """
    host = domain.partition('/')[0]
    if host in ('docker.io', 'index.docker.io'):
        host = 'registry-1.docker.io'
    return f'https://{host}'


def is_sandbox(repo: str, tag: str | None) -> bool:
    """Return True for the image of Zun's sandbox container.

    zun-compute pulls it before each capsule, but this driver does not run
    it.
    """
    return (repo, tag) == parse_image_name(CONF.sandbox_image,
                                           CONF.sandbox_image_driver)


def pull(context: Any, host: str, repo: str, tag: str | None,
         policy: str | None, driver: str | None,
         registry: Any) -> dict[str, Any]:
    """Pull an image onto the node.

    :returns: the dictionary that Zun passes to create(). Its key
        ``DETAILS`` has the image's details as the node reports them.
    :raises InvalidInput: for an invalid name.
    """
    if _is_glance(driver):
        return _pull_from_glance(context, host, name(repo, tag), policy)
    reference = name(repo, tag)
    ctxt = client.context(context)
    if registry is not None:
        # the node binds the image to the owner of the credentials; the
        # request may be an administrator's
        ctxt['project_id'] = registry.project_id or ctxt['project_id']
    image: dict[str, Any] = {'image': repo, 'path': None, 'driver': 'docker'}
    image[DETAILS] = client.api().pull_image(
        ctxt, host, reference, (policy or 'always').lower(),
        auth(reference, registry))
    return image


def _is_glance(driver: str | None) -> bool:
    return (driver or CONF.default_image_driver) == 'glance'


def _pull_from_glance(context: Any, host: str, ident: str,
                      policy: str | None) -> dict[str, Any]:
    """Bring an image of Glance onto the node, unless the node has it.

    Glance is asked in any case, so it decides each time who may use it. The
    data of an image in Glance never changes, so the policy "always" is
    "ifnotpresent".
    """
    found = catalog.find(context, ident)
    api, ctxt = client.api(), client.context(context)
    try:
        details = api.import_image(ctxt, host, found.id)
    except exception.ImageNotFound:
        if (policy or '').lower() == 'never':
            raise exception.ImageNotFound(image=ident) from None
        with lockutils.lock(f'kata-glance-{found.id}'):
            details = _import(context, host, found)
    # properties of an image express needs as labels do
    properties = {key: str(value)[:needs.LONGEST + 1]
                  for key in needs.PROPERTIES
                  if (value := getattr(found, key, None)) is not None}
    details['labels'] = {**(details.get('labels') or {}), **properties}
    return {'image': found.name, 'path': None, 'driver': 'glance',
            'tags': list(found.tags or ()), DETAILS: details}


def _import(context: Any, host: str, found: Any) -> dict[str, Any]:
    api, ctxt = client.api(), client.context(context)
    try:  # another request may have brought it meanwhile
        return api.import_image(ctxt, host, found.id)
    except exception.ImageNotFound:
        with download.downloaded(context, found) as file:
            return api.import_image(ctxt, host, found.id, file)


def reference(image: dict[str, Any]) -> str:
    """Return the full reference of an image that Zun passes to create()."""
    if image.get('driver') == 'glance':
        return str(image[DETAILS]['reference'])
    return name(image['repo'], image['tag'])


def admit_owner(context: Any, container: Any, image: dict[str, Any]) -> None:
    """Let the owner of a container use an image that another user named.

    An administrator may rebuild a container of another project.
    """
    owner = container.project_id
    if image.get('driver') == 'glance' and owner != context.project_id:
        client.api().import_image(
            {**client.context(context), 'project_id': owner},
            client.host(container), _uuid(reference(image)))


def _uuid(name_of_glance: str) -> str:
    return name_of_glance.rpartition('/')[2].partition(':')[0]


def inspect(context: Any, host: str, image: str) -> dict[str, Any]:
    """Return the fields of ``docker inspect`` that Zun reads."""
    found = client.api().inspect_image(client.context(context), host, image)
    if image_names.is_of_glance(image_names.parse(image)):
        image = image.rpartition('/')[2]  # Zun's record has the UUID
    return {'Id': found['id'],
            'Size': found['size'],
            # Zun's manager splits the first one at a colon and needs a tag.
            'RepoTags': [image],
            'Config': {'Entrypoint': found['entrypoint'],
                       'Cmd': found['command']}}


class Images:
    """A mixin; list it before Zun's ContainerDriver in the bases.

    The signatures match the calls in zun-compute's manager.
    """

    @errors.translated
    def pull_image(self, context: Any, repo: str, tag: str | None,
                   image_pull_policy: str | None = 'always',
                   driver_name: str | None = None,
                   registry: Any = None) -> tuple[dict[str, Any], bool]:
        """Pull an image onto this node.

        :returns: the image, and True: Zun need not load it.
        """
        if is_sandbox(repo, tag):
            return {'image': repo, 'path': None, 'driver': 'docker'}, True
        return pull(context, CONF.host, repo, tag, image_pull_policy,
                    driver_name, registry), True

    @errors.translated
    def inspect_image(self, image: str) -> dict[str, Any]:
        return inspect(None, CONF.host, image)

    @errors.translated
    def delete_image(self, context: Any, img_id: str,
                     image_driver: str | None = None) -> None:
        client.api().delete_image(client.context(context), CONF.host, img_id)

    def load_image(self, image_path: str | None = None) -> None:
        """Do nothing: pull_image() has loaded the image."""

    def read_tar_image(self, image: dict[str, Any]) -> None:
        """Tell Zun's "image pull" by which name to inspect the image."""
        if 'repo' not in image:  # not called for a container
            image['repo'], _, image['tag'] = reference(image).rpartition(':')
            image['tags'] = [*image['tags'], image['tag']]

    def search_image(self, context: Any, repo: str, tag: str | None,
                     driver_name: str | None, exact_match: bool) -> None:
        """Refuse a search.

        With [api] enable_image_validation, Zun's create searches too. It
        tolerates every error but ReferenceInvalidFormat, and goes on.
        """
        raise errors.unsupported(
            'searching for images',
            'Registries have no common search API. Use the full name of the '
            'image.')
