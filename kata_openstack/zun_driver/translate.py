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

"""Translate Zun containers and capsules into pods for kata-compute."""

import dataclasses
import re
from typing import Any

import zun.conf

from kata_openstack import exception
from kata_openstack import needs
from kata_openstack import objects
from kata_openstack.zun_driver.network import ports
from kata_openstack.zun_driver.records import kept

CONF = zun.conf.CONF
RUNTIME_ANNOTATION = 'kata-openstack.io/runtime'
IMAGE_DRIVER_ANNOTATION = 'kata-openstack.io/image-driver'


def runtime(record: Any) -> str:
    """Return the runtime from ``--runtime``, the annotation or the default.

    :raises InvalidInput: for an annotation that is not a string.
    """
    asked = record.runtime
    if not asked:
        asked = (record.annotations or {}).get(RUNTIME_ANNOTATION)
        if asked is not None and not isinstance(asked, str):
            raise exception.InvalidInput(
                field=RUNTIME_ANNOTATION, value=asked,
                why='it must be the name of a runtime',
                remedy='Use "kata", or a runtime that "openstack '
                       'appcontainer host show" lists.')
    return asked or CONF.kata_driver.default_runtime


def image_driver(capsule: Any, record: Any) -> str | None:
    """Return the image driver of a container in a capsule.

    Zun's template of a capsule has no field for it, so an annotation of the
    capsule names it for all of its containers.

    :raises InvalidInput: for an annotation that names none.
    """
    asked = (capsule.annotations or {}).get(IMAGE_DRIVER_ANNOTATION)
    if asked is None:
        return record.image_driver
    if asked not in CONF.image_driver_list:
        raise exception.InvalidInput(
            field=IMAGE_DRIVER_ANNOTATION, value=str(asked)[:64],
            why='it is not an image driver of this cloud',
            remedy=f'Use one of: {", ".join(CONF.image_driver_list)}.')
    return str(asked)


def hostname(record: Any) -> str:
    """Return the requested hostname, or one made from the container's name.

    Without a usable name: the first 12 characters of the UUID.
    """
    if record.hostname:
        return str(record.hostname)
    name = re.sub('[^A-Za-z0-9-]+', '-', record.name or '')[:63].strip('-')
    return name or str(record.uuid)[:12]


def container(record: Any, image: str) -> objects.Container:
    """:param image: full reference of the pulled image."""
    return objects.Container.from_dict({
        'uuid': record.uuid,
        'name': record.name or record.uuid,
        'image': image,
        # Zun stores an empty list if the user gave none.
        'entrypoint': list(record.entrypoint or []) or None,
        'command': list(record.command or []) or None,
        'workdir': record.workdir or None,
        'environment': dict(record.environment or {}),
        'cpus': float(record.cpu) if record.cpu else None,
        'memory_mib': memory_mib(record),
        'disk_gib': record.disk or None,
        'tty': bool(record.tty),
        'stdin': bool(record.interactive),
        'health': _health(record),
    })


def _health(record: Any) -> dict[str, Any] | None:
    """Return the health check; None if there is none.

    zun-api checks none of its values. As in Docker, 0 and None stand for the
    defaults.
    """
    found = record.healthcheck or {}
    if not found.get('test'):
        return None
    return {'test': found['test'],
            **{name: _number(name, found[name])
               for name in ('interval', 'timeout', 'retries')
               if found.get(name)}}


def _number(name: str, value: Any) -> int:
    """:raises InvalidInput:"""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise exception.InvalidInput(
            field=f'{name} of the health check', value=str(value)[:64],
            why='it is not a number', remedy='Use a whole number.') from None


def memory_mib(record: Any) -> int | None:
    """Return the requested memory in MiB, None if there is no request.

    Zun stores MiB as a string; '0' and None mean no request.
    """
    return int(record.memory or 0) or None


def _pod(record: Any, containers: list[objects.Container],
         labels: list[dict[str, str]], vifs: list[Any],
         nameservers: list[str], search_domains: list[str]) -> objects.Pod:
    """:param labels: the labels of each image
    :raises InvalidInput: for annotations or labels with invalid values
    """
    needed = needs.derive(
        privileged=bool(record.privileged),
        annotations=record.annotations, images=labels)
    return objects.Pod.from_dict({
        'uuid': record.uuid,
        'kind': kept.kind(record),
        'project_id': record.project_id or '',
        'user_id': record.user_id or '',
        'containers': containers,
        'hostname': hostname(record),
        'runtime': runtime(record),
        'needs': sorted(needed.needs),
        'isolation': needed.isolation,
        'privileged': bool(record.privileged),
        'nameservers': nameservers,
        'search_domains': search_domains,
        'vifs': vifs,
    })


def pod(record: Any) -> objects.Pod:
    """Return the pod of a Zun container that was created before.

    :raises NotFound: if the container was not created.
    :raises InvalidInput: if the stored data cannot be read.
    """
    found = kept.load(record)
    return _pod(record, [container(record, found.image)],
                [found.image_labels], found.vifs, found.nameservers,
                found.search_domains)


def members(capsule: Any) -> list[Any]:
    """Return the containers of a capsule in the order of their start."""
    return [*(capsule.init_containers or ()), *capsule.containers]


def restart_policy(record: Any) -> tuple[str, int]:
    """Return the policy, '' for none, and the most restarts, 0 for any."""
    policy = record.restart_policy or {}
    name = policy.get('Name') or 'no'
    if name == 'no':
        return '', 0
    return name, int(policy.get('MaximumRetryCount') or 0)


def _restart(record: Any) -> str:
    """Return the restart policy of a capsule's container for the node."""
    name, most = restart_policy(record)
    if name == 'unless-stopped':
        return 'always'
    return f'{name}:{most}' if name == 'on-failure' and most else name


def capsule_pod(capsule: Any, images: list[tuple[str, dict[str, Any]]],
                attachment: ports.Attachment) -> objects.Pod:
    """Return the pod of a capsule.

    :param images: the full reference of each image and its details as the
        node reports them, in the order of :func:`members`.
    """
    inits = len(list(capsule.init_containers or ()))
    containers = [
        dataclasses.replace(container(record, image), init=number < inits,
                            restart='' if number < inits
                            else _restart(record))
        for number, (record, (image, _)) in enumerate(
            zip(members(capsule), images, strict=True))]
    return _pod(capsule, containers,
                [details.get('labels') or {} for _, details in images],
                list(attachment.vifs), attachment.nameservers,
                attachment.search_domains)


def defaults(record: Any, image: dict[str, Any]) -> None:
    """Fill entrypoint, command and ports of ``record`` from the image.

    Values of the user take precedence. As in Docker, an entrypoint of the
    user drops the image's command, which was written for another program.
    """
    if not record.entrypoint:
        if not record.command:
            record.command = list(image.get('command') or [])
        record.entrypoint = list(image.get('entrypoint') or [])
    ports = {str(port).partition('/')[0] for port in (
        *(image.get('exposed_ports') or []), *(record.exposed_ports or {}))}
    record.ports = sorted(int(port) for port in ports if port.isdigit())
